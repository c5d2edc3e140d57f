"""`distracted audit`: what somebody's own split gives away, and what a score on it is worth."""

import sys
from pathlib import Path

import click

from distracted_pipeline.commands.common import Number, data_option, indented, short, wrapped
from distracted_pipeline.settings import load_settings

LEAK: int = 3
"""Exit code where a leak was found; 1 and 2 are errors, as everywhere."""


@click.command()
@click.argument("split", type=click.Path(path_type=Path))
@click.option("--images", type=click.Path(path_type=Path), help="Where the csv's frames lie.  [default: beside it]")
@click.option(
    "--drivers", type=click.Path(path_type=Path), help="List of drivers by frame.  [default: the data root's, if any]"
)
@click.option("--accuracy", type=Number(0, 1), help="A published accuracy on the test side.")
@click.option("--threshold", type=click.IntRange(0, 256), help="Bits of 256 in which near-duplicates may differ.")
@click.option("--icc", type=Number(0, 1), help="How alike answers about one driver are.")
@click.option("--page", type=click.Path(path_type=Path), default=Path("audit.html"), show_default=True)
@data_option
def audit(
    split: Path,
    images: Path | None,
    drivers: Path | None,
    accuracy: float | None,
    threshold: int | None,
    icc: float | None,
    page: Path,
) -> None:
    """Say what a split into training and test frames leaks.

    Exits with 3 where it does. SPLIT is a csv with the columns img and split (and perhaps subject, classname, correct),
    or a folder with train/ and test/ and a folder for each class in them. No model and no data root are needed.
    """
    from distracted_pipeline.images import audit as room
    from distracted_pipeline.images.splits import TEST, TRAIN, look_at, read_drivers, read_split
    from distracted_pipeline.reports.audit_page import write_audit

    known = drivers or (listed if (listed := load_settings().csv).is_file() else None)
    frames = read_split(split, images, read_drivers(known) if known else None)
    found = room.audit(frames, look_at(frames, indented), accuracy=accuracy, threshold=threshold, icc=icc)
    write_audit(page, split, frames, found)
    sides = ", ".join(
        f"{found.frames[side]:,} {side} frames of {len(found.drivers[side]) or 'unknown'} drivers"
        for side in (TRAIN, TEST)
    )
    lines = [sides, *(f"leak: {line}" for line in found.leaks)]
    if found.unknown_drivers:
        lines.append(f"of {found.unknown_drivers:,} frames nobody says the driver: name a list with --drivers")
    if found.unreadable:
        lines.append(f"{len(found.unreadable)} frames cannot be used, first {found.unreadable[0]}")
    if found.worth is not None:
        w = found.worth
        lines.append(
            f"accuracy {w.accuracy:.3f}: 95% interval {w.low:.3f} to {w.high:.3f} for other drivers like these "
            f"({w.effective:.0f} effective frames, design effect {w.design_effect:.1f}), not {w.naive_low:.3f} to "
            f"{w.naive_high:.3f}"
        )
    elif accuracy is not None:
        lines.append("an interval takes the drivers of the test side, two at least: a subject column, or --drivers")
    click.echo(wrapped(lines))
    click.echo(f"pairs to look at: {short(page.resolve())}")
    if found.leaks:
        sys.exit(LEAK)
    click.echo("no leak found")
