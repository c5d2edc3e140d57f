"""The section "Without the object": what answers hang on, by class and mask category."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from distracted_pipeline.evaluation.tables_io import read_rows
from distracted_pipeline.explanation.what_if.counterfactuals import BLURRED, ERASED, STAGE, cases_path
from distracted_pipeline.explanation.what_if.erasing import METHOD
from distracted_pipeline.explanation.what_if.looks import known_effects
from distracted_pipeline.explanation.what_if.tables import Case, Effect
from distracted_pipeline.figures import formats
from distracted_pipeline.files import atomic_path
from distracted_pipeline.reports.site import Site
from distracted_pipeline.reports.why.effects import change, effects_of, of_class, points, tell
from distracted_pipeline.reports.why.section import Section
from distracted_pipeline.settings import Settings

SHOWN = 12
"""Cases with pictures."""

OF_A_CELL = 2
"""Cases with pictures of one class and category of a variant."""


def results(settings: Settings) -> Mapping[str, str]:
    """Return what identifies the effects of each variant."""
    return known_effects(settings, STAGE)


def say(site: Site, names: Sequence[str]) -> dict[str, Any]:
    """Return figures by variant, the decided effects in words, and the strongest cases."""
    effects = effects_of(site, STAGE, names)
    erased = [row for row in effects if row.version == ERASED]
    soft = {(row.variant, row.class_id, row.about): row for row in effects if row.version == BLURRED}

    def title(version: str) -> str:
        return "What erasing changes, by class and category"

    def cell(effect: Effect) -> str:
        blurred = soft.get((effect.variant, effect.class_id, effect.about))
        also = f"; blurred {formats.difference(blurred.delta)}" if blurred else ""
        fell = f"p {formats.proportion(effect.before)} to {formats.proportion(effect.after)}"
        return f"{change(effect)}; {fell}, control {formats.proportion(effect.control)}{also}"

    it = tell(site, names, erased, (ERASED,), title=title, cell=cell, sentence=sentence)
    asked = {(row.variant, row.class_id, row.about) for row in erased if row.p is not None}
    covered = [(name, _mean([row.on_objects for row in erased if row.about == name])) for name in it["categories"]]
    return it | {"cases": _cases(site, names, asked), "method": METHOD, "on_objects": covered}


def sentence(site: Site, effect: Effect) -> str:
    """Return an effect in words: `Without the cell phone, c1 falls by 31 points (control: 2) in Masks only.`."""
    fall, control = _less(effect.before, effect.after), _less(effect.before, effect.control)
    moved = "falls" if fall > 0 else "rises"
    elsewhere = "" if abs(control) < 0.005 or (control > 0) == (fall > 0) else ("−" if fall > 0 else "+")
    return (
        f"Without the {effect.about}, {site.class_id(effect.class_id)} {moved} by {points(fall)} points "
        f"(control: {elsewhere}{points(control)}) in {site.report.title(effect.variant)}."
    )


def _cases(site: Site, names: Sequence[str], asked: set[tuple[str, int, str]]) -> list[dict[str, Any]]:
    """Return the frames that hang most on an object, of cells that are tested, with pictures in the site's folder."""
    settings = site.report.settings
    cases = [(name, case) for name in names for case in read_rows(cases_path(settings, name), Case)]
    cases.sort(key=lambda pair: (pair[1].p_erased - pair[1].p_control, pair[1].img, pair[0]))
    seen: Counter[tuple[str, int, str]] = Counter()
    found: list[dict[str, Any]] = []
    for name, case in cases:
        cell = name, case.true, case.about
        if case.img not in site.place or cell not in asked or seen[cell] == OF_A_CELL or len(found) == SHOWN:
            continue
        seen[cell] += 1
        places = {
            part: _picture(
                site, f"{formats.slug(name)}.{formats.slug(case.img)}.{formats.slug(case.about)}.{part}", data
            )
            for part, data in (("original", case.original), ("erased", case.erased), ("control", case.control))
        }
        found.append({"variant": name, "case": case, "places": places})
    return found


def _picture(site: Site, stem: str, data: bytes) -> str:
    place = f"pictures/why/{stem}.jpg"
    with atomic_path(site.folder / place) as path:
        path.write_bytes(data)
    return place


def _less(before: float | None, after: float | None) -> float:
    return 0.0 if before is None or after is None else before - after


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


SECTION = Section(
    name=STAGE.asset,
    title="Without the object",
    question="Does the answer hang on the phone, the bottle, the person? Each is erased, and the networks look again.",
    results=results,
    say=say,
    of_class=lambda site, names, k: of_class(site, STAGE.asset, k, 3, sentence),
)
