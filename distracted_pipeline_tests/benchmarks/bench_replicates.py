"""What the replicates of a small head cost, trained side by side, against one of them alone.

    make bench-replicates

CPU time, medians of rounds in which every side has its turn, on drawn inputs of the real sizes: EfficientNet-B3's
pooled embedding (1,536 numbers) and fraction maps of seven by 60 by 80. `one` is one replicate trained by the same
loop; `as it was` is that training with the mask network as it computed before there were replicates.

Replicates differ in weights and in the order of their batches, so none of their convolutions is another's. `floor` is
what three would cost if everything else, optimiser, pooling and reading rows included, was shared.
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import click
import torch
from torch import Tensor, nn
from torch.nn import functional

from distracted_pipeline.options import RunOptions
from distracted_pipeline.settings import Settings
from distracted_pipeline.training.inputs import Rows
from distracted_pipeline.training.loop import fit
from distracted_pipeline.variants.config import VariantConfig, load_catalogue
from distracted_pipeline.variants.networks import MaskHead, VariantNet

BAR, SOLVED_BAR = 1.6, 3.0
HEADS = ("embedding_only", "masks_only", "masks_fused")
WIDTH, MASKS, CLASSES = 1536, 7, 10
QUIET = RunOptions("cpu", log=lambda line: None)


class Pooled(nn.Module):
    """Stands for a backbone whose pooled embedding is cached: nothing of it is computed."""

    width = WIDTH


class FormerMaskHead(MaskHead):
    """The mask network as it computed before: rectified before pooling, objects copied to find their presence."""

    def maps(self, fractions: Tensor) -> Tensor:
        x = functional.max_pool2d(torch.relu(self.conv1(fractions)), 2)
        x = functional.max_pool2d(torch.relu(self.conv2(x)), 2)
        return torch.relu(self.conv3(x))

    def describe(self, maps: Tensor, fractions: Tensor) -> Tensor:
        objects = fractions[:, 1:].flatten(2)
        local = functional.adaptive_max_pool2d(maps, self.GRID).flatten(1)
        return torch.cat([local, objects.amax(2), objects.mean(2).sqrt()], 1)


def network(config: VariantConfig, seed: int, head: type[MaskHead] = MaskHead) -> VariantNet:
    """Return a fresh head of a variant, without a backbone."""
    torch.manual_seed(seed)
    mask_head = head(MASKS) if "fractions" in config.inputs else None
    return VariantNet(config, Pooled() if config.taps else None, mask_head, CLASSES)  # type: ignore[arg-type]


def drawn_rows(config: VariantConfig, images: int) -> Rows:
    """Return rows of what a variant reads, with some signal: solved, they need about as many steps as real ones."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, CLASSES, (images,), generator=generator)
    centres = torch.randn(CLASSES, WIDTH, generator=generator)
    fractions = torch.rand(images, MASKS, 60, 80, generator=generator).round().half()
    raw = {
        "pooled": (centres[labels] + 6 * torch.randn(images, WIDTH, generator=generator)).half(),
        "fractions": fractions.contiguous(memory_format=torch.channels_last),
    }
    return Rows({name: raw[name] for name in config.inputs}, labels, None)


def train(config: VariantConfig, rows: Rows, replicates: int, head: type[MaskHead] = MaskHead) -> None:
    """Train replicates side by side; a solved variant once for all of them, as `training.train` does."""
    at_once = 1 if config.solves else replicates
    nets = [network(config, replicate, head) for replicate in range(at_once)]
    if config.taps:
        nets[0].standardise.fit(rows.raw["pooled"])
        for net in nets[1:]:
            net.standardise.load_state_dict(nets[0].standardise.state_dict())
    fit(nets, rows, rows, config, range(at_once), QUIET)


def convolutions(config: VariantConfig, images: int) -> None:
    """Compute the convolutions of one replicate's training and of its scoring, and nothing else."""
    head, batch = MaskHead(MASKS), config.batch_size
    layers = []
    for conv, shape in ((head.conv1, (MASKS, 60, 80)), (head.conv2, (16, 15, 20)), (head.conv3, (32, 7, 10))):
        x = torch.randn(batch, *shape).contiguous(memory_format=torch.channels_last)
        layers.append((conv, x.requires_grad_(conv is not head.conv1), torch.ones_like(conv(x))))
    for _ in range(config.epochs * images // batch):
        for conv, x, gradient in layers:
            conv(x).backward(gradient)
            with torch.no_grad():
                conv(x)


def medians(sides: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return the median CPU seconds of each side; one round before is not counted."""
    found: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name, work in sides.items():
            start = time.process_time()
            work()
            if number:
                found[name].append(time.process_time() - start)
    return {name: statistics.median(values) for name, values in found.items()}


@click.command()
@click.option("--images", default=640, show_default=True, help="Images to train on.")
@click.option("--epochs", default=2, show_default=True, help="Epochs of a head; the solved probe takes what it takes.")
@click.option("--rounds", default=5, show_default=True, help="Rounds that are counted.")
def main(images: int, epochs: int, rounds: int) -> None:
    """Print three replicates against one for each head, and 20 x 6 solved probes against 1 x 6."""
    torch.set_num_threads(1)
    catalogue = load_catalogue(Settings(data=Path()))
    missed = False
    for name in HEADS:
        config = catalogue[name].model_copy(update={"epochs": epochs})
        rows = drawn_rows(config, images)
        sides: dict[str, Callable[[], object]] = {
            "one": lambda c=config, r=rows: train(c, r, 1),
            "three": lambda c=config, r=rows: train(c, r, 3),
        }
        if "fractions" in config.inputs:
            sides["as it was"] = lambda c=config, r=rows: train(c, r, 1, FormerMaskHead)
            sides["convolutions"] = lambda c=config: convolutions(c, images)
        cost = medians(sides, rounds)
        ratio = cost["three"] / cost["one"]
        missed |= ratio > BAR
        former = ""
        if "fractions" in config.inputs:
            floor = (cost["one"] + 2 * cost["convolutions"]) / cost["one"]
            former = f", floor {floor:.2f}x, {cost['three'] / cost['as it was']:.2f}x of one as it was"
        click.echo(
            f"{name:16} one {cost['one']:6.2f} s, three {cost['three']:6.2f} s: {ratio:.2f}x (bar {BAR}){former}"
        )
    config = catalogue["linear_probe"]
    rows = drawn_rows(config, images)
    cost = medians({str(n): lambda n=n: [train(config, rows, n) for _ in range(6)] for n in (1, 20)}, rounds)
    ratio = cost["20"] / cost["1"]
    missed |= ratio > SOLVED_BAR
    click.echo(
        f"linear_probe     1 x 6 {cost['1']:6.2f} s, 20 x 6 {cost['20']:6.2f} s: {ratio:.2f}x (bar {SOLVED_BAR}): "
        "solved once, as all of them have the same optimum"
    )
    if missed:
        raise click.ClickException("over the bar")


if __name__ == "__main__":
    main()
