"""One site in the making: where its pages are, and the look-ups that several pages share.

What single pages say is `pages`; values that need no pictures are `verdict`, `confusions` and `by_driver`.
"""

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import numpy as np

from distracted_pipeline.evaluation.plan_tables import Study, study
from distracted_pipeline.explanation.tables import CamRow
from distracted_pipeline.figures import formats
from distracted_pipeline.reports.pictures import Pictures, sheet
from distracted_pipeline.reports.report_data import Image, ReportData
from distracted_pipeline.reports.selection import Selection
from distracted_pipeline.reports.verdict import compared, headline
from distracted_pipeline.reports.why.section import Shown, show

IMAGES = "images.html"

SHEET_ROWS = 12
"""Images on the sheet of a variant's Grad-CAMs."""


class Pair(NamedTuple):
    """One explained image of a variant with its CAMs by target."""

    image: Image
    kind: str
    true: int
    predicted: int
    rows: dict[str, CamRow]


@dataclass(frozen=True)
class Site:
    """One site in the making.

    Attributes:
        folder: Where its files go.
        report_id: Its name.
        written: When, in words.
        report: What it tells.
        selection: Which images have pictures.
        pictures: Which pictures exist.
        problems: What ingest found wrong with the data.
        missing: Sentences that say what this report lacks.
    """

    folder: Path
    report_id: str
    written: str
    report: ReportData
    selection: Selection
    pictures: Pictures
    problems: list[dict[str, Any]]
    missing: list[str]

    @cached_property
    def predicted(self) -> np.ndarray:
        """Likeliest class, int [variant, image], -1 without prediction."""
        return self.report.predictions.predicted()

    @cached_property
    def place(self) -> dict[str, int]:
        """Position of each labelled image."""
        return {img: i for i, img in enumerate(self.report.images)}

    @cached_property
    def shown(self) -> dict[str, Image]:
        """Images that have pictures."""
        return {image.img: image for image in self.selection.images}

    @cached_property
    def explained_by_all(self) -> list[Image]:
        """One image of each class that every explained variant has a CAM of; none where fewer than two have any."""
        explained = Counter(img for cams in self.report.cams.values() for img in {row.img for row in cams.rows})
        variants = len(self.report.cams)
        found = [image for img, image in self.shown.items() if explained[img] == variants > 1]
        first = {image.true: image for image in sorted(found, key=lambda image: image.img, reverse=True)}
        return [first[k] for k in sorted(first)]

    @cached_property
    def evidence(self) -> list[Shown]:
        """The sections of the page "Why"; what is current is read, and its pictures written, once."""
        from distracted_pipeline.reports.why.sections import SECTIONS  # they read this module

        return [show(section, self) for section in SECTIONS]

    def evidence_of(self, k: int) -> list[tuple[Shown, list[str]]]:
        """Return the sections that say something of a class, with their sentences."""
        said = [(shown, shown.section.of_class(self, shown.names, k) if shown.names else []) for shown in self.evidence]
        return [(shown, lines) for shown, lines in said if lines]

    @cached_property
    def studies(self) -> dict[str, Study]:
        """What it takes to see a change, by variant that is compared with another one."""
        return {name: self._study(name) for name in compared(self.report)}

    def _study(self, name: str) -> Study:
        scope, reference = self.report.main, self.report.reference(name) or self.report.baseline
        counts = scope.trainings[name], scope.trainings[reference]
        return study(name, reference, counts, scope.folds, questions=scope.questions or scope.cells or 1)

    @cached_property
    def by_driver(self) -> dict[str, list[Image]]:
        """Images that have pictures, by driver, in manifest order."""
        found: dict[str, list[Image]] = {}
        for image in self.selection.images:
            found.setdefault(image.subject, []).append(image)
        return found

    def class_id(self, k: int | None) -> str:
        """Return the id of the class at position `k`, `c3`; `–` for no class."""
        return formats.NONE if k is None else self.report.dataset.class_ids[k]

    def class_url(self, k: int) -> str:
        """Return the page of a class, relative to the site's root."""
        return f"classes/{self.class_id(k)}.html"

    def called(self, variant: str, img: str) -> str:
        """Return the id of the class that a variant gives an image."""
        answer = int(self.predicted[self.report.variants.index(variant), self.place[img]])
        return self.class_id(answer) if answer >= 0 else "no prediction"

    def votes(self, img: str) -> str:
        """Return how many variants are right about an image, in words."""
        answers = self.predicted[:, self.place[img]]
        given = answers[answers >= 0]
        right = int((given == self.report.images[img].true).sum())
        return f"{right} of {len(given)} variants right" if len(given) else "no predictions"

    def mean_true(self, img: str) -> float:
        """Return the mean probability that the variants give to an image's true class."""
        given = self.report.predictions.probabilities[:, self.place[img], self.report.images[img].true]
        return float(np.nanmean(given)) if np.isfinite(given).any() else float("nan")

    def cam_pairs(self, variant: str) -> list[Pair]:
        """Return the images whose CAMs stand on a variant's page, each with its CAMs."""
        found: dict[str, Pair] = {}
        cams, strips = self.report.cams.get(variant), set(self.selection.strips.get(variant, ()))
        for cam in cams.rows if cams else ():
            if cam.img in strips:
                pair = found.setdefault(cam.img, Pair(self.shown[cam.img], cam.kind, cam.true, cam.predicted, {}))
                pair.rows.setdefault(cam.target, cam)
        return list(found.values())

    def example(self) -> tuple[str, Pair] | None:
        """Return the example of the front page, variant and image: confused and with masks where possible."""
        first = headline(self.report)
        for variant in (*([first] if first else []), *self.report.variants):
            best = max(
                self.cam_pairs(variant),
                key=lambda pair: (pair.kind == "confused", pair.image.img in self.pictures.masks),
                default=None,
            )
            if best:
                return variant, best
        return None

    def cam_sheet(self, variant: str) -> bytes | None:
        """Return the Grad-CAMs on a variant's page as one picture, confused images first; None where there are none."""
        pairs = sorted(self.cam_pairs(variant), key=lambda pair: pair.kind != "confused")[:SHEET_ROWS]
        rows = [(self._sheet_line(pair), self._pictures_of(variant, pair)) for pair in pairs]
        return sheet(self.folder, rows) if rows else None

    def _sheet_line(self, pair: Pair) -> str:
        label = self.report.dataset.class_label
        called = f", called {label(pair.predicted)}" if pair.kind == "confused" else ""
        return f"{pair.image.img}, {pair.image.subject}: {label(pair.true)}{called}"

    def _pictures_of(self, variant: str, pair: Pair) -> list[str]:
        """Return an explained image's frame, masks and Grad-CAMs for the answer and for the true class."""
        img = pair.image.img
        places = [self.pictures.frames.get(img), self.pictures.masks.get(img)]
        places += [self.pictures.cams.get((variant, img, target)) for target in ("predicted", "true")]
        return [place for place in places if place]

    def example_pictures(self) -> list[str]:
        """Return the pictures of the example, relative to the site's root."""
        example = self.example()
        if example is None:
            return []
        return self._pictures_of(*example)


