"""What the page that lists images says."""

from typing import Any

from distracted_pipeline.reports.site import Site


def page(site: Site) -> dict[str, Any]:
    """Return the images that have pages, and how many more deserve one."""
    return {"title": "Images", "images": site.selection.images, "left_out": site.selection.left_out}
