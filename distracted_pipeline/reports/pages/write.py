"""Templates to pages: the list of what is written, and the environment that all templates share.

What a page says is in the page's own file, wording and layout are the template's, numbers' form is `formats`'.
"""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import jinja2
from markupsafe import Markup

from distracted_pipeline.addresses import dagster_run_url
from distracted_pipeline.advice import RUN, WHY, materialize
from distracted_pipeline.evaluation import comparison
from distracted_pipeline.evaluation.statistics import DRAWS
from distracted_pipeline.evaluation.table_schemas import ClassScore
from distracted_pipeline.figures import dot_plots, formats, matrices
from distracted_pipeline.figures.svg import STYLE
from distracted_pipeline.files import create_folder
from distracted_pipeline.reports.changes import change_axis, change_figure
from distracted_pipeline.reports.data_card import masks_from
from distracted_pipeline.reports.glossary import explain_words
from distracted_pipeline.reports.noise import placebo, trained_once, training_luck, trainings_said
from distracted_pipeline.reports.page_parts import bare_environment, policy, source
from distracted_pipeline.reports.pages import (
    class_page,
    compare,
    data,
    images,
    index,
    noise,
    pairs,
    summary,
    variant,
    why,
)
from distracted_pipeline.reports.report_data import ReportData
from distracted_pipeline.reports.site import Site, flips_url, image_url, images_url, noise_url, variant_url
from distracted_pipeline.reports.verdict import kind, lacking, mark, reference_words, tally, why_not_comparable
from distracted_pipeline.scopes import ORIGINAL_FOLD, SCOPES
from distracted_pipeline.testability import ALPHA, needed_drivers
from distracted_pipeline.training.tracking import run_url

SUMMARY: Final = "summary.html"
"""The page that stands alone: no link, no picture, no script."""

_SHARED: Final = "shared.js"

_PICTURES: Final = "'self' file: data:"
"""`file:` because pages opened from disk have no origin that 'self' could match."""

_SCRIPTS: Final = {
    "images.html.jinja": ("images_data.js", "images_list.js", "images_view.js"),
    "pairs.html.jinja": ("pairs.js",),
}
"""What runs on a page beside what all share, one after another; nothing else may."""


class Page(NamedTuple):
    """Where a page goes and what its template gets."""

    place: str
    template: str
    said: dict[str, Any]


def list_pages(site: Site) -> Iterator[Page]:
    """Yield every page of a site."""
    yield Page("index.html", "index.html.jinja", index.page(site))
    yield Page(SUMMARY, "summary.html.jinja", summary.page(site))
    yield Page("compare.html", "compare.html.jinja", compare.page(site))
    yield Page("pairs.html", "pairs.html.jinja", pairs.page(site))
    yield Page("why.html", "why.html.jinja", why.page(site))
    yield Page("noise.html", "noise.html.jinja", noise.page(site))
    yield Page("data.html", "data.html.jinja", data.page(site))
    yield Page("images.html", "images.html.jinja", images.page(site))
    for name in site.report.variants:
        yield Page(variant_url(name), "variant.html.jinja", variant.page(site, name))
    for k in site.report.classes:
        yield Page(site.class_url(k), "class.html.jinja", class_page.page(site, k))


def write_pages(site: Site) -> list[str]:
    """Write every page of a site; return where they are, relative to its root."""
    style = _style(site)
    environment = _environment(site, style)
    titles = {site.report.title(name) for name in site.report.variants}
    places = []
    for page in list_pages(site):
        path = site.folder / page.place
        create_folder(path.parent)
        script = _script(page)
        html = environment.get_template(page.template).render(
            root="../" * page.place.count("/"),
            here=page.place,
            script=None if script is None else Markup(script),
            csp=policy(style, script, _PICTURES),
            **page.said,
        )
        if page.place != SUMMARY:
            # Where objects are erased, a control is a region, not a variant.
            but = ("control",) if page.said.get("evidence") or page.place == "why.html" else ()
            html = explain_words(html, but, titles)
        path.write_text(html, encoding="utf-8")
        places.append(page.place)
    return places


def _script(page: Page) -> str | None:
    """Return what runs on a page: its downloads, and what makes the page itself."""
    if page.place == SUMMARY:
        return None
    style = f"const FIGURE_STYLE = {json.dumps(STYLE)};\n"
    return style + "".join(map(_code, (_SHARED, *_SCRIPTS.get(page.template, ()))))


