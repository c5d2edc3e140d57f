"""What the page "Why" says: a section for each kind of evidence, made or not."""

from typing import Any

from distracted_pipeline.reports.site import Site


def page(site: Site) -> dict[str, Any]:
    """Return what the page says."""
    return {"title": "Why", "sections": site.evidence}
