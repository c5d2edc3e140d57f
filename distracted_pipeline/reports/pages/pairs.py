"""What the page says that sets any two variants side by side."""

from typing import Any

from distracted_pipeline.reports.image_list import packed
from distracted_pipeline.reports.pairs import pairs
from distracted_pipeline.reports.site import Site


def page(site: Site) -> dict[str, Any]:
    """Return every pair as data for the page's script."""
    found = pairs(site.report)
    return {"title": "A against B", "left_out": found["left_out"], "data": packed(found)}
