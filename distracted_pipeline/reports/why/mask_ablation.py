"""The section "Which mask matters": recall of the variants that read masks when one category is taken away."""

from collections.abc import Mapping, Sequence
from typing import Any

from distracted_pipeline.explanation.what_if.looks import known_effects
from distracted_pipeline.explanation.what_if.mask_ablation import ABLATIONS, FOUND, MISSED, STAGE
from distracted_pipeline.explanation.what_if.tables import Effect
from distracted_pipeline.figures import formats
from distracted_pipeline.reports.site import Site
from distracted_pipeline.reports.why.effects import change, effects_of, of_class, points, tell
from distracted_pipeline.reports.why.section import Section
from distracted_pipeline.settings import Settings


def results(settings: Settings) -> Mapping[str, str]:
    """Return what identifies the effects of each variant."""
    return known_effects(settings, STAGE)


def say(site: Site, names: Sequence[str]) -> dict[str, Any]:
    """Return figures by variant and ablation, the decided effects in words, and recall with masks found and missed."""
    effects = effects_of(site, STAGE, names)
    altered = [row for row in effects if row.version in ABLATIONS]

    def title(ablation: str) -> str:
        return f"Recall with a category {ablation}, minus recall as it is"

    def cell(effect: Effect) -> str:
        return f"{change(effect)}; recall {formats.proportion(effect.before)} to {formats.proportion(effect.after)}"

    it = tell(site, names, altered, ABLATIONS, title=title, cell=cell, sentence=sentence)
    pairs = {(r.variant, r.class_id, r.about, r.version): r for r in effects if r.version in (FOUND, MISSED)}
    return it | {"pairs": [(row, pairs[(*key[:3], MISSED)]) for key, row in pairs.items() if key[3] == FOUND]}


def sentence(site: Site, effect: Effect) -> str:
    """Return an effect in words."""
    moved = "falls" if (effect.delta or 0) < 0 else "rises"
    return (
        f"With the {effect.about} {effect.version} in the masks, recall of {site.class_id(effect.class_id)} {moved} by "
        f"{points(effect.delta)} points in {site.report.title(effect.variant)}."
    )


SECTION = Section(
    name=STAGE.asset,
    title="Which mask matters",
    question="One category of the masks is taken away or made wrong, and the networks that read masks look again.",
    results=results,
    say=say,
    of_class=lambda site, names, k: of_class(site, STAGE.asset, k, 2, sentence),
)
