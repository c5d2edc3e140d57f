"""A linear classifier on the pooled embedding of the frozen backbone."""

from distracted_pipeline.variants.kinds import Kind, Option

KIND = Kind(
    name="linear_probe",
    trains="classifier",
    reads=("pooled",),
    options=(
        # Full-batch steps reach the optimum of a convex problem, which only this one is.
        Option("optimizer", ("adadelta", "adamw"), "only kind linear_probe takes it, others adadelta or adamw"),
    ),
    stacks=True,
)
