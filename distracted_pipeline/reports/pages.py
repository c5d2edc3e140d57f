"""The pages of a site: what each one says, put into the templates.

One function per page type gathers its facts; wording and layout are the templates', numbers' form is
`formats`', and every fact comes from `reading` or `selection`.
"""

import base64
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import numpy as np
from markupsafe import Markup

from distracted_pipeline.masks.overlays import PALETTE
from distracted_pipeline.reports import facts, figures, formats
from distracted_pipeline.reports.reading import Cam, ClassScore, Findings, Image
from distracted_pipeline.reports.site import Pair, Site, class_url, image_url, variant_url
from distracted_pipeline.variants.config import TRAINS
from distracted_pipeline.vocabulary import CLASS_IDS, KAGGLE_LABELLED, MASK_CATEGORIES

TEMPLATES = Path(__file__).parent / "templates"

STRIPS_PER_CLASS = 2
"""Correct, and as many confused, Grad-CAM rows per class on a variant's page; image pages have all."""

PROBLEMS_SHOWN = 50


class Page(NamedTuple):
    """Where a page goes and what its template gets."""

    place: str
    template: str
    said: dict[str, Any]


def write_pages(site: Site) -> int:
    """Write every page of a site; return how many."""
    environment = _environment(site)
    count = 0
    for page in _pages(site):
        depth = page.place.count("/")
        path = site.folder / page.place
        path.parent.mkdir(parents=True, exist_ok=True)
        html = environment.get_template(page.template).render(root="../" * depth, here=page.place, **page.said)
        path.write_text(html, encoding="utf-8")
        count += 1
    return count


def _environment(site: Site) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in (
        *("proportion", "difference", "p_value", "count", "decimal", "class_id", "class_name", "class_label"),
        *("mark", "listing", "seconds", "tint"),
    ):
        environment.filters[name] = getattr(formats, name)
    style = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    findings, scope = site.findings, site.findings.main
    environment.globals.update(
        f=findings,
        scope=scope,
        style=Markup(style),
        script=None,
        csp=_policy(style),
        report_id=site.report_id,
        written=site.written,
        pictures=site.pictures,
        interval=formats.interval,
        difference_interval=formats.difference_interval,
        variant_url=variant_url,
        class_url=class_url,
        image_url=image_url,
        called=site.called,
        votes=site.votes,
        mean_true=site.mean_true,
        chosen=lambda names: [site.shown[img] for img in names if img in site.shown],
        dots=_dots,
        scale=figures.scale(),
        mask_colours=[(name, figures.swatch(PALETTE[i])) for i, name in enumerate(MASK_CATEGORIES, start=1)],
        masks_from=facts.masks_from(findings),
        drivers=len({image.subject for image in findings.images.values()}),
        data_shown=_shown(findings.settings.data),
        comparable=facts.why_not_comparable(findings),
    )
    return environment


