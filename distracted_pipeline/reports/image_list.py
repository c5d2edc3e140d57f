"""Every labelled image as compact data: what the page of images filters, sorts, shows, and walks through.

One JSON document for all of it, deflated, in the page itself, because a page that is opened from disk can load none.
Numbers are bytes in base64: classes by position, probabilities in hundredths, losses in twentieths. What the script
makes of them is `templates/images_*.js`; which images have pictures is `selection`.
"""

import base64
import json
import zlib
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from distracted_pipeline.explanation import overlays
from distracted_pipeline.explanation.tables import CamRow
from distracted_pipeline.figures.formats import slug
from distracted_pipeline.reports.report_data import Cams
from distracted_pipeline.reports.site import Site

NOTHING: Final = 255
"""Stands for no answer and no number."""

LOSS_STEPS: Final = 20
"""Parts of 1 that a loss is told in."""

_LEAST: Final = 1e-6
"""Of a probability whose loss is told; a byte holds no more."""

_DIGITS: Final = np.frombuffer(b"0123456789abcdef", np.uint8)


def image_list(site: Site) -> dict[str, Any]:
    """Return what the page of images knows: names, labels, answers and, of images with pictures, all there is."""
    report, images = site.report, list(site.report.images.values())
    drivers = sorted({image.subject for image in images})
    place = {driver: i for i, driver in enumerate(drivers)}
    slugs = [slug(image.img) for image in images]
    shown = [site.place[image.img] for image in site.selection.images]
    probabilities = report.predictions.probabilities
    references = (report.reference(name) or "" for name in report.variants)
    return {
        "classes": [[report.dataset.class_ids[k], report.dataset.class_label(k)] for k in report.classes],
        "drivers": drivers,
        "variants": [[name, report.title(name)] for name in report.variants],
        "references": [report.variants.index(name) if name in report.variants else -1 for name in references],
        "baseline": report.variants.index(report.baseline) if report.baseline in report.variants else -1,
        "categories": list(report.dataset.category_names),
        "names": [image.img for image in images],
        "slugs": {i: name for i, name in enumerate(slugs) if name != images[i].img},
        "driver": _wide([place[image.subject] for image in images]),
        "true": _bytes(np.array([image.true for image in images])),
        "found": None if report.found is None else [_bytes(column) for column in report.found.T],
        **_answers(probabilities, np.array([image.true for image in images], int)),
        "shown": shown,
        "masked": [int(image.img in site.pictures.masks) for image in site.selection.images],
        "p": _bytes(_hundredths(probabilities[:, shown])),
        "cams": [
            _maps(report.cams[name], {image.img: i for i, image in enumerate(site.selection.images)})
            if name in report.cams
            else None
            for name in report.variants
        ],
        "heat": overlays.HEAT.round().astype(int).tolist(),
        "lossSteps": LOSS_STEPS,
    }


def packed(data: dict[str, Any]) -> str:
    """Return a document for a page's script: JSON, deflated, in base64, so that no name in it can be markup."""
    return base64.b64encode(zlib.compress(json.dumps(data, separators=(",", ":")).encode(), 9)).decode()


def _answers(probabilities: np.ndarray, true: np.ndarray) -> dict[str, list[str]]:
    """Return by variant which class each image is given, how surely, and the loss of that answer."""
    known = np.isfinite(probabilities).all(-1)
    filled = np.where(known[..., None], probabilities, 0)
    of_true = np.maximum(filled[:, np.arange(len(true)), true], _LEAST)
    loss = np.minimum(np.rint(-np.log(of_true) * LOSS_STEPS), NOTHING - 1)
    found = {"answer": filled.argmax(-1), "sure": _hundredths(filled.max(-1)), "loss": loss}
    return {name: [_bytes(row) for row in np.where(known, values, NOTHING)] for name, values in found.items()}


def _maps(cams: Cams, place: dict[str, int]) -> dict[str, Any]:
    """Return a variant's CAMs of the images with pictures: whose, for which class, and cells of 16 levels."""
    rows = [(i, row) for i, row in enumerate(cams.rows) if row.img in place]
    chosen = [i for i, _ in rows]
    return {
        "rows": [_row(row, place) for _, row in rows],
        **_cells("", cams.maps[chosen]),
        **({} if cams.mask_maps is None else _cells("masks_", cams.mask_maps[chosen])),
    }


def _row(row: CamRow, place: dict[str, int]) -> int:
    """Return place of the image and, as the lowest bit, whether the map is for the true class and not the answer."""
    return 2 * place[row.img] + (row.target == "true")


def _cells(prefix: str, maps: np.ndarray) -> dict[str, Any]:
    levels = np.rint(maps / 17).astype(np.uint8)
    return {f"{prefix}size": list(maps.shape[1:]), f"{prefix}maps": _DIGITS[levels].tobytes().decode()}


def _hundredths(values: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(values), np.rint(np.nan_to_num(values) * 100), NOTHING)


def _bytes(values: np.ndarray) -> str:
    return base64.b64encode(values.astype(np.uint8).tobytes()).decode()


def _wide(values: Sequence[int]) -> str:
    return base64.b64encode(np.array(values, "<u2").tobytes()).decode()
