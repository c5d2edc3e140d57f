"""The kinds of universal models that can be used, and how each wants its queries read.

Belongs here: what differs between them. Each is read as its own `post_process_panoptic_segmentation` in transformers
reads it, with the thresholds that are that function's defaults; the arithmetic is `postprocess` and `tensor_maps`.
No torch: the fingerprint of masks asks as well.
"""

from dataclasses import dataclass, field

from distracted_pipeline.masks.segmenter import Thresholds


@dataclass(frozen=True)
class Reading:
    """How mask logits become the map of one image.

    Attributes:
        thresholds: When a query counts.
        working_size: Size to which the logits are upsampled before anything else; None leaves them as they are.
        content: Height and width of the upper left part of it that shows the image, the rest being padding; None: all.
        sigmoid_last: Whether logits are upsampled to the image and become probabilities there; else probabilities are.
        antialias: Whether that last resize smooths where it shrinks.
        own_only: Whether the mask threshold is for probabilities before the score weighs them, and a pixel below that
            of the query which wins it belongs to nobody.
    """

    thresholds: Thresholds = field(default_factory=Thresholds)
    working_size: tuple[int, int] | None = None
    content: tuple[int, int] | None = None
    sigmoid_last: bool = False
    antialias: bool = False
    own_only: bool = False


@dataclass(frozen=True)
class Family:
    """What one kind of universal model needs.

    Attributes:
        reading: How its queries are read.
        padded: Whether its input is a square in which the image lies in the upper left corner: the reading's
            `working_size` and `content` then depend on processor and image.
        task: What the model has to be told to do; empty where it knows.
    """

    reading: Reading
    padded: bool = False
    task: str = ""


_EOMT = Family(Reading(Thresholds(score=0.8), sigmoid_last=True, own_only=True), padded=True)

FAMILIES = {
    "mask2former": Family(Reading(working_size=(384, 384))),
    "maskformer": Family(Reading()),
    "oneformer": Family(Reading(antialias=True), task="panoptic"),
    "eomt": _EOMT,
    "eomt_dinov3": _EOMT,
}
"""Kind of model, as its configuration calls it -> what it needs."""
