"""Kaggle's submission: probabilities of the unlabelled test images, from the models of the original fold.

Probabilities are averaged over the trainings of that fold. Test images pass through the whole networks once, shard by
shard, without a feature cache: nobody reads them twice.
"""

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import torch

from distracted_pipeline.advice import RUN
from distracted_pipeline.devices import resolve_device
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.evaluation.checkpoint_facts import replicates
from distracted_pipeline.files import atomic_path
from distracted_pipeline.images.manifest import read_manifest
from distracted_pipeline.images.problems import OK
from distracted_pipeline.memory import Pieces
from distracted_pipeline.options import RunOptions
from distracted_pipeline.progress import Progress
from distracted_pipeline.scopes import ORIGINAL_FOLD
from distracted_pipeline.settings import Settings
from distracted_pipeline.training.checkpoint import Trained, load_trained
from distracted_pipeline.training.inputs import load_inputs

CLIP = 1e-4
"""Smallest probability written: one confident mistake must not cost the whole log loss."""

SAMPLE = "sample_submission.csv"
"""Kaggle's example, in the data root: which images a submission has to hold, in which order."""

_BATCH = 32


@dataclass(frozen=True)
class Submission:
    """A written submission: its file and how many images it holds."""

    path: Path
    images: int


def submission_header(class_ids: Sequence[str]) -> tuple[str, ...]:
    """Return the first row of a submission, and of Kaggle's sample."""
    return ("img", *class_ids)


def write_submission(settings: Settings, variant: str, options: RunOptions = RunOptions()) -> Submission:
    """Predict every usable unlabelled image and write `submissions/<variant>.csv`.

    Where Kaggle's sample lies in the data root, the images are exactly its images, in its order.

    Raises:
        DistractedError: There are no test images, they are not those of Kaggle's sample, or the variant is not
            trained on the original fold as often as it should be.
    """
    header = submission_header(settings.dataset.class_ids)
    table = read_manifest(settings)
    tests = table.filter(pc.equal(table["classname"], ""))
    usable = tests.filter(pc.equal(tests["status"], OK))
    if not usable.num_rows:
        raise DistractedError(
            f"{settings.data} has no unlabelled test images. Put Kaggle's into {settings.data / 'imgs' / 'test'}, "
            f"then: {RUN}"
        )
    imgs = usable["img"].to_pylist()
    sample = sample_images(settings.data / SAMPLE, header)
    if sample is not None:
        imgs = _in_order_of(sample, imgs, settings.data / SAMPLE)
    elif usable.num_rows < tests.num_rows:
        bad = tests.filter(pc.not_equal(tests["status"], OK))["img"][0].as_py()
        options.log(f"{tests.num_rows - usable.num_rows:,} test images cannot be used and are left out, {bad} first")
    device = options.device_name()
    trainings = range(max(1, replicates(settings, variant, ORIGINAL_FOLD)))
    trained = [load_trained(settings, variant, ORIGINAL_FOLD, device, replicate) for replicate in trainings]
    options.log(f"{variant}: probabilities are the mean over {len(trained)} trainings on the original fold")
    probabilities = clipped(_predict(settings, trained, imgs, replace(options, device=device)))
    path = settings.submissions / f"{variant}.csv"
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(
            (img, *(f"{value:.6f}" for value in row)) for img, row in zip(imgs, probabilities, strict=True)
        )
    return Submission(path, len(imgs))


def clipped(probabilities: np.ndarray) -> np.ndarray:
    """Return probabilities `[N, class]` of at least `CLIP`, rows summing to 1 again."""
    bounded = np.clip(probabilities, CLIP, 1 - CLIP)
    return bounded / bounded.sum(1, keepdims=True)


def sample_images(path: Path, header: tuple[str, ...]) -> list[str] | None:
    """Return the images that Kaggle's sample lists under `header`, in its order; None where there is no sample.

    Raises:
        DistractedError: It is no such CSV, has another header, or names an image twice.
    """
    fetch = "Copy Kaggle's there again, or delete it: then whatever test images there are make the submission."
    try:
        with path.open(newline="", encoding="utf-8-sig") as handle:
            rows = [row for row in csv.reader(handle) if row]
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DistractedError(f"{path} cannot be read ({error}). {fetch}") from error
    if not rows or tuple(rows[0]) != header:
        first = ",".join(rows[0])[:80] if rows else "empty"
        raise DistractedError(f"{path} begins with {first!r} instead of {','.join(header)!r}. {fetch}")
    imgs = [row[0] for row in rows[1:]]
    if len(set(imgs)) < len(imgs):
        twice = next(img for img, count in Counter(imgs).items() if count > 1)
        raise DistractedError(f"{path} names {twice} twice. {fetch}")
    return imgs


def _in_order_of(sample: list[str], imgs: list[str], path: Path) -> list[str]:
    """Return `sample` where it holds the same images, else say how many differ, and which."""
    missing, extra = (sorted(set(one) - set(other)) for one, other in ((sample, imgs), (imgs, sample)))
    if not missing and not extra:
        return sample
    counted = " and ".join(
        f"{len(names):,} {what} ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"
        for names, what in ((missing, "of its images are missing or damaged here"), (extra, "here are not in it"))
        if names
    )
    raise DistractedError(
        f"{path} lists {len(sample):,} images, and there are {len(imgs):,} usable test images: {counted}. Kaggle "
        f"takes exactly its images. Complete {path.parent / 'imgs' / 'test'}, then type `{RUN}`; or "
        f"delete {path.name} to predict what is there."
    )


def _predict(settings: Settings, trained: Sequence[Trained], imgs: list[str], options: RunOptions) -> np.ndarray:
    """Return the probabilities of some images, [N, class], averaged over trainings of one variant."""
    chosen, pieces = resolve_device(options.device_name()), Pieces(options.batch_size or _BATCH, options.log)
    progress = Progress(len(imgs), "test images", options.log)

    def mean(part: slice) -> np.ndarray:
        batch = load_inputs(settings, trained[0].net.map_inputs, imgs[part], model_name=trained[0].config.model_name)
        inputs = {name: value.to(chosen) for name, value in batch.items()}
        each = [one.net.forward_from_images(inputs).double().softmax(1) for one in trained]
        return torch.stack(each).mean(0).cpu().numpy()

    parts = []
    with torch.inference_mode():
        for probabilities in pieces.over(len(imgs), mean):
            parts.append(probabilities)
            progress.advance(len(probabilities))
    return np.concatenate(parts)
