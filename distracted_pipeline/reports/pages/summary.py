"""What the page that stands alone says: the verdict, the differences, the leaderboard, and what they rest on."""

from typing import Any

from distracted_pipeline.reports.data_card import data_card
from distracted_pipeline.reports.heatmap import heatmap
from distracted_pipeline.reports.site import Site
from distracted_pipeline.reports.verdict import answer, champion, headline, leaderboard


def page(site: Site) -> dict[str, Any]:
    """Return what the summary says; it has no link."""
    return {"title": "Summary", **result(site), "heatmap": heatmap(site, linked=False)}


def result(site: Site) -> dict[str, Any]:
    """Return what the summary and the front page both say."""
    return {
        "headline": headline(site.report),
        "answer": answer(site.report),
        "champion": champion(site.report),
        "missing": site.missing,
        "leaderboard": leaderboard(site.report),
        **data_card(site.report),
    }