def _environment(site: Site, style: str) -> jinja2.Environment:
    report = site.report
    changes = change_axis(report)
    environment = bare_environment()
    for name in ("proportion", "difference", "p_value", "count", "decimal", "listing", "percent", "seconds", "tint"):
        environment.filters[name] = getattr(formats, name)
    environment.tests["is_placebo"] = lambda name: placebo(report, name)
    environment.filters.update(
        mark=mark,
        kind=kind,
        scope_words=lambda name: SCOPES[name].words,
        title_of=report.title,
        class_id=site.class_id,
        class_name=lambda k: report.dataset.class_names[k],
        class_label=report.dataset.class_label,
    )
    environment.globals.update(
        report=report,
        scope=report.main,
        style=Markup(style),
        report_id=site.report_id,
        written=site.written,
        pictures=site.pictures,
        interval=formats.interval,
        difference_interval=formats.difference_interval,
        variant_url=variant_url,
        variant_slug=formats.slug,
        noise_url=noise_url,
        trainings_said=trainings_said(report),
        trained_once=trained_once(report),
        class_url=site.class_url,
        image_url=image_url,
        images_url=images_url,
        flips_url=partial(flips_url, report),
        dagster_run_url=partial(dagster_run_url, report.settings.data),
        mlflow_run_url=partial(run_url, report.settings),
        called=site.called,
        tally=partial(tally, report),
        lacking=lacking,
        placebo=partial(placebo, report),
        votes=site.votes,
        mean_true=site.mean_true,
        chosen=lambda names: [site.shown[img] for img in names if img in site.shown],
        dots=partial(_dots, report),
        scale=dot_plots.scale(dot_plots.PROPORTION),
        change=partial(change_figure, report, axis=changes),
        change_scale=dot_plots.scale(changes),
        mask_colours=[(found.name, matrices.swatch(found.colour)) for found in report.dataset.categories],
        masks_from=masks_from(report),
        drivers=len({shown.subject for shown in report.images.values()}),
        data_shown=_shown(report.settings.data),
        comparable=why_not_comparable(report),
        reference_words=reference_words(report),
        branches=_branches(report),
        materialize=materialize,
        run_command=RUN,
        why_command=WHY,
        alpha=ALPHA,
        needed_drivers=needed_drivers,
        draws=DRAWS,
        original_fold=ORIGINAL_FOLD,
        IMPROVED=comparison.IMPROVED,
        WORSENED=comparison.WORSENED,
        UNDETERMINED=comparison.UNDETERMINED,
        NOT_TESTABLE=comparison.NOT_TESTABLE,
    )
    return environment


def _style(site: Site) -> str:
    """Return the style sheet; row labels of figures get room for the longest class id where nothing else fits."""
    longest = max(len(name) for name in site.report.dataset.class_ids)
    return f"{source('style.css')}:root{{--label:{22 + 8 * longest}px}}\n"


def _code(name: str) -> str:
    """Return a script without indents and lines that are comments: every page carries it."""
    lines = (line.strip() for line in source(name).splitlines())
    return "".join(f"{line}\n" for line in lines if line and not line.startswith("//"))


def _dots(report: ReportData, score: ClassScore, reference: float | None) -> Markup:
    title = f"recall {formats.proportion(score.recall)} {formats.interval(score.recall_low, score.recall_high)}"
    if reference is not None:
        title += f", compared with {formats.proportion(reference)}"
    ends = (score.recall_low, score.recall_high)
    luck = training_luck(report, report.reference(score.variant) or score.variant, score.class_id)
    # A recall is no difference: what is decided of that is `changes`' to draw.
    return dot_plots.track(score.recall, *ends, reference=reference, kind="even", title=title, luck=luck)


def _branches(report: ReportData) -> dict[str, str]:
    """Return of each variant with two branches how much of what decides is from which, in words."""
    return {
        name: f"{formats.percent(cams.image_share)} of what decides is from the image, "
        f"{formats.percent(cams.mask_share)} from the masks"
        for name, cams in report.cams.items()
        if cams.mask_maps is not None
    }


def _shown(path: Path) -> str:
    """Return a folder relative to the working directory where it lies in it."""
    return path.relative_to(Path.cwd()).as_posix() if path.is_relative_to(Path.cwd()) else str(path)
