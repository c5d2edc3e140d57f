"""Does the demo's finding survive other seeds? Its trainings again, with luck of their own each time.

    distracted demo && make bench-demo-seeds        # one to two minutes a seed on one core

Frames, masks and taps stay as the demo made them; baseline, placebo, the control and the fused variant are trained anew
on every cross-validation fold, with all their replicates, and compared as the report compares them. Bars: the placebo
is decided in some class for at most one seed in twenty, and every planted class is found for at least nineteen.
"""

import tempfile
from dataclasses import replace
from pathlib import Path

import click
import yaml

from distracted_pipeline.dataset import STATE_FARM
from distracted_pipeline.demo.poses import PLANTED
from distracted_pipeline.demo.story import SCOPE
from distracted_pipeline.evaluation.comparison import IMPROVED, WORSENED
from distracted_pipeline.evaluation.predict import predict_fold
from distracted_pipeline.evaluation.tables import class_accuracy, rows_of
from distracted_pipeline.options import RunOptions
from distracted_pipeline.scopes import CROSS_FOLDS
from distracted_pipeline.settings import DEMO_DATA, Settings, load_settings
from distracted_pipeline.training import mlflow_outbox, tracking
from distracted_pipeline.training.train import train_variant

RETRAINED = ("top_only", "placebo", "embedding_only", "masks_fused")
SHARED = ("images.parquet", "subjects.txt", "masks", "features", "imgs", "backbones", "segmenters", "settings.env")
QUIET = RunOptions("cpu", log=lambda line: None)


def root_of(demo: Settings, folder: Path, seed: int) -> Settings:
    """Return a data root that shares all but trainings with the demo, its seeds apart from those of any other root."""
    assert demo.variants_file is not None
    for name in SHARED:
        (folder / name).symlink_to(demo.data / name)
    entries = yaml.safe_load(demo.variants_file.read_text(encoding="utf-8"))
    for name in RETRAINED:
        fields = entries.setdefault(name, {})
        fields["seed"] = 1000 * seed + fields.get("seed", 0)
    (folder / "variants.yaml").write_text(yaml.safe_dump(entries), encoding="utf-8")
    return replace(demo, data=folder, variants_file=folder / "variants.yaml")


def decided(settings: Settings) -> dict[str, dict[str, str]]:
    """Train and compare; return the decided classes of placebo and fused variant with their verdicts."""
    for variant in RETRAINED:
        for fold in CROSS_FOLDS:
            train_variant(settings, variant, fold, QUIET)
            predict_fold(settings, variant, fold, QUIET)
    classes = class_accuracy(settings, log=QUIET.log).classes
    return {
        variant: {
            STATE_FARM.class_ids[row["class_id"]]: row["verdict"]
            for row in rows_of(classes, SCOPE, variant)
            if row["verdict"] in (IMPROVED, WORSENED)
        }
        for variant in ("placebo", "masks_fused")
    }


@click.command()
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), default=Path(DEMO_DATA), show_default=True)
@click.option("--seeds", default=20, show_default=True, help="How many.")
@click.option(
    "--first", default=1, show_default=True, help="The first of them, so that several processes share the work."
)
def main(data: Path, seeds: int, first: int) -> None:
    """Print what each seed decides, and how often placebo and planted classes were decided."""
    # No runs in MLflow: these trainings are nobody's.
    tracking.reopen_or_start = lambda *args, **kwargs: tracking.OpenRun(None, "", {}, {}, 0)  # type: ignore[assignment]
    mlflow_outbox.finish_run = lambda *args, **kwargs: None  # type: ignore[assignment]
    mlflow_outbox.add_metrics = lambda *args, **kwargs: None  # type: ignore[assignment]
    demo = load_settings(data=data.resolve())
    placebo = others = 0
    found = dict.fromkeys(PLANTED, 0)
    for seed in range(first, first + seeds):
        with tempfile.TemporaryDirectory() as folder:
            said = decided(root_of(demo, Path(folder), seed))
        placebo += bool(said["placebo"])
        improved = {name for name, verdict in said["masks_fused"].items() if verdict == IMPROVED}
        others += bool(said["masks_fused"].keys() - set(PLANTED))
        for name in found:
            found[name] += name in improved
        text = {variant: ", ".join(f"{c} {v}" for c, v in decisions.items()) for variant, decisions in said.items()}
        click.echo(
            f"seed {seed}: placebo {text['placebo'] or 'nothing'}; masks_fused {text['masks_fused'] or 'nothing'}"
        )
    each = ", ".join(f"{name} {count}" for name, count in found.items())
    click.echo(
        f"of {seeds} seeds: the placebo decides something in {placebo} (bar {seeds // 20}); planted classes are found "
        f"in {each} (bar {seeds - seeds // 20}); masks_fused decides another class as well in {others}"
    )
    if placebo > seeds // 20 or min(found.values()) < seeds - seeds // 20:
        raise click.ClickException("over the bar")


if __name__ == "__main__":
    main()
