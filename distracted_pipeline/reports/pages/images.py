"""What the page of images says: the list of all of them, and one at a time."""

from typing import Any

from distracted_pipeline.reports.image_list import image_list, packed
from distracted_pipeline.reports.site import Site


def page(site: Site) -> dict[str, Any]:
    """Return every labelled image as data for the page's script, and how many have pictures."""
    return {
        "title": "Images",
        "pictured": len(site.selection.images),
        "left_out": site.selection.left_out,
        "data": packed(image_list(site)),
    }