def _policy(style: str, script: str | None = None) -> str:
    """Return a policy under which a page can load its own pictures and nothing else from anywhere."""
    scripts = f"'{_digest(script)}'" if script is not None else "'none'"
    # `file:` because pages opened from disk have no origin that 'self' could match.
    return (
        f"default-src 'none'; img-src 'self' file: data:; style-src '{_digest(style)}'; script-src {scripts}; "
        "base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _pages(site: Site) -> Iterator[Page]:
    heat = _heatmap(site.findings)
    yield _index(site, heat)
    yield _compare(site, heat)
    yield _data(site)
    yield _images(site)
    for variant in site.findings.variants:
        yield _variant(site, variant)
    for k in range(len(CLASS_IDS)):
        yield _class(site, k)
    yield from _image_pages(site)


def _index(site: Site, heat: Markup | None) -> Page:
    f, scope = site.findings, site.findings.main
    headline = facts.headline(f)
    said = {
        "title": "Report",
        "headline": headline,
        "others": len(scope.variants) > 2,
        "missing": site.missing,
        "heatmap": heat,
        "leaderboard": sorted(scope.variants.values(), key=lambda v: -(v.macro_recall or 0)),
        "example": site.example(),
        "kaggle": KAGGLE_LABELLED,
        "backbone": facts.model_shown(f.settings.backbone),
        "seed_rows": facts.seed_rows(f),
        "quoted": () if f.settings.synthetic else facts.SEED_QUOTED,
    }
    return Page("index.html", "index.html.jinja", said)


def _compare(site: Site, heat: Markup | None) -> Page:
    f = site.findings
    said = {
        "title": "Compare",
        "heatmap": heat,
        "class_rows": [facts.class_rows(f, k) for k in range(len(CLASS_IDS))],
        "flips": site.selection.flips,
    }
    return Page("compare.html", "compare.html.jinja", said)


def _data(site: Site) -> Page:
    images = list(site.findings.images.values())
    counts: dict[str, list[int]] = {}
    parts = {image.subject: image.split for image in images}
    for image in images:
        counts.setdefault(image.subject, [0] * len(CLASS_IDS))[image.true] += 1
    said = {
        "title": "Data and masks",
        "by_driver": [(name, parts[name], row) for name, row in sorted(counts.items())],
        "by_class": np.sum(list(counts.values()), axis=0).tolist(),
        "problems": site.problems[:PROBLEMS_SHOWN],
        "problems_total": len(site.problems),
        "samples": [
            site.shown[names[0]] for names in site.selection.masks if names and names[0] in site.pictures.masks
        ],
    }
    return Page("data.html", "data.html.jinja", said)


def _images(site: Site) -> Page:
    script = (TEMPLATES / "filter.js").read_text(encoding="utf-8")
    style = (TEMPLATES / "style.css").read_text(encoding="utf-8")
    said = {
        "title": "Images",
        "images": site.selection.images,
        "left_out": site.selection.left_out,
        "script": Markup(script),
        "csp": _policy(style, script),
    }
    return Page("images.html", "images.html.jinja", said)


def _variant(site: Site, variant: str) -> Page:
    f, scope = site.findings, site.findings.main
    config = f.catalogue.get(variant)
    reference = [score.recall for score in scope.classes.get(f.baseline, [])] or [None] * len(CLASS_IDS)
    pairs = site.cam_pairs(variant)
    cams = {kind: _few_per_class([p for p in pairs if p.kind == kind]) for kind in ("correct", "confused")}
    said = {
        "title": f.title(variant),
        "variant": variant,
        "config": config,
        "trains": TRAINS[config.kind] if config else "",
        "score": scope.variants.get(variant),
        "rows": list(zip(scope.classes.get(variant, []), reference, strict=False)),
        "confusion": figures.confusion(
            scope.confusion[variant].sum(0), title=f"Confusion matrix of {f.title(variant)}, {scope.words}"
        )
        if variant in scope.confusion
        else None,
        "cams": cams if pairs else None,
        "more_cams": len(pairs) - sum(len(shown) for shown in cams.values()),
        "lifts": [(name, *(facts.mean_lift(f, variant, name, kind) for kind in cams)) for name in MASK_CATEGORIES],
        "runs": {
            fold: {key: run.get(key) for key in ("history", "best_epoch", "seconds", "mlflow_run_id")}
            for fold, run in f.runs[variant].items()
        },
    }
    return Page(variant_url(variant), "variant.html.jinja", said)


def _class(site: Site, k: int) -> Page:
    f, scope = site.findings, site.findings.main
    rows = facts.class_rows(f, k)
    by_verdict = {
        word: [f.title(score.variant) for score, _ in rows if score.verdict == word]
        for word in ("improved", "worsened")
    }
    images = [image for image in f.images.values() if image.true == k]
    said = {
        "title": formats.class_label(k),
        "k": k,
        "n": len(images),
        "class_drivers": len({image.subject for image in images}),
        "rows": rows,
        **by_verdict,
        "confusions": [(name, *facts.confused(scope.confusion[name].sum(0), k)) for name in scope.confusion],
        "strips": [row for name in scope.confusion if (row := _strip(f, name, k)) is not None],
        "hardest": [site.shown[img] for img in site.selection.hardest[k] if img in site.shown],
        "samples": [site.shown[img] for img in site.selection.masks[k] if img in site.pictures.masks],
    }
    return Page(class_url(k), "class.html.jinja", said)


def _image_pages(site: Site) -> Iterator[Page]:
    cams: dict[str, list[tuple[str, Cam]]] = {}
    for variant in site.findings.variants:
        for pair in site.cam_pairs(variant):
            cams.setdefault(pair.image.img, []).extend((variant, cam) for cam in pair.rows.values())
    by_driver: dict[str, list[Image]] = {}
    for image in site.selection.images:
        by_driver.setdefault(image.subject, []).append(image)
    for image in site.selection.images:
        own = by_driver[image.subject]
        at, place = own.index(image), site.place[image.img]
        values = site.findings.predictions.probabilities[:, place].tolist()
        said = {
            "title": image.img,
            "image": image,
            "before": own[at - 1] if at else None,
            "after": own[at + 1] if at + 1 < len(own) else None,
            "probabilities": list(zip(site.findings.variants, values, site.predicted[:, place].tolist(), strict=True)),
            "cams": cams.get(image.img, []),
        }
        yield Page(image_url(image.img), "image.html.jinja", said)


def _heatmap(f: Findings) -> Markup | None:
    names, scope = facts.compared(f), f.main
    if not names:
        return None
    cells = [[_heat_cell(f, scope.classes[name][k]) for name in names] for k in range(len(CLASS_IDS))]
    macro = [
        figures.HeatCell(scope.variants[name].macro_delta, "", f"{f.title(name)}: difference of macro recall")
        for name in names
    ]
    return figures.heatmap(
        [*((formats.class_label(k), class_url(k)) for k in range(len(CLASS_IDS))), ("mean of the classes", None)],
        [(f.title(name), variant_url(name)) for name in names],
        [*cells, macro],
        title=f"Difference of recall against {f.title(f.baseline)}, by class and variant",
    )


def _heat_cell(f: Findings, score: ClassScore) -> figures.HeatCell:
    words = (
        f"{f.title(score.variant)}, {formats.class_label(score.class_id)}: {formats.difference(score.delta_recall)} "
        f"{formats.difference_interval(score.delta_low, score.delta_high)}, p (Holm) {formats.p_value(score.p_holm)}, "
        f"{score.verdict}"
    )
    return figures.HeatCell(score.delta_recall, score.verdict, words)


def _dots(score: ClassScore, reference: float | None) -> Markup:
    title = f"recall {formats.proportion(score.recall)} {formats.interval(score.recall_low, score.recall_high)}"
    if reference is not None:
        title += f", baseline {formats.proportion(reference)}"
    ends = (score.recall_low, score.recall_high)
    return figures.track(score.recall, *ends, reference=reference, verdict=score.verdict, title=title)


def _strip(f: Findings, variant: str, k: int) -> dict[str, Any] | None:
    values = facts.recall_by_driver(f, variant, k)
    if not values:
        return None
    return {
        "variant": variant,
        "figure": figures.strip(values, title=f"Recall of {formats.class_label(k)} by driver, {f.title(variant)}"),
        "lowest": min(values, key=lambda pair: pair[1]),
        "below": sum(value < 0.5 for _, value in values),
        "drivers": len(values),
    }


def _few_per_class(pairs: Sequence[Pair]) -> list[Pair]:
    kept: list[Pair] = []
    for pair in pairs:
        if sum(other.true == pair.true for other in kept) < STRIPS_PER_CLASS:
            kept.append(pair)
    return kept


def _shown(path: Path) -> str:
    """Return a folder relative to the working directory where it lies in it."""
    return path.relative_to(Path.cwd()).as_posix() if path.is_relative_to(Path.cwd()) else str(path)
