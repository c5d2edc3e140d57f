"""EfficientNet's last convolution, its batch norm, and the classifier; all below is frozen and computed once."""

from distracted_pipeline.variants.kinds import Kind

KIND = Kind(
    name="top_only",
    trains="top_conv, top_bn, classifier",
    reads=("last_block",),
    learns=r"\.top_(conv|bn)\.",
    families=("efficientnet",),
    because="cuts into EfficientNet's blocks",
    stacks=True,
)
