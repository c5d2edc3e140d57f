"""What networks said of altered frames, on disk, and whether it still follows from what is there now.

    why/<asset>/<variant>/fold-<fold>.parquet  every look at every version of a frame (`tables.Look`), fold by fold
    why/<asset>/<variant>/effects.parquet      what follows for each class (`tables.Effect`); written last

A fold that is finished is kept, so a killed run repeats one at most.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from distracted_pipeline.advice import RUN
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.evaluation.checkpoint_facts import model_fingerprint, recorded_config, replicates
from distracted_pipeline.evaluation.predictions import Part, images_fingerprint, predictions_path, read_predictions
from distracted_pipeline.evaluation.tables_io import schema_of, to_table, write_table
from distracted_pipeline.explanation.what_if.frames import Altered, ask
from distracted_pipeline.explanation.what_if.tables import Effect, Look
from distracted_pipeline.files import sweep_dead
from distracted_pipeline.fingerprints import INPUTS, fingerprint, is_current, recorded_inputs
from distracted_pipeline.images.manifest import labelled, read_manifest
from distracted_pipeline.options import RunOptions
from distracted_pipeline.parquet import read_table
from distracted_pipeline.scopes import FOLDS, ORIGINAL_FOLD
from distracted_pipeline.settings import Settings
from distracted_pipeline.variants.config import load_catalogue

if TYPE_CHECKING:
    from distracted_pipeline.training.checkpoint import Trained

EFFECTS_FILE = "effects.parquet"


@dataclass(frozen=True)
class Stage:
    """One kind of alteration.

    Attributes:
        asset: Its name, and its folder.
        version: Raise it when the same frames, masks and networks would give other looks.
        alter: Makes the altered frames of one fold: settings, whom they are for, the fold's predictions, options.
        beside: Further files of a variant, which record the inputs of its effects.
    """

    asset: str
    version: str
    alter: "Callable[[Settings, Trained, Part, RunOptions], Altered]"
    beside: tuple[str, ...] = ()


def folder_of(settings: Settings, asset: str, variant: str) -> Path:
    """Return where the looks of a variant lie."""
    return settings.evaluation / "why" / asset / variant


def folds_of(settings: Settings, variant: str) -> list[str]:
    """Return the folds whose networks are asked: those that hold out every driver once, else the original one."""
    there = [fold for fold in FOLDS if predictions_path(settings, variant, fold).is_file()]
    return [fold for fold in there if fold != ORIGINAL_FOLD] or there


def fold_inputs(settings: Settings, stage: Stage, variant: str, fold: str) -> str:
    """Return the fingerprint of all that the looks of a fold depend on.

    Raises:
        DistractedError: There is no manifest, or no catalogue that can be read.
    """
    dataset = settings.dataset
    return fingerprint(
        (stage.asset, stage.version, variant, fold, settings.why_frames),
        (dataset.class_ids, dataset.category_names, dataset.mirrors),
        images_fingerprint(settings),
        _masks_content(settings),
        model_fingerprint(settings, variant, fold),
    )


def variant_inputs(settings: Settings, stage: Stage, variant: str, folds: Sequence[str]) -> str:
    """Return the fingerprint of all that a variant's effects depend on."""
    return fingerprint({fold: fold_inputs(settings, stage, variant, fold) for fold in folds})


def effects_inputs(settings: Settings, stage: Stage, variant: str) -> str:
    """Return what identifies a variant's effects on disk; empty where they are out of date, or damaged."""
    folder = folder_of(settings, stage.asset, variant)
    try:
        folds = {fold: fold_inputs(settings, stage, variant, fold) for fold in folds_of(settings, variant)}
    except (DistractedError, OSError):  # no manifest, no catalogue: whoever makes the effects says so
        return ""
    wanted = fingerprint(folds)
    files = {folder / name: wanted for name in (EFFECTS_FILE, *stage.beside)}
    files |= {fold_path(folder, fold): inputs for fold, inputs in folds.items()}
    return wanted if all(is_current([path], inputs) for path, inputs in files.items()) else ""


def known_effects(settings: Settings, stage: Stage) -> dict[str, str]:
    """Return `effects_inputs` by variant, for those that have effects on disk."""
    found = sorted(path.parent.name for path in (settings.evaluation / "why" / stage.asset).glob(f"*/{EFFECTS_FILE}"))
    return {variant: effects_inputs(settings, stage, variant) for variant in found}


