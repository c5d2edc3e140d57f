"""Trainings that are to be done: on which rows, how many at once, and where each network starts.

Belongs here: all that is settled before the first step. The steps are `loop`, what becomes of the result `train`.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from distracted_pipeline.devices import autocast_dtype, resolve_device
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.images.folds import FoldRows
from distracted_pipeline.images.manifest import class_positions
from distracted_pipeline.options import RunOptions
from distracted_pipeline.settings import Settings
from distracted_pipeline.training.checkpoint import read_meta, start_folder, start_from
from distracted_pipeline.training.inputs import Rows, load_rows, load_taps
from distracted_pipeline.training.team import State
from distracted_pipeline.variants.backbones import load_backbone
from distracted_pipeline.variants.config import VariantConfig
from distracted_pipeline.variants.networks import VariantNet, build_network
from distracted_pipeline.variants.subspace import Embedded


@dataclass(frozen=True)
class Job:
    """Trainings that have to be done: of what, on which rows, into which folder. The folder's lock is held.

    Attributes:
        settings: Where the data lies.
        config: The variant.
        folder: The fold's.
        prints: What each checkpoint depends on, from `checkpoint.fingerprints`, by replicate.
        table: The labelled images.
        rows: Which of them train, choose the epoch, and are held out.
        options: How to run, the device named.
    """

    settings: Settings
    config: VariantConfig
    folder: Path
    prints: dict[int, dict[str, str]]
    table: pa.Table
    rows: FoldRows
    options: RunOptions

    @property
    def words(self) -> str:
        """Return variant, fold and replicates as log lines say them."""
        numbers = [str(replicate + 1) for replicate in self.prints]
        which = f"training {numbers[0]}" if len(numbers) == 1 else f"trainings {', '.join(numbers)}"
        return f"{self.config.name}, fold {self.rows.fold}, {which}"

    @property
    def teams(self) -> "list[Job]":
        """Return the parts of the job that train at once: all replicates where that pays, else one after another."""
        device = resolve_device(self.options.device_name())
        scaled = autocast_dtype(self.options.precision, device) is torch.float16  # one scale of gradients for all
        # From pixels each replicate needs its own pass through the body, and over a checkpoint it has its own body.
        small = self.config.technique.stacks and not self.config.augment and not self.config.checkpoint
        small = small and self.config.optimizer != "lbfgs"  # its steps are not element by element
        if self.config.solves or (small and not scaled):
            return [self]
        return [replace(self, prints={replicate: prints}) for replicate, prints in self.prints.items()]

    def imgs(self, rows: np.ndarray) -> list[str]:
        """Return the names of the images in some rows."""
        return list(self.table["img"].take(pa.array(rows)).to_pylist())

    def subjects(self, rows: np.ndarray) -> list[str]:
        """Return the drivers in some rows."""
        return sorted(set(self.table["subject"].take(pa.array(rows)).to_pylist()))


@dataclass(frozen=True)
class Prepared:
    """Where a training starts: its network, the frozen weights it has from another checkpoint, its rows."""

    nets: list[VariantNet]
    inherited: list[State]
    train: Rows
    validation: Rows


def prepare(job: Job) -> Prepared:
    """Return the networks where the trainings start, and the rows they read.

    Raises:
        DistractedError: What they start from is not there, does not fit, or knows a driver that the fold holds out.
    """
    settings, config, fold = job.settings, job.config, job.rows.fold
    nets, inherited, new_classifier = [], [], True
    for replicate in job.prints:
        backbone = load_backbone(settings, config.model_name) if config.taps else None
        net = build_network(config, backbone, settings.dataset, config.training_seed(fold, replicate))
        frozen, new_classifier = _take_start(job, net, replicate)
        nets.append(net)
        inherited.append(frozen)
    labels = class_positions(job.table, settings.dataset)
    train, validation = (
        load_rows(settings, config, nets[0], job.imgs(side), labels[side], job.options)
        for side in (job.rows.train, job.rows.validation)
    )
    if config.taps and new_classifier:  # it reads embeddings, standardised by the training drivers'
        pooled = train.raw.get("pooled")
        if pooled is None:
            pooled = load_taps(settings, config, ("pooled",), job.imgs(job.rows.train), job.options)["pooled"]
        nets[0].standardise.fit(pooled.to(nets[0].standardise.mean.device))
        if config.technique.adjust is not None:
            config.technique.adjust(nets[0], *_embedded(job, labels))
        for net in nets[1:]:
            net.standardise.copy_from(nets[0].standardise)
    return Prepared([net.to(job.options.device_name()) for net in nets], inherited, train, validation)


def _embedded(job: Job, labels: np.ndarray) -> list[Embedded]:
    """Return the cached embeddings of the training and of the validation drivers."""
    subjects = job.table["subject"].to_numpy(zero_copy_only=False).astype(str)
    return [
        Embedded(
            load_taps(job.settings, job.config, ("pooled",), job.imgs(side), job.options)["pooled"],
            torch.from_numpy(labels[side].astype(np.int64)),
            subjects[side],
        )
        for side in (job.rows.train, job.rows.validation)
    ]


def _take_start(job: Job, net: VariantNet, replicate: int) -> tuple[State, bool]:
    """Put the weights into `net` that it starts from; return the frozen ones, and whether its classifier is new."""
    settings, config, fold = job.settings, job.config, job.rows.fold
    if not config.checkpoint:
        return {}, True
    folder = start_folder(settings, config, fold, replicate)
    meta = read_meta(folder)
    judged = {*job.subjects(job.rows.predict)} - {*job.subjects(job.rows.validation)}
    known = sorted(judged & {*meta["train_subjects"], *meta["validation_subjects"]})
    if known:
        raise DistractedError(
            f"variant {config.name}: checkpoint {folder} was trained on driver {known[0]}, whom fold {fold} holds out. "
            "Train it again, or start from a variant of the catalogue."
        )
    return start_from(net, folder, same_classes=tuple(meta["classes"]) == settings.dataset.class_ids)
