"""What does each technique do to the accuracy of each class of distracted driving?"""

import os

__version__ = "0.1.0"

# Read when torch loads. Its threads wait for each other by spinning otherwise, and on cores that anything else uses
# (our own decoding threads suffice) that made segmenting ten times slower than sleeping does.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
