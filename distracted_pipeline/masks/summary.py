"""What the mask cache holds, in numbers, and whether that looks right.

Belongs here: totals and checks over subjects' indexes; no mask is opened. How Dagster shows them is `assets`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from distracted_pipeline.checks import Check
from distracted_pipeline.dataset import Category
from distracted_pipeline.images.manifest import of_subject
from distracted_pipeline.masks.cache import MaskCache

MOST_EMPTY = 0.2
"""Share of images without any category above which the masks look wrong."""

LEAST_EXPECTED = 0.5
"""Share of a subject's frames in which an expected category must be seen."""

_SHOWN = 20


@dataclass(frozen=True)
class Summary:
    """Totals over subjects.

    Attributes:
        categories: The data set's; arrays below hold one number per id, `[ids]`, and id 0 is none.
        wanted: Usable images in the manifest.
        images: Masks there are.
        empty: Masks without any category.
        present: Images that hold each id.
        pixels: Pixels of each id.
        unfinished: Subjects without a complete set of masks.
        quarantined: Image -> why it has no mask.
        by_subject: Subject -> pixels of each id.
        seen: Subject -> share of its frames that hold each id.
    """

    categories: Sequence[Category]
    wanted: int
    images: int
    empty: int
    present: np.ndarray
    pixels: np.ndarray
    unfinished: list[str] = field(default_factory=list)
    quarantined: dict[str, str] = field(default_factory=dict)
    by_subject: dict[str, np.ndarray] = field(default_factory=dict)
    seen: dict[str, np.ndarray] = field(default_factory=dict)

    def coverage(self) -> list[dict[str, Any]]:
        """Return one record per category: share of images that hold it, and of all pixels."""
        images, pixels = max(self.images, 1), max(int(self.pixels.sum()), 1)
        return [
            {
                "category": category.name,
                "images": int(self.present[i]),
                "share_of_images": round(float(self.present[i]) / images, 4),
                "share_of_pixels": round(float(self.pixels[i]) / pixels, 4),
            }
            for i, category in enumerate(self.categories, start=1)
        ]

    def coverage_by_subject(self) -> list[dict[str, Any]]:
        """Return one record per subject: each category's share of its pixels."""
        return [
            {"subject": subject}
            | {
                category.name: round(float(pixels[i] / max(pixels.sum(), 1)), 4)
                for i, category in enumerate(self.categories, start=1)
            }
            for subject, pixels in self.by_subject.items()
        ]


def summarise(cache: MaskCache, manifest: pa.Table, subjects: Sequence[str], categories: Sequence[Category]) -> Summary:
    """Return the totals over `subjects`, from their indexes."""
    present, pixels = np.zeros(cache.categories + 1, np.int64), np.zeros(cache.categories + 1, np.int64)
    wanted = images = empty = 0
    unfinished: list[str] = []
    quarantined: dict[str, str] = {}
    by_subject: dict[str, np.ndarray] = {}
    seen: dict[str, np.ndarray] = {}
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
        seen[subject] = np.array(index.present) / max(index.images, 1)
        quarantined |= {img: item["reason"] for img, item in index.quarantined.items()}
    return Summary(categories, wanted, images, empty, present, pixels, unfinished, quarantined, by_subject, seen)


def checks(summary: Summary) -> list[Check]:
    """Return the checks: complete, not_empty, expected_in_most_frames, every_category_seen."""
    return [_complete(summary), _not_empty(summary), _expected(summary), _every_category(summary)]


def _complete(summary: Summary) -> Check:
    lacking = [{"image": img, "why": why} for img, why in summary.quarantined.items()]
    example = next((f"{one['image']}: {one['why']}" for one in lacking), "")
    return Check(
        "complete",
        summary.images == summary.wanted,
        f"{summary.images:,} of {summary.wanted:,} images have a mask"
        + (f"; {len(lacking):,} could not be read, such as {example}" if lacking else "")
        + (f"; unfinished: {', '.join(summary.unfinished)}" if summary.unfinished else ""),
        facts={"images_without_mask": len(lacking), "without_mask": lacking[:_SHOWN]},
    )


def _not_empty(summary: Summary) -> Check:
    share = summary.empty / max(summary.images, 1)
    return Check(
        "not_empty",
        share <= MOST_EMPTY,
        f"{summary.empty:,} masks ({share:.1%}) hold no category at all; at most {MOST_EMPTY:.0%} is expected",
        "WARN",
    )


def _expected(summary: Summary) -> Check:
    rare = {
        category.name: {
            subject: round(float(shares[i]), 3)
            for subject, shares in summary.seen.items()
            if shares[i] < LEAST_EXPECTED
        }
        for i, category in enumerate(summary.categories, start=1)
        if category.expected
    }
    found = [
        f"{len(subjects)} of {len(summary.seen)} subjects show a {name} in fewer than {LEAST_EXPECTED:.0%} of their "
        "frames"
        for name, subjects in rare.items()
    ]
    table = [
        {"category": name, "subject": subject, "share_of_frames": share}
        for name, subjects in rare.items()
        for subject, share in subjects.items()
    ]
    return Check(
        "expected_in_most_frames",
        not table,
        "; ".join(found) or "the data set names no category that most frames should show",
        "WARN",
        {"subjects": table},
    )


def _every_category(summary: Summary) -> Check:
    names = [category.name for category in summary.categories]
    unseen = [name for i, name in enumerate(names, start=1) if not summary.present[i]]
    found = f"never seen: {', '.join(unseen)}" if unseen else f"all of {', '.join(names)} occur"
    return Check("every_category_seen", not unseen, found, "WARN", {"never_seen": unseen})
