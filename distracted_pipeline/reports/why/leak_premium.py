"""What a random split would have said of the same classifier: why published numbers are high."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from distracted_pipeline.advice import WHY
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.evaluation.leak_premium import premium_file, premium_inputs
from distracted_pipeline.figures import formats
from distracted_pipeline.files import read_json
from distracted_pipeline.fingerprints import is_current
from distracted_pipeline.reports.why.section import Section
from distracted_pipeline.settings import Settings

if TYPE_CHECKING:
    from distracted_pipeline.reports.site import Site


def _results(settings: Settings) -> Mapping[str, str]:
    if not premium_file(settings).is_file():
        return {}
    inputs = premium_inputs(settings)
    return {"leak_premium": inputs if is_current([premium_file(settings)], inputs) else ""}


def _say(site: "Site", names: Sequence[str]) -> dict[str, Any]:
    return _read(site)


def _read(site: "Site") -> dict[str, Any]:
    path = premium_file(site.report.settings)
    found = read_json(path)
    if found is None:
        raise DistractedError(f"{path} is damaged. Type: {WHY}")
    return found


def _of_class(site: "Site", names: Sequence[str], k: int) -> list[str]:
    row = _read(site)["classes"][k]
    if row["premium"] is None:
        return []
    return [
        f"On a random split its recall would read {formats.proportion(row['random'])} instead of "
        f"{formats.proportion(row['disjoint'])} (linear probe)."
    ]


SECTION = Section(
    name="leak_premium",
    title="What a random split would have said",
    question="How much of a published score is memory of the drivers who are tested?",
    results=_results,
    say=_say,
    of_class=_of_class,
    by_variant=False,
)
