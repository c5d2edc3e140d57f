"""One classifier over the frozen backbone's pooled embedding and the output of a CNN on the masks."""

from distracted_pipeline.variants.kinds import Kind

KIND = Kind(
    name="masks_fused",
    trains="mask CNN, classifier over the pooled embedding and the mask CNN's output",
    reads=("pooled", "fractions"),
    stacks=True,
)
