"""What the page of one image says: every variant's probabilities and Grad-CAMs, and the driver's other images."""

from typing import Any

from distracted_pipeline.reports.report_data import Image
from distracted_pipeline.reports.site import Site

NEIGHBOURS = 3
"""Images of the same driver shown on each side of an image."""


def page(site: Site, image: Image) -> dict[str, Any]:
    """Return what the page of an image says."""
    own = site.by_driver[image.subject]
    at, place = own.index(image), site.place[image.img]
    values = site.report.predictions.probabilities[:, place].tolist()
    return {
        "title": image.img,
        "image": image,
        "before": own[at - 1] if at else None,
        "after": own[at + 1] if at + 1 < len(own) else None,
        "neighbours": own[max(at - NEIGHBOURS, 0) : at] + own[at + 1 : at + 1 + NEIGHBOURS],
        "probabilities": list(zip(site.report.variants, values, site.predicted[:, place].tolist(), strict=True)),
        "cams": site.explained.get(image.img, {}),
        "compared": any((name, image.img) in site.pictures.changes for name in site.report.variants),
    }
