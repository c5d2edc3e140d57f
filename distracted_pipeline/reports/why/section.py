"""What a section of the page "Why" is, and what is there for it to show.

Belongs here: the frame that all sections stand in. What one of them says is in its own file; that they are made by
`distracted why` is the business of `operations`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from distracted_pipeline.settings import Settings

if TYPE_CHECKING:
    from distracted_pipeline.reports.site import Site


def nothing_of_a_class(site: "Site", names: Sequence[str], k: int) -> list[str]:
    """Return no sentence: a section that says nothing of single classes."""
    return []


@dataclass(frozen=True)
class Section:
    """One section of the page.

    Attributes:
        name: Its anchor; `why_<name>.html.jinja` is its template, which finds what `say` returns as `it`.
        title: Its heading.
        question: What it answers, in a sentence; stands there whether it is made or not.
        results: From the settings to the results that lie on disk, by name (a variant's, or any other word where the
            asset has no partitions): the fingerprint that the result records, or empty where it is out of date.
        say: From the site and the names of the results that are current to what the template gets. Writes the
            pictures that it shows below `site.folder`.
        of_class: From the same and a class to sentences for the page of that class.
        by_variant: Whether the names are variants'; a report on some variants then shows theirs alone.
    """

    name: str
    title: str
    question: str
    results: Callable[[Settings], Mapping[str, str]]
    say: Callable[["Site", Sequence[str]], dict[str, Any]]
    of_class: Callable[["Site", Sequence[str], int], list[str]] = nothing_of_a_class
    by_variant: bool = True

    @property
    def template(self) -> str:
        """Name of its template."""
        return f"why_{self.name}.html.jinja"


@dataclass(frozen=True)
class Shown:
    """A section on the page of one report.

    Attributes:
        section: Which.
        names: Of the results that are current and in the report.
        stale: Of those that are out of date.
        it: What its template gets; None where nothing is current.
    """

    section: Section
    names: list[str]
    stale: list[str]
    it: dict[str, Any] | None


def show(section: Section, site: "Site") -> Shown:
    """Return what a section shows in a report: what is current, of the variants that the report is about."""
    found = section.results(site.report.settings)
    names = [name for name in found if not section.by_variant or name in site.report.variants]
    if section.by_variant:
        names.sort(key=site.report.variants.index)
    current = [name for name in names if found[name]]
    stale = [name for name in names if not found[name]]
    return Shown(section, current, stale, section.say(site, current) if current else None)


def said(site: "Site", name: str) -> dict[str, Any]:
    """Return what a section's template gets in this report: for its sentences on single classes, computed once."""
    return next((shown.it for shown in site.evidence if shown.section.name == name and shown.it is not None), {})
