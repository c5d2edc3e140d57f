"""A small CNN on the masks and its classifier; no backbone, and no photograph at all."""

from distracted_pipeline.variants.kinds import Kind

KIND = Kind(name="masks_only", trains="mask CNN, classifier", reads=("fractions",), stacks=True)
