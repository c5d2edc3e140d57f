"""What it costs that the training sets of folds overlap, which the variance of a difference leaves out.

    python -m distracted_pipeline_tests.benchmarks.bench_training_sets

Many studies, each with drivers of its own: small networks are really trained, five folds, several seeds of each, two
recipes. The variance of the difference between independent studies is compared with the variance that each study
states by itself, and so are false positives and coverage. Frames of a driver lie around a centre of that driver and
class, so that drivers are the unit here as well. See docs/statistics.md, "Training sets overlap".
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import time
from dataclasses import dataclass

import click
import numpy as np
import torch

from distracted_pipeline.evaluation import inference as inf
from distracted_pipeline.evaluation import statistics as st
from distracted_pipeline.testability import ALPHA

CLASSES, FOLDS, FRAMES, COMMON = 5, 5, 6, 4
HIDDEN, BATCH, EPOCHS, RATE = 16, 120, 8, 0.03


@dataclass(frozen=True)
class Setting:
    """A population that studies are drawn from.

    Attributes:
        drivers: Of each study.
        own: Features that only one of two recipes sees, beside `COMMON` that both see; all are alike.
        driver: Standard deviation between drivers, that of class centres being 1.
        film: Between a driver's films of a class.
        frame: Between the frames of a film.
    """

    drivers: int
    own: int
    driver: float
    film: float
    frame: float


SETTINGS = (
    Setting(drivers=25, own=4, driver=0.7, film=0.7, frame=0.5),
    Setting(drivers=25, own=16, driver=1.5, film=1.5, frame=0.5),
    Setting(drivers=15, own=16, driver=1.5, film=1.5, frame=0.5),
    Setting(drivers=15, own=16, driver=2.5, film=0.3, frame=0.3),
)


def draw(studies: int, setting: Setting, generator: torch.Generator) -> torch.Tensor:
    """Return features of drivers nobody has seen, [study, driver, class, frame, feature]."""
    centres = torch.randn(CLASSES, COMMON + setting.own, generator=torch.Generator().manual_seed(1))
    centres = torch.cat([centres, centres[:, COMMON:]], 1)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, centres.shape[1], generator=generator)

    driver, film = normal(studies, setting.drivers, 1, 1), normal(studies, setting.drivers, CLASSES, 1)
    frame = normal(studies, setting.drivers, CLASSES, FRAMES)
    return centres[:, None] + setting.driver * driver + setting.film * film + setting.frame * frame


def train(x: torch.Tensor, y: torch.Tensor, generator: torch.Generator) -> list[torch.Tensor]:
    """Train one small network for each leading index, from its own start and in its own order.

    Args:
        x: [model, image, feature].
        y: [image].
        generator: Of the luck of trainings.

    Returns:
        Weights and biases of the two layers, each with the models in front.
    """
    models, images, features = x.shape

    def start(*shape: int) -> torch.Tensor:
        return (torch.randn(models, *shape, generator=generator) * shape[0] ** -0.5).requires_grad_()

    weights = [start(features, HIDDEN), start(1, HIDDEN), start(HIDDEN, CLASSES), torch.zeros(models, 1, CLASSES)]
    weights[3].requires_grad_()
    optimizer = torch.optim.Adam(weights, lr=RATE)
    for _ in range(EPOCHS):
        order = torch.rand(models, images, generator=generator).argsort(1)
        for rows in order.split(BATCH, 1):
            batch = x.gather(1, rows[..., None].expand(-1, -1, features))
            logits = forward(weights, batch)
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), y[rows].flatten(), reduction="sum") / BATCH
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return [w.detach() for w in weights]


def forward(weights: list[torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """Return logits, [model, image, class]."""
    first, bias, second, last = weights
    return torch.relu(x @ first + bias) @ second + last


def seen(x: torch.Tensor, recipe: str) -> torch.Tensor:
    """Return the features that a recipe sees: `one` and `other` are alike, `less` sees half as many of its own."""
    own = (x.shape[-1] - COMMON) // 2
    if recipe == "other":
        return torch.cat([x[..., :COMMON], x[..., COMMON + own :]], -1)
    return x[..., : COMMON + (own // 2 if recipe == "less" else own)]


def study(x: torch.Tensor, recipe: str, replicates: int, generator: torch.Generator) -> np.ndarray:
    """Return right images of a cross-validation, [replicate, study, class, driver]."""
    studies, drivers = x.shape[:2]
    x, fold = seen(x, recipe), torch.arange(drivers) % FOLDS
    hits = np.zeros((replicates, studies, CLASSES, drivers))
    label = torch.arange(CLASSES)[None, :, None].expand(drivers, CLASSES, FRAMES)
    for held in range(FOLDS):
        kept = fold != held
        images = x[:, kept].flatten(1, 3).repeat(replicates, 1, 1)
        weights = train(images, label[kept].flatten(), generator)
        tested = x[:, ~kept].flatten(1, 3).repeat(replicates, 1, 1)
        right = forward(weights, tested).argmax(-1) == label[~kept].flatten()
        right = right.view(replicates, studies, -1, CLASSES, FRAMES).sum(-1)
        hits[..., (~kept).numpy()] = right.transpose(-1, -2).numpy()
    return hits


def compare(hits: dict[str, np.ndarray], one: str, other: str) -> list[str]:
    """Return what studies say of two recipes, and how true that is, of a class and of the mean over classes."""
    n = np.full(hits[one].shape[1:], FRAMES)
    drivers = n.shape[-1]
    a, b = inf.Rates(hits[one], n), inf.Rates(hits[other], n)
    folds = np.arange(drivers) % FOLDS
    signs = st.swap_signs([f"p{d:03d}" for d in range(drivers)], 1999)
    swapped, mean = st.swap_test(a.hits.mean(0), n, b.hits.mean(0), n, signs)
    macro = inf.macro_contrast(a, b, folds)
    return [line("a class", inf.contrast(a, b, folds), swapped, 1), line("mean", macro, mean, inf.TRAINING_SETS)]


def line(label: str, found: inf.Contrast, swapped: np.ndarray, factor: float) -> str:
    """Return true and stated variance, false positives and coverage; the first axis of `found` is the study."""
    truth = found.delta.mean(0)
    squares = (found.delta - truth) ** 2
    true = squares.mean() * len(squares) / (len(squares) - 1)
    plain = (found.driver / factor + np.maximum(0, found.training - found.double)).mean() / true
    stated = found.variance.mean() / true
    by_study = squares.reshape(len(squares), -1).mean(1)
    error = 2 * stated * by_study.std() / by_study.mean() / np.sqrt(len(squares))
    covered = ((found.low <= truth) & (found.high >= truth)).mean()
    both = (inf.p_value(found, swapped) <= ALPHA).mean()
    return (
        f"{label:8s} {truth.mean():+.3f}  {true**0.5:.4f}  {plain:5.2f}  {stated:5.2f} (+-{error:.2f})"
        f"  {(swapped <= ALPHA).mean():.3f}  {both:.3f}  {covered:.3f}"
    )


@click.command()
@click.option("--studies", default=300, show_default=True, help="Independent studies of each setting.")
@click.option("--replicates", default=3, show_default=True, help="Trainings of each fold.")
@click.option("--chunk", default=50, show_default=True, help="Studies trained at once.")
def main(studies: int, replicates: int, chunk: int) -> None:
    """Print stated and true variance, false positives and coverage."""
    torch.set_num_threads(1)
    runs = {"one": "one", "again": "one", "other": "other", "less": "less"}
    pairs = (("other features, as good", "other"), ("the same recipe twice", "again"), ("fewer features", "less"))
    click.echo(f"{studies} studies of each setting, {FOLDS} folds, {replicates} trainings of each")
    click.echo("ratio: stated variance / variance between studies, without and with the factor of the mean;")
    click.echo("swap, both: share with p <= .05; cover: of the mean difference, by the 95% interval")
    for setting in SETTINGS:
        generator, began, parts = torch.Generator().manual_seed(0), time.monotonic(), []
        for _ in range(0, studies, chunk):
            x = draw(chunk, setting, generator)
            parts.append({name: study(x, recipe, replicates, generator) for name, recipe in runs.items()})
        hits = {name: np.concatenate([part[name] for part in parts], 1) for name in parts[0]}
        recall = hits["one"].mean() / FRAMES
        click.echo(f"\n{setting}: recall {recall:.2f}, {time.monotonic() - began:.0f} s")
        click.echo(f"{'':26s}{'':8s}  delta true sd  ratio  ratio          swap   both   cover")
        for label, other in pairs:
            for text in compare(hits, "one", other):
                click.echo(f"{label:26s}{text}")


if __name__ == "__main__":
    main()
