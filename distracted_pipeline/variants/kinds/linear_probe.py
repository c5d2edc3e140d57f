"""A linear classifier on the pooled embedding of the frozen backbone."""

from distracted_pipeline.variants.kinds import Kind, Option

# Full-batch steps reach the optimum of a convex problem, which only a linear probe is.
SOLVABLE = Option(
    "optimizer",
    ("adadelta", "adamw"),
    "only kinds linear_probe and linear_probe_without_driver take it, others adadelta or adamw",
)

KIND = Kind(
    name="linear_probe",
    trains="classifier",
    reads=("pooled",),
    options=(SOLVABLE,),
    stacks=True,
)
