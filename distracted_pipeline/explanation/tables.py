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
        fold: Whose networks: the map is the mean over the fold's trainings.
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
    """How much more CAM energy lies on a mask category than its area explains, and whether the image is why.

    A lift above 1 is no evidence: the CAM of another driver and class, on the same mask, has one too, because CAMs and
    drivers both lie near the middle of the frame. Only `ratio` is evidence, where its interval leaves out 1.

    Attributes:
        class_id: Position of the true class, in digits, or `EVERY_CLASS`.
        category: Name of the mask category.
        lift: Mean over drivers, with its interval.
        low: See `lift`.
        high: See `lift`.
        permuted: Lift of permuted CAMs: the mean CAM of other drivers' images of other classes, on the same masks.
        ratio: Lift by permuted lift, mean over drivers of each one's own ratio, with its interval: for other drivers,
            and where `luck` is known for other trainings too.
        ratio_low: See `ratio`.
        ratio_high: See `ratio`.
        luck: What training every fold once more moves in `ratio`, one standard deviation; None where that is not known.
        drivers: Drivers whose images show the category.
        images: Their images that show it.
    """

    class_id: str
    category: str
    lift: float | None = None
    low: float | None = None
    high: float | None = None
    permuted: float | None = None
    ratio: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None
    luck: float | None = None
    drivers: int = 0
    images: int = 0


def lift_column(category: str) -> str:
    """Return the column of a mask category's lift, `lift_cell_phone`."""
    return f"lift_{category.replace(' ', '_')}"
