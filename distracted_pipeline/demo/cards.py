"""What the MODEL_CARD.md beside shipped weights says.

Belongs here: words around numbers that others measured.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distracted_pipeline.demo.shipped import FILES
from distracted_pipeline.fingerprints import file_digest

_HEAD = "---\nlicense: mit\n---\n\n"
"""Where Hugging Face, and the cards of what is built on these weights, look for a licence."""


@dataclass(frozen=True)
class Run:
    """How weights came about."""

    steps: int
    seed: int
    minutes: float
    threads: int

    def told(self, model: str) -> str:
        """Return the command and what it cost."""
        return (
            f"`python -m distracted_pipeline.demo.pretrain {model} --steps {self.steps} --seed {self.seed}`\n"
            f"({self.minutes:.0f} minutes on a shared CPU with {self.threads} thread(s); other processors and numbers\n"
            "of threads round differently, so the weights' bytes may differ there):"
        )


def segmenter_card(folder: Path, run: Run, measured: dict[str, Any]) -> str:
    """Return the card of the tiny Mask2Former; `measured` is that of `segmenter_training.measure`."""
    from distracted_pipeline.demo.segmenter_training import BATCH, LABELS, SCENES, SIZE

    iou = _table(("category", "IoU"), [(name, f"{value:.3f}") for name, value in measured["iou"].items()])
    found = _table(("class", "frames"), [(name, f"{share:.0%}") for name, share in measured["phone_found"].items()])
    return f"""{_HEAD}# Tiny Mask2Former for drawn cabins

Segments the demo's drawn frames. Hugging Face's Mask2Former: a Swin of four stages, a deformable pixel
decoder, a masked-attention decoder of three layers, {len(LABELS)} queries. Input {SIZE[1]} x {SIZE[0]}, masks at a
quarter of that.

## Data

{SCENES:,} drawn scenes (`demo.scenes`) of drivers, seats, cars and cameras that no demo shows: other driver
numbers, another seed. In most of them the hand holds a phone, case, cup, bottle or nothing at random,
whatever the pose. Frames went through JPEG as the demo's do. No photograph of anybody was used.

The labels are COCO's names: {", ".join(LABELS[:-1])}, and
{LABELS[-1]} for everything else. There is one segment per category in a frame: two cars are one "car".

## Procedure

{run.told("segmenter")}
random weights, AdamW, one-cycle schedule, {run.steps:,} batches of {BATCH}, other light and noise in every
batch, moving average of the weights. Each query is tied to one category instead of matched.

## Metrics

On {measured["frames"]} frames at 640 x 480 of the demo's own drivers (seed 0), none of them seen in
training, through the pipeline's own loading and post-processing; pixels pooled over frames.

{iou}

Mean: **{measured["mean_iou"]:.3f}**. {measured["cpu_ms"]:.0f} milliseconds of one CPU core a frame, resizing and
post-processing included.

Frames with any pixel called cell phone; only c1 to c4 have one, c0 and c8 have things of its outline and colour:

{found}

## Limits

Useless on photographs: it knows one drawn cabin, seen from one side. Outlines of things smaller than a
hand are good to a few pixels.

{_files(folder)}
"""


def backbone_card(folder: Path, run: Run, measured: dict[str, Any]) -> str:
    """Return the card of the tiny EfficientNet; `measured` holds `accuracy` by question and `pictures`."""
    from distracted_pipeline.demo.backbone_training import BATCH, PICTURES
    from distracted_pipeline.demo.pretext import QUESTIONS

    rows = [
        (question, len(QUESTIONS[question]), f"{1 / len(QUESTIONS[question]):.2f}", f"{share:.3f}")
        for question, share in measured["accuracy"].items()
    ]
    return f"""{_HEAD}# Tiny EfficientNet for drawn pictures

General features for drawn pictures: ImageNet in miniature. Hugging Face's EfficientNet with width 0.2, six
blocks and 256 features; input 96 x 96, bilinear.

## Data

{PICTURES:,} procedurally drawn pictures (`demo.pretext`): {len(QUESTIONS["subject"])} subjects (shapes, things, stick
figures in sixteen poses) on eight kinds of background, anywhere, in three sizes. Nothing of the demo is
in them: no cabin, no driver, none of the six mask categories but figures of sticks.

## Procedure

{run.told("backbone")}
random weights, AdamW, one-cycle schedule, {run.steps:,} batches of {BATCH}, colours and light changed at random,
moving average of the weights. The classifier answers five questions about a picture at once.

## Metrics

Share of correct answers on {measured["pictures"]:,} new pictures.

{_table(("question", "answers", "by chance", "correct"), rows)}

## Limits

Says nothing useful about photographs. At 96 x 96 the lines on a phone are narrower than a pixel and a half: what
the demo plants there is all but out of its sight.

{_files(folder)}
"""


def _files(folder: Path) -> str:
    rows = [(name, f"{(folder / name).stat().st_size:,}", f"`{file_digest(folder / name)}`") for name in FILES]
    return "## Files\n\n" + _table(("file", "bytes", "SHA-256"), rows)


def _table(head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
