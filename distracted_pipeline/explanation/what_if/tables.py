"""The columns of what altered frames show: one look at a time, and what is made of many.

Which number goes into which column is `effects`; the files are `looks`. Fields are None where a number is not defined.
"""

from dataclasses import dataclass
from typing import Annotated

from distracted_pipeline.evaluation.table_schemas import Position

ORIGINAL = "original"
"""The version that is not altered; every frame has one, read the same way as the altered ones."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """What one training says of one version of a frame.

    Attributes:
        img: Image name.
        subject: Driver.
        true: Position of the frame's class.
        replicate: Of the training.
        about: What the alteration is about: a mask category, a corruption; empty for the original.
        version: Which alteration.
        p_true: Probability of the frame's class.
        answer: Position of the likeliest class.
        on_objects: Share of the altered region that lies on objects it should not touch; None where there is no region.
    """

    img: str
    subject: str
    true: Position
    replicate: Annotated[int, "int8"]
    about: str
    version: str
    p_true: float
    answer: Position
    on_objects: float | None = None


@dataclass(frozen=True, kw_only=True)
class Effect:
    """What one alteration did to one class, for other drivers and other trainings.

    Attributes:
        variant: Whose networks were asked.
        class_id: Position of the class.
        about: A mask category, or a corruption.
        version: Which alteration.
        frames: Asked about, each counted once.
        drivers: Whose frames they are.
        trainings: Of each fold, of which the least often.
        before: The score (mean probability of the true class, or recall) of the frames as they are.
        after: Of the altered ones.
        control: Of those altered elsewhere; None where the alteration has no control.
        delta: The estimate: `after` minus `control` where there is one, else minus `before`; with its interval.
        low: See `delta`; where that is None, of `after`.
        high: Likewise.
        p: Of `delta`, not corrected; see `inference.p_value`. None where nothing is claimed: too few drivers, one
            training only, or a control that covers objects itself.
        lost: Share of answers that were right before and are wrong after.
        lost_control: The same of the control.
        on_objects: Mean share of the control that lies on objects.
    """

    variant: str
    class_id: Position
    about: str
    version: str
    frames: int
    drivers: int
    trainings: int
    before: float | None = None
    after: float | None = None
    control: float | None = None
    delta: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    lost: float | None = None
    lost_control: float | None = None
    on_objects: float | None = None


@dataclass(frozen=True, kw_only=True)
class Case:
    """One of the frames whose answer hangs most on what was erased, with pictures as its networks saw it.

    Attributes:
        img: Image name.
        subject: Driver.
        true: Position of its class.
        about: The category that was erased.
        p_original: Probability of the true class, mean over trainings.
        p_erased: The same without the object.
        p_control: The same with the control region filled.
        original: JPEG.
        erased: JPEG.
        control: JPEG.
    """

    img: str
    subject: str
    true: Position
    about: str
    p_original: float
    p_erased: float
    p_control: float
    original: Annotated[bytes, "binary"]
    erased: Annotated[bytes, "binary"]
    control: Annotated[bytes, "binary"]