def take_looks(
    settings: Settings, stage: Stage, variant: str, options: RunOptions = RunOptions()
) -> tuple[pa.Table, list[Part]]:
    """Return the looks of every fold of a variant, taking those that are missing; and the predictions of these folds.

    Raises:
        DistractedError: The variant has no usable predictions, or a fold of it no current training.
    """
    from distracted_pipeline.training.checkpoint import is_trained, load_trained

    parts = [part for (_, fold), part in read_predictions(settings, [variant]).parts.items()]
    parts = [part for part in parts if part.fold in folds_of(settings, variant)]
    if not parts:
        raise DistractedError(
            f"{variant} has no usable predictions, so nothing to ask about. Type: {RUN} --variant {variant}"
        )
    untrained = [part.fold for part in parts if not is_trained(settings, variant, part.fold)]
    if untrained:
        raise DistractedError(
            f"{variant}: no current training for fold {', '.join(untrained)}. Type: {RUN} --variant {variant}"
        )
    folder = folder_of(settings, stage.asset, variant)
    sweep_dead(folder)
    device = ""
    for part in parts:
        path, inputs = fold_path(folder, part.fold), fold_inputs(settings, stage, variant, part.fold)
        if recorded_inputs(path) == inputs:
            continue
        device = device or options.device_name()  # claimed once
        trainings = range(max(1, replicates(settings, variant, part.fold)))
        trained = [load_trained(settings, variant, part.fold, device, replicate) for replicate in trainings]
        altered = stage.alter(settings, trained[0], part, options)
        write_table(path, _table(altered, ask(settings, trained, altered, options)), {INPUTS: inputs})
        seen = len({line.img for line in altered.shown})
        options.log(f"{variant}, fold {part.fold}: {len(altered.shown):,} looks at {seen:,} frames")
    return read_looks(settings, stage, variant, parts), parts


def read_looks(settings: Settings, stage: Stage, variant: str, parts: Sequence[Part]) -> pa.Table:
    """Return the looks of some folds as they lie on disk."""
    folder = folder_of(settings, stage.asset, variant)
    return pa.concat_tables([read_table(fold_path(folder, part.fold)) for part in parts])


def fold_path(folder: Path, fold: str) -> Path:
    """Return where the looks of a fold lie in a variant's folder."""
    return folder / f"fold-{fold}.parquet"


def write_effects(settings: Settings, stage: Stage, variant: str, effects: Sequence[Effect], inputs: str) -> Path:
    """Write what follows from a variant's looks; return the file."""
    path = folder_of(settings, stage.asset, variant) / EFFECTS_FILE
    write_table(path, to_table(Effect, effects), {INPUTS: inputs})
    return path


def reads_masks(settings: Settings, variant: str) -> bool:
    """Tell whether a variant's networks read masks, by its entry, else by its first training."""
    config = load_catalogue(settings).get(variant)
    folds = folds_of(settings, variant)
    if config is None and folds:
        config = recorded_config(settings, variant, folds[0])
    return config is not None and "fractions" in config.inputs


def _table(altered: Altered, said: np.ndarray) -> pa.Table:
    """Return looks as a table, training after training, from probabilities [replicate, version, class]."""
    schema, shown = schema_of(Look), altered.shown
    true = np.array([line.true for line in shown])
    columns: dict[str, Any] = {name: [getattr(line, name) for line in shown] for name in ("img", "subject", "about")}
    columns |= {"true": true, "version": [line.name for line in shown]}
    columns["on_objects"] = [line.on_objects for line in shown]
    each = []
    for replicate, probabilities in enumerate(said):
        columns["replicate"] = np.full(len(shown), replicate)
        columns["p_true"], columns["answer"] = probabilities[np.arange(len(true)), true], probabilities.argmax(1)
        arrays = [pa.array(columns[name], schema.field(name).type) for name in schema.names]
        each.append(pa.Table.from_arrays(arrays, schema=schema))
    return pa.concat_tables(each)


def _masks_content(settings: Settings) -> str:
    """Return the fingerprint of the masks that labelled images have now; empty without a segmenter."""
    from distracted_pipeline.masks.cache import open_cache

    try:
        cache = open_cache(settings)
    except DistractedError:
        return ""
    return cache.content(sorted(set(labelled(read_manifest(settings))["subject"].to_pylist())))
