"""What does each technique do to the accuracy of each class of distracted driving?"""

__version__ = "0.1.0"
