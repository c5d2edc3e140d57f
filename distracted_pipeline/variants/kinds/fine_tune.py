"""Everything learns: classifier and EfficientNet's last convolution at `top_lr`, the rest at `body_lr`."""

from distracted_pipeline.variants.kinds import Kind, Option

KIND = Kind(
    name="fine_tune",
    trains="everything, the body at body_lr",
    reads=("pixels",),
    learns=r".",
    body=r"^trunk\.(?!.*\.top_(conv|bn)\.)",
    options=(
        Option("body_lr", (0.0,), "kind fine_tune takes a rate above 0, others 0 (frozen body)", lambda rate: rate > 0),
        Option("layer_decay", (1.0,)),
    ),
    defaults={"replicates": 2},
)
