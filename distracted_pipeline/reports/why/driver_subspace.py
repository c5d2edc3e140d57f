"""How much of the embedding names the driver, and what removing that does to each class."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from distracted_pipeline.advice import WHY
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.evaluation.driver_subspace import VARIANT, subspace_file, subspace_inputs
from distracted_pipeline.evaluation.table_schemas import ClassScore
from distracted_pipeline.figures import formats
from distracted_pipeline.files import read_json
from distracted_pipeline.fingerprints import is_current
from distracted_pipeline.reports.why.section import Section
from distracted_pipeline.settings import Settings

if TYPE_CHECKING:
    from distracted_pipeline.reports.site import Site


def _results(settings: Settings) -> Mapping[str, str]:
    if not subspace_file(settings).is_file():
        return {}
    inputs = subspace_inputs(settings)
    return {"driver_subspace": inputs if is_current([subspace_file(settings)], inputs) else ""}


def _say(site: "Site", names: Sequence[str]) -> dict[str, Any]:
    path = subspace_file(site.report.settings)
    found = read_json(path)
    if found is None:
        raise DistractedError(f"{path} is damaged. Type: {WHY}")
    return {**found, "scores": _scores(site), "reference": site.report.reference(VARIANT)}


def _scores(site: "Site") -> list[ClassScore]:
    """Return the class scores of the variant without driver directions; none where it was not trained."""
    return site.report.main.classes.get(VARIANT, [])


def _of_class(site: "Site", names: Sequence[str], k: int) -> list[str]:
    score = next((score for score in _scores(site) if score.class_id == k), None)
    if score is None or score.delta_recall is None:
        return []
    change = f"{formats.difference(score.delta_recall)} ({score.verdict})"
    return [f"Without the directions that name the driver, the linear probe's recall changes by {change}."]


SECTION = Section(
    name="driver_subspace",
    title="How much of the embedding is the driver",
    question="Do the features know who drives, and does it help to take that away?",
    results=_results,
    say=_say,
    of_class=_of_class,
    by_variant=False,
)
