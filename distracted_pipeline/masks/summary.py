"""What the mask cache holds, in numbers, and whether that looks right.

Belongs here: totals and verdicts over subjects' indexes; no mask is opened. How Dagster shows them is `assets`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from distracted_pipeline.images.manifest import of_subject
from distracted_pipeline.masks.cache import MaskCache
from distracted_pipeline.masks.rle import CATEGORIES
from distracted_pipeline.vocabulary import MASK_CATEGORIES

MOST_EMPTY = 0.2
"""Share of images without any category above which the masks look wrong."""

LEAST_PERSON = 0.5
"""Share of a driver's frames that must show a person."""

_SHOWN = 20


@dataclass(frozen=True)
class Summary:
    """Totals over subjects.

    Attributes:
        wanted: Usable images in the manifest.
        images: Masks there are.
        empty: Masks without any category.
        present: Category id -> images that hold it, `[7]`.
        pixels: Category id -> pixels, `[7]`.
        unfinished: Subjects without a complete set of masks.
        quarantined: Image -> why it has no mask.
        person: Subject -> share of its frames that hold a person.
        by_subject: Subject -> pixels per category, `[7]`.
    """

    wanted: int
    images: int
    empty: int
    present: np.ndarray
    pixels: np.ndarray
    unfinished: list[str] = field(default_factory=list)
    quarantined: dict[str, str] = field(default_factory=dict)
    person: dict[str, float] = field(default_factory=dict)
    by_subject: dict[str, np.ndarray] = field(default_factory=dict)

    def coverage(self) -> list[dict[str, Any]]:
        """Return one record per category: share of images that hold it, and of all pixels."""
        images, pixels = max(self.images, 1), max(int(self.pixels.sum()), 1)
        return [
            {
                "category": name,
                "images": int(self.present[i]),
                "share_of_images": round(float(self.present[i]) / images, 4),
                "share_of_pixels": round(float(self.pixels[i]) / pixels, 4),
            }
            for i, name in enumerate(MASK_CATEGORIES, 1)
        ]

    def coverage_by_subject(self) -> list[dict[str, Any]]:
        """Return one record per subject: each category's share of its pixels."""
        return [
            {"subject": subject}
            | {name: round(float(pixels[i] / max(pixels.sum(), 1)), 4) for i, name in enumerate(MASK_CATEGORIES, 1)}
            for subject, pixels in self.by_subject.items()
        ]


@dataclass(frozen=True)
class Verdict:
    """One check of the masks.

    Attributes:
        passed: Whether it holds.
        description: What was found, with numbers.
        details: Names and numbers behind it.
    """

    passed: bool
    description: str
    details: dict[str, Any] = field(default_factory=dict)


def summarise(cache: MaskCache, manifest: pa.Table, subjects: Sequence[str]) -> Summary:
    """Return the totals over `subjects`, from their indexes."""
    present, pixels = np.zeros(CATEGORIES, np.int64), np.zeros(CATEGORIES, np.int64)
    wanted = images = empty = 0
    unfinished: list[str] = []
    quarantined: dict[str, str] = {}
    person: dict[str, float] = {}
    by_subject: dict[str, np.ndarray] = {}
    for subject in subjects:
        wanted += of_subject(manifest, subject).num_rows
        index = cache.index(subject)
        if index is None:
            unfinished.append(subject)
            continue
        images, empty = images + index.images, empty + index.empty
        present += np.array(index.present)
        by_subject[subject] = np.array(index.pixels, np.int64)
        pixels += by_subject[subject]
        quarantined |= {img: item["reason"] for img, item in index.quarantined.items()}
        person[subject] = index.present[1] / max(index.images, 1)
    return Summary(wanted, images, empty, present, pixels, unfinished, quarantined, person, by_subject)


def verdicts(summary: Summary) -> dict[str, Verdict]:
    """Return the checks by name: complete, not_empty, person_in_most_frames, every_category_seen."""
    share = summary.empty / max(summary.images, 1)
    lonely = {subject: part for subject, part in summary.person.items() if part < LEAST_PERSON}
    example = next((f"{img}: {why}" for img, why in summary.quarantined.items()), "")
    unseen = [name for i, name in enumerate(MASK_CATEGORIES, 1) if not summary.present[i]]
    return {
        "complete": Verdict(
            summary.images == summary.wanted,
            f"{summary.images:,} of {summary.wanted:,} images have a mask"
            + (f"; {len(summary.quarantined):,} could not be read, such as {example}" if summary.quarantined else "")
            + (f"; unfinished: {', '.join(summary.unfinished)}" if summary.unfinished else ""),
            {"without_mask": dict(list(summary.quarantined.items())[:_SHOWN])},
        ),
        "not_empty": Verdict(
            share <= MOST_EMPTY,
            f"{summary.empty:,} masks ({share:.1%}) hold none of the six categories; "
            f"at most {MOST_EMPTY:.0%} is expected",
        ),
        "person_in_most_frames": Verdict(
            not lonely,
            f"{len(lonely)} of {len(summary.person)} subjects show a person in fewer than {LEAST_PERSON:.0%} "
            "of their frames",
            {"subjects": {subject: round(part, 3) for subject, part in lonely.items()}},
        ),
        "every_category_seen": Verdict(
            not unseen,
            f"never seen: {', '.join(unseen)}" if unseen else f"all of {', '.join(MASK_CATEGORIES)} occur",
            {"never_seen": unseen},
        ),
    }
