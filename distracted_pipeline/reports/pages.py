"""Templates to pages: the environment that all of them share, and the list of what is written.

What a page says is gathered in `overviews` (of the whole) and `details` (of one variant, class or image); wording
and layout are the templates', numbers' form is `formats`'.
"""

import base64
import hashlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup

from distracted_pipeline.figures import dot_plots, formats, matrices
from distracted_pipeline.masks.overlays import PALETTE
from distracted_pipeline.reports import details, facts, overviews
from distracted_pipeline.reports.findings import ClassScore
from distracted_pipeline.reports.site import Site, class_url, dagster_run_url, image_url, variant_url
from distracted_pipeline.training.tracking import run_url
from distracted_pipeline.vocabulary import CLASS_IDS, MASK_CATEGORIES

TEMPLATES = Path(__file__).parent / "templates"

SUMMARY = "summary.html"
"""The page that stands alone: no link, no picture, no script."""

_SCRIPTS = {"images.html.jinja": "filter.js"}


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
        path = site.folder / page.place
        path.parent.mkdir(parents=True, exist_ok=True)
        script = _source(_SCRIPTS[page.template]) if page.template in _SCRIPTS else None
        html = environment.get_template(page.template).render(
            root="../" * page.place.count("/"),
            here=page.place,
            script=None if script is None else Markup(script),
            csp=_policy(_source("style.css"), script),
            **page.said,
        )
        path.write_text(html, encoding="utf-8")
        count += 1
    return count


def _pages(site: Site) -> Iterator[Page]:
    yield Page("index.html", "index.html.jinja", overviews.index(site))
    yield Page(SUMMARY, "summary.html.jinja", overviews.summary(site))
    yield Page("compare.html", "compare.html.jinja", overviews.compare(site))
    yield Page("data.html", "data.html.jinja", overviews.data(site))
    yield Page("images.html", "images.html.jinja", overviews.images(site))
    for name in site.findings.variants:
        yield Page(variant_url(name), "variant.html.jinja", details.variant(site, name))
    for k in range(len(CLASS_IDS)):
        yield Page(class_url(k), "class.html.jinja", details.of_class(site, k))
    for image in site.selection.images:
        yield Page(image_url(image.img), "image.html.jinja", details.image(site, image))


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
    findings = site.findings
    environment.globals.update(
        f=findings,
        scope=findings.main,
        style=Markup(_source("style.css")),
        report_id=site.report_id,
        written=site.written,
        pictures=site.pictures,
        interval=formats.interval,
        difference_interval=formats.difference_interval,
        variant_url=variant_url,
        class_url=class_url,
        image_url=image_url,
        dagster_run_url=dagster_run_url,
        mlflow_run_url=partial(run_url, findings.settings),
        called=site.called,
        tally=partial(facts.tally, findings),
        votes=site.votes,
        standing=site.standing,
        mean_true=site.mean_true,
        chosen=lambda names: [site.shown[img] for img in names if img in site.shown],
        dots=_dots,
        scale=dot_plots.scale(dot_plots.PROPORTION),
        mask_colours=[(name, matrices.swatch(PALETTE[i])) for i, name in enumerate(MASK_CATEGORIES, start=1)],
        masks_from=facts.masks_from(findings),
        drivers=len({image.subject for image in findings.images.values()}),
        data_shown=_shown(findings.settings.data),
        comparable=facts.why_not_comparable(findings),
    )
    return environment


def _policy(style: str, script: str | None) -> str:
    """Return a policy under which a page can load its own pictures and nothing else from anywhere."""
    scripts = f"'{_digest(script)}'" if script is not None else "'none'"
    # `file:` because pages opened from disk have no origin that 'self' could match.
    return (
        f"default-src 'none'; img-src 'self' file: data:; style-src '{_digest(style)}'; script-src {scripts}; "
        "base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _source(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


def _dots(score: ClassScore, reference: float | None) -> Markup:
    title = f"recall {formats.proportion(score.recall)} {formats.interval(score.recall_low, score.recall_high)}"
    if reference is not None:
        title += f", baseline {formats.proportion(reference)}"
    ends = (score.recall_low, score.recall_high)
    return dot_plots.track(score.recall, *ends, reference=reference, verdict=score.verdict, title=title)


def _shown(path: Path) -> str:
    """Return a folder relative to the working directory where it lies in it."""
    return path.relative_to(Path.cwd()).as_posix() if path.is_relative_to(Path.cwd()) else str(path)
