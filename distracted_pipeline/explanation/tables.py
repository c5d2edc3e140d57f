"""The columns of the explanation's tables, each declared once, as in `evaluation.table_schemas`."""

from dataclasses import dataclass, field

from distracted_pipeline.evaluation.table_schemas import Position

EVERY_CLASS = "all"
"""What `Lift.class_id` says of all classes together."""


@dataclass(frozen=True, kw_only=True)
class CamRow:
    """One class activation map that is shown.

    Attributes:
        img: Image name.
        subject: Its driver.
        true: Position of its class.
        predicted: Position of the class it was taken for.
        fold: Whose network.
        target: The class that the map speaks for: `predicted` or `true`.
        kind: `correct` or `confused`.
        all_zero: Whether nothing speaks for the class.
        lifts: By `lift_column` of a mask category; None where the image does not show it.
    """

    img: str
    subject: str
    true: Position
    predicted: Position
    fold: str
    target: str
    kind: str
    all_zero: bool
    lifts: dict[str, float | None] = field(default_factory=dict)

    def lift(self, category: str) -> float | None:
        """Return the lift of a mask category; None where the image does not show it, or has no mask."""
        return self.lifts.get(lift_column(category))


@dataclass(frozen=True, kw_only=True)
class Lift:
    """How much more of the evidence lies on a mask category than its area explains; 1 is chance.

    Attributes:
        class_id: Position of the true class, in digits, or `EVERY_CLASS`.
        category: Name of the mask category.
        lift: Mean over drivers, with its interval.
        low: See `lift`.
        high: See `lift`.
        drivers: Drivers whose images show the category.
        images: Their images that show it.
    """

    class_id: str
    category: str
    lift: float | None = None
    low: float | None = None
    high: float | None = None
    drivers: int = 0
    images: int = 0


def lift_column(category: str) -> str:
    """Return the column of a mask category's lift, `lift_cell_phone`."""
    return f"lift_{category.replace(' ', '_')}"
