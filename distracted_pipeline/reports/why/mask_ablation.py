"""The section "Which mask matters": recall of the variants that read masks when one category is taken away."""

from collections.abc import Mapping, Sequence
from typing import Any

from distracted_pipeline.explanation.what_if.looks import known_effects
from distracted_pipeline.explanation.what_if.mask_ablation import ABLATIONS, FOUND, MISSED, STAGE
from distracted_pipeline.explanation.what_if.tables import Effect
from distracted_pipeline.figures import formats
from distracted_pipeline.reports.site import Site
from distracted_pipeline.reports.why.effects import change, decided, effects_of, figure, points, strongest
from distracted_pipeline.reports.why.section import Section, said
from distracted_pipeline.settings import Settings

_SENTENCES = 12


def results(settings: Settings) -> Mapping[str, str]:
    """Return what identifies the effects of each variant."""
    return known_effects(settings, STAGE)


def say(site: Site, names: Sequence[str]) -> dict[str, Any]:
    """Return figures by variant and ablation, the decided effects in words, and recall with masks found and missed."""
    effects = effects_of(site, STAGE, names)
    altered = [row for row in effects if row.version in ABLATIONS]
    sure = decided(altered)
    categories = [name for name in site.report.dataset.category_names if any(row.about == name for row in altered)]

    def words(effect: Effect) -> str:
        return f"{change(effect)}; recall {formats.proportion(effect.before)} to {formats.proportion(effect.after)}"

    figures = []
    for name in names:
        for ablation in ABLATIONS:
            cells = {(r.class_id, r.about): r for r in altered if (r.variant, r.version) == (name, ablation)}
            title = f"Recall with a category {ablation}, minus recall as it is, {site.report.title(name)}"
            figures.append((name, ablation, figure(site, categories, cells, sure, title, words)))
    pairs = {(r.variant, r.class_id, r.about, r.version): r for r in effects if r.version in (FOUND, MISSED)}
    ranked = strongest(sure)
    return {
        "sentences": _sentences(site, ranked[:_SENTENCES]),
        "sure": ranked,
        "decided": len(sure),
        "asked": sum(row.p is not None for row in altered),
        "figures": figures,
        "pairs": [(row, pairs[(*key[:3], MISSED)]) for key, row in pairs.items() if key[3] == FOUND],
        "frames": site.report.settings.why_frames,
    }


def of_class(site: Site, names: Sequence[str], k: int) -> list[str]:
    """Return what was decided of one class, the strongest first."""
    return _sentences(site, [row for row in said(site, SECTION.name)["sure"] if row.class_id == k][:2])


def _sentences(site: Site, effects: Sequence[Effect]) -> list[str]:
    def sentence(row: Effect) -> str:
        moved = "falls" if (row.delta or 0) < 0 else "rises"
        return (
            f"With the {row.about} {row.version} in the masks, recall of {site.class_id(row.class_id)} {moved} by "
            f"{points(row.delta)} points in {site.report.title(row.variant)}."
        )

    return [sentence(row) for row in effects]


SECTION = Section(
    name="mask_ablation",
    title="Which mask matters",
    question="One category of the masks is taken away or made wrong, and the networks that read masks look again.",
    results=results,
    say=say,
    of_class=of_class,
)
