"""What the page of the data says: images by driver and class, what was found wrong, and masks."""

from typing import Any

import numpy as np
from markupsafe import Markup

from distracted_pipeline.figures import formats, matrices
from distracted_pipeline.reports.detection import detection_rates
from distracted_pipeline.reports.report_data import ReportData
from distracted_pipeline.reports.site import Site, images_url

PROBLEMS_SHOWN = 50


def page(site: Site) -> dict[str, Any]:
    """Return what the page of images, problems and masks says."""
    report = site.report
    found = list(report.images.values())
    counts: dict[str, list[int]] = {}
    parts = {image.subject: image.split for image in found}
    for image in found:
        counts.setdefault(image.subject, [0] * len(report.classes))[image.true] += 1
    return {
        "title": "Data and masks",
        "by_driver": [(name, parts[name], row) for name, row in sorted(counts.items())],
        "by_class": np.sum(list(counts.values()), axis=0).tolist(),
        "detection": _detection(report),
        "problems": site.problems[:PROBLEMS_SHOWN],
        "problems_total": len(site.problems),
        "samples": [
            site.shown[names[0]] for names in site.selection.masks if names and names[0] in site.pictures.masks
        ],
    }


def _detection(report: ReportData) -> Markup | None:
    """Return how often the masks of each class show each category."""
    rates = detection_rates(report)
    if rates is None:
        return None
    ids, names = report.dataset.class_ids, report.dataset.category_names
    return matrices.shares(
        [(report.dataset.class_label(k), f"classes/{ids[k]}.html") for k in report.classes],
        list(names),
        rates,
        title="How often the masks of each class show each category",
        say=lambda k, c: (
            f"{names[c]} in {formats.proportion(float(rates[k, c]))} of the masked images of "
            f"{report.dataset.class_label(k)}"
        ),
        link=lambda k, c: images_url(class_=ids[k], has=names[c]),
    )
