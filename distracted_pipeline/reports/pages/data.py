"""What the page of the data says: images by driver and class, what was found wrong, and masks."""

from typing import Any

import numpy as np

from distracted_pipeline.reports.site import Site

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
        "problems": site.problems[:PROBLEMS_SHOWN],
        "problems_total": len(site.problems),
        "samples": [
            site.shown[names[0]] for names in site.selection.masks if names and names[0] in site.pictures.masks
        ],
    }
