"""Do the demo's masks and report say what was drawn? Checks the finding against what is planted.

Belongs here: what must come out, and the comparison. What is planted is `demo.poses`, the statistics are
`evaluation`'s, how masks are measured `demo.mask_quality`.

    python -m distracted_pipeline.demo.story --data data/demo
    python -m distracted_pipeline.demo.story --data data/demo --why     # after `distracted why`
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from distracted_pipeline.advice import WHY
from distracted_pipeline.dataset import STATE_FARM
from distracted_pipeline.demo.mask_quality import BARS, MEAN_BAR, cached_iou, mean_iou, reaches_bars
from distracted_pipeline.demo.poses import PLANTED
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.images.source import require_finished
from distracted_pipeline.settings import DEMO_DATA, Settings, load_settings

if TYPE_CHECKING:
    import pandas as pd

SCOPE = "oof"
EXPECTED: dict[str, tuple[str, ...]] = {"masks_fused": PLANTED, "placebo": ()}
"""Classes that a variant must improve, and no others; it may worsen none. Of other variants nothing is expected."""


HELD = ("cell phone", "bottle", "cup")
"""Mask categories that a hand can hold."""


@dataclass(frozen=True)
class Finding:
    """What the tables say about one variant.

    Attributes:
        holds: None where nothing is expected of the variant.
        text: In words.
    """

    holds: bool | None
    text: str

    def __str__(self) -> str:
        mark = {True: "as drawn", False: "NOT as drawn", None: "nothing drawn"}[self.holds]
        return f"{mark:14}{self.text}"


def findings(settings: Settings) -> list[Finding]:
    """Compare the class-wise verdicts of every variant with what is planted; those of `EXPECTED` come first.

    Raises:
        DistractedError: There are no tables yet.
    """
    from distracted_pipeline.evaluation.tables import read_class_accuracy

    classes = read_class_accuracy(settings).classes
    classes = classes[classes["scope"] == SCOPE]
    others = [name for name in classes["variant"].unique() if name not in (*EXPECTED, settings.baseline)]
    return [_finding(name, classes[classes["variant"] == name]) for name in (*EXPECTED, *others)]


def why_findings(settings: Settings) -> list[Finding]:
    """Compare what answers hang on with what is planted, variant by variant.

    A variant that reads masks must need the phone in c1 and c2, and nothing else that can be held in any planted class.
    One that sees only small pictures must not need it there: they do not show which of two things it is.

    Raises:
        DistractedError: `distracted why` has not been run, or something has changed since.
    """
    from distracted_pipeline.evaluation.tables_io import read_rows
    from distracted_pipeline.explanation.what_if.counterfactuals import ERASED, STAGE
    from distracted_pipeline.explanation.what_if.looks import EFFECTS_FILE, folder_of, known_effects, reads_masks
    from distracted_pipeline.explanation.what_if.tables import Effect
    from distracted_pipeline.reports.why.effects import decided

    current = [name for name, inputs in known_effects(settings, STAGE).items() if inputs]
    if not current:
        raise DistractedError(f"no evidence in {settings.evaluation} that is current. Type: {WHY}")
    rows = [row for name in current for row in read_rows(folder_of(settings, STAGE.asset, name) / EFFECTS_FILE, Effect)]
    sure = decided([row for row in rows if row.version == ERASED])
    found = []
    for name in current:
        needed = {
            (STATE_FARM.class_ids[row.class_id], row.about)
            for row in sure
            if row.variant == name and (row.delta or 0) < 0
        }
        planted = {(class_id, what) for class_id, what in needed if class_id in PLANTED and what in HELD}
        expected = {(class_id, "cell phone") for class_id in ("c1", "c2")} if reads_masks(settings, name) else set()
        said = ", ".join(f"{class_id} {what}" for class_id, what in sorted(needed)) or "nothing"
        found.append(Finding(planted == expected, f"{name}: hangs on {said}"))
    return found


def mask_finding(settings: Settings) -> Finding:
    """Compare the masks that the chain made with the label maps of the drawing.

    Raises:
        DistractedError: There are no masks yet.
    """
    iou = cached_iou(settings)
    each = ", ".join(f"{name} {value:.2f}" for name, value in iou.items())
    text = f"masks: mean intersection over union with the drawing {mean_iou(iou):.2f} ({each})"
    if reaches_bars(iou):
        return Finding(True, text)
    bars = ", ".join(f"{name} {bar}" for name, bar in BARS.items())
    return Finding(False, f"{text}; wanted are at least: mean {MEAN_BAR}, {bars}")


def _finding(name: str, rows: "pd.DataFrame") -> Finding:
    from distracted_pipeline.evaluation.comparison import IMPROVED, WORSENED

    if rows.empty:
        return Finding(False, f"{name}: no out-of-fold results")
    improved, worsened = (
        tuple(STATE_FARM.class_ids[number] for number in sorted(rows.loc[rows["verdict"] == verdict, "class_id"]))
        for verdict in (IMPROVED, WORSENED)
    )
    text = f"{name}: improves {_listed(improved)}, worsens {_listed(worsened)}"
    if name not in EXPECTED:
        return Finding(None, text)
    holds = improved == EXPECTED[name] and not worsened
    planted = rows[[STATE_FARM.class_ids[number] in EXPECTED[name] for number in rows["class_id"]]]
    if len(planted):
        text += f"; largest p of those drawn to differ {planted['p_holm'].max():.4f} (Holm)"
    return Finding(holds, text if holds else f"{text}; drawn is: improves {_listed(EXPECTED[name])}, worsens none")


def _listed(classes: Sequence[str]) -> str:
    return ", ".join(classes) or "none"


@click.command()
@click.option(
    "--data", type=click.Path(path_type=Path, file_okay=False), default=Path(DEMO_DATA), help="The demo's data root."
)
@click.option("--why", is_flag=True, help="Also say whether `distracted why` finds what answers were drawn to hang on.")
def main(data: Path, why: bool) -> None:
    """Say whether masks and report show what was drawn; exit with 1 where they do not."""
    settings = load_settings(data=data.resolve())
    try:
        require_finished(settings.data)
        found = [*findings(settings), mask_finding(settings), *(why_findings(settings) if why else [])]
    except DistractedError as error:
        raise click.ClickException(str(error)) from error
    for finding in found:
        click.echo(finding)
    if any(finding.holds is False for finding in found):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
