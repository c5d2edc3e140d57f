"""What the front page says: the summary, an example, and the results on the original split."""

from collections import Counter
from typing import Any

from distracted_pipeline.reports.heatmap import heatmap
from distracted_pipeline.reports.noise import noisiest
from distracted_pipeline.reports.pages import summary
from distracted_pipeline.reports.site import Site
from distracted_pipeline.reports.verdict import ORIGINAL_QUOTED, of_original_project, original_rows, undecidable


def page(site: Site) -> dict[str, Any]:
    """Return what the front page says."""
    report = site.report
    parts = {image.subject: image.split for image in report.images.values()}
    return {
        "title": "Report",
        **summary.result(site),
        "others": len(report.main.variants) > 2,
        "heatmap": heatmap(site, linked=True),
        "example": site.example(),
        "noisiest": noisiest(report),
        "split": Counter(parts.values()),
        "original_rows": original_rows(report),
        "test_undecidable": undecidable(report, "test"),
        "of_original": of_original_project(report),
        "quoted": ORIGINAL_QUOTED if of_original_project(report) and not report.settings.synthetic else (),
    }