def variant_url(name: str) -> str:
    """Return the page of a variant, relative to the site's root."""
    return f"variants/{formats.slug(name)}.html"


def noise_url(name: str) -> str:
    """Return where the noise of a variant is described, relative to the site's root."""
    return f"noise.html#{formats.slug(name)}"


def images_url(**view: str | None) -> str:
    """Return the list of images in a view of its own, relative to the site's root.

    Args:
        view: What the page's script reads from the address: `class`, `driver`, `has`, `lacks`, `variant`, `called`,
            `answer`, `against`, `flip`, `votes`, `sort`, `word` and `img` (the `slug` of an image); a keyword
            ends in `_` where Python would not have it. None leaves it out.
    """
    known = {name.rstrip("_"): value for name, value in view.items() if value is not None}
    return f"{IMAGES}#{urlencode(known, quote_via=quote, errors='surrogatepass')}"


def flips_url(report: ReportData, variant: str, k: int | None = None, flip: str = "both") -> str:
    """Return where the images are that a variant gained or lost against its reference, of one class or of all."""
    return images_url(class_=None if k is None else report.dataset.class_ids[k], variant=variant, flip=flip)


def image_url(img: str, **view: str | None) -> str:
    """Return where one image is shown, relative to the site's root; `view` as for `images_url`."""
    return images_url(**view, img=formats.slug(img))
