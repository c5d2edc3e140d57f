"""The sample report in `docs/`: a small edition of the demo's, for readers who have not run anything yet.

Belongs here: what is left out of it. The pages are those of `pages`, as in any report.

    python -m distracted_pipeline.reports.sample --data data/demo --out docs/sample-report
"""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import click

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.figures import formats
from distracted_pipeline.progress import Log
from distracted_pipeline.reports.build import within_budget, write_site
from distracted_pipeline.reports.folders import publish_site, temporary_site
from distracted_pipeline.reports.read_report_data import read_report_data
from distracted_pipeline.reports.site import image_url
from distracted_pipeline.settings import DEMO_DATA, Settings, load_settings

BUDGET = 3_000_000
"""Bytes of the whole sample: it lives in the repository."""

VARIANTS = ("top_only", "embedding_only", "adapter_serial", "masks_fused", "placebo")
"""One of each idea."""

IMAGES = 10
WIDTH = 200

FLIPS_OF = "masks_fused"
"""The variant whose gain is shown in the README, one image with the Grad-CAMs of both sides."""


class Sample(NamedTuple):
    """A sample report: its bytes, and where it shows one image that `FLIPS_OF` gained; empty where there is none."""

    size: int
    flip: str


def write_sample(settings: Settings, folder: Path, log: Log = print) -> Sample:
    """Replace `folder` by a sample of the report on the demo in `settings.data`.

    Raises:
        DistractedError: The data root is not the demo's, or not below the working directory; nothing is evaluated
            there; or the sample is too large.
    """
    if not settings.synthetic:
        raise DistractedError(f"{settings.data} is not the demo's data root, and photographs stay out of documents.")
    if not settings.data.is_relative_to(Path.cwd()):  # pages show the data root as one would type it from here
        raise DistractedError(f"{settings.data} would be in the sample by its full path: cd to a folder above it.")
    report = read_report_data(settings).only(VARIANTS)
    # A reader of the sample runs neither Dagster nor MLflow: no links to them.
    nowhere = {"mlflow_run_id": "", "dagster_run_id": ""}
    runs = {
        name: {fold: [run | nowhere for run in each] for fold, each in folds.items()}
        for name, folds in report.runs.items()
    }
    with temporary_site(folder.parent, folder.name) as part:
        site, pages = write_site(replace(report, runs=runs), part, "sample", most=IMAGES, width=WIDTH, log=log)
        size = within_budget(part)
        if size > BUDGET:
            raise DistractedError(f"the sample has {formats.size(size)}, the limit is {formats.size(BUDGET)}.")
        publish_site(part, folder)
    log(f"{folder / 'index.html'}: {len(pages)} pages, {formats.size(size)}")
    flips = site.selection.flips.get(FLIPS_OF)
    gained = [img for img in (flips.shown_gained if flips else []) if img in site.shown]
    return Sample(size, image_url(gained[0], variant=FLIPS_OF, flip="gained") if gained else "")


@click.command()
@click.option(
    "--data", type=click.Path(path_type=Path, file_okay=False), default=Path(DEMO_DATA), help="The demo's data root."
)
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), default=Path("docs/sample-report"), help="Replaced."
)
def main(data: Path, out: Path) -> None:
    """Write a small edition of the demo's report; print where it shows an image that masks gained."""
    try:
        found = write_sample(load_settings(data=data.resolve()), out, partial(click.echo, err=True))
    except DistractedError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{out.resolve().as_uri()}/{found.flip}")


if __name__ == "__main__":
    main()
