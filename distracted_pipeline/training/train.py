"""From a variant and a fold to the checkpoints of its replicates.

Belongs here: the order of things. The loop is `loop`, files are `checkpoint`, MLflow is `tracking`; what a
checkpoint makes of held-out drivers is `evaluation.predict`.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from distracted_pipeline.advice import materialize_fold
from distracted_pipeline.devices import determinism, resolve_device
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.figures.formats import listing
from distracted_pipeline.figures.matrices import confusion as confusion_figure
from distracted_pipeline.figures.svg import standalone
from distracted_pipeline.files import locked, sweep_temporaries
from distracted_pipeline.fingerprints import fingerprint
from distracted_pipeline.images.folds import check_disjoint, fold_rows
from distracted_pipeline.images.manifest import labelled, read_manifest
from distracted_pipeline.options import RunOptions
from distracted_pipeline.settings import Settings
from distracted_pipeline.training import mlflow_outbox, tracking
from distracted_pipeline.training.checkpoint import (
    LAST_GOOD,
    clear_former,
    fold_folder,
    is_trained,
    model_folder,
    read_meta,
    start_variant,
    untrained,
    write_checkpoint,
    write_weights,
)
from distracted_pipeline.training.job import Job, Prepared, prepare
from distracted_pipeline.training.loop import Fit, Snapshot, fit, predict_logits
from distracted_pipeline.training.scores import Scores, confusion, recalls_by_class, score
from distracted_pipeline.training.snapshots import LAST, Interrupted, read_last, write_last
from distracted_pipeline.training.team import learned_state, load_learned
from distracted_pipeline.training.variant_run import recipe_of
from distracted_pipeline.variants.backbones import why_unsupported
from distracted_pipeline.variants.config import VariantConfig, replicates_of, variant_named


@dataclass(frozen=True)
class TrainResult:
    """A variant trained on a fold, as often as it has replicates.

    Attributes:
        variant: Its name.
        fold: One of `scopes.FOLDS`.
        folder: Holds a folder for each replicate.
        reused: True where fitting checkpoints were there already and nothing was trained.
        metas: `config.json` of each replicate.
    """

    variant: str
    fold: str
    folder: Path
    reused: bool
    metas: tuple[dict[str, Any], ...]

    @property
    def fingerprint(self) -> str:
        """What all of the checkpoints were made from."""
        return fingerprint([meta["fingerprint"] for meta in self.metas])


def train_variant(
    settings: Settings, variant: str, fold: str, options: RunOptions = RunOptions(), *, dagster_run_id: str = ""
) -> TrainResult:
    """Train all replicates of a variant of the catalogue on a fold, but those whose fitting checkpoints are there.

    A training that was killed goes on after its last finished epoch. If the variant starts from another one's
    checkpoints, that one is trained first.

    Args:
        settings: Where the data lies.
        variant: Its name.
        fold: One of `scopes.FOLDS`.
        options: How to run. Its batch size is what passes through the network at once (see `loop.fit`); how many
            rows make a step is the variant's own.
        dagster_run_id: Kept with the checkpoints.

    Raises:
        DistractedError: Unknown variant or fold, data that cannot be trained on, a backbone that does not fit the
            variant, or a loss that is no longer finite.
    """
    return train_config(settings, variant_named(settings, variant), fold, options, dagster_run_id=dagster_run_id)


def train_config(
    settings: Settings,
    config: VariantConfig,
    fold: str,
    options: RunOptions = RunOptions(),
    *,
    dagster_run_id: str = "",
) -> TrainResult:
    """Train `config`, which need not be in the catalogue, on a fold; see `train_variant`."""
    folder = fold_folder(settings, config.name, fold)
    with locked(folder / ".lock", what=f"the checkpoints of {config.name}, fold {fold}"):
        missing = untrained(settings, config, fold)
        if missing:
            sweep_temporaries(folder)
            clear_former(folder)
            mlflow_outbox.discard(folder)
            reason = why_unsupported(settings, config)
            if reason:
                raise DistractedError(f"variant {config.name}: {reason}")
            table = labelled(read_manifest(settings))
            rows = fold_rows(table, fold)
            check_disjoint(table, rows)
            # Claimed now, and once.
            options = replace(options, device=str(resolve_device(options.device_name())), kernels=settings.kernels)
            _train_start(settings, config, fold, options)
            with determinism(options.deterministic):
                for team in Job(settings, config, folder, missing, table, rows, options).teams:
                    _train(team, dagster_run_id)
        replicates = range(replicates_of(settings, config))
        metas = tuple(read_meta(model_folder(settings, config.name, fold, replicate)) for replicate in replicates)
    return TrainResult(config.name, fold, folder, not missing, metas)


def _train_start(settings: Settings, config: VariantConfig, fold: str, options: RunOptions) -> None:
    """Train the variant of the catalogue that `config` starts from, unless it is trained or there is none."""
    variant = start_variant(settings, config) if config.checkpoint else None
    if variant is not None and not is_trained(settings, variant, fold):
        options.log(
            f"{config.name} starts from {variant} of the same fold, which is not trained yet: training that first"
        )
        train_variant(settings, variant, fold, options)


def _train(job: Job, dagster_run_id: str) -> None:
    """Do the trainings of a job side by side and write their checkpoints."""
    start = time.monotonic()
    prepared = prepare(job)
    counts = prepared.nets[0].count()
    for net in prepared.nets:
        net.streamline()
    interrupted = read_last(job.folder, [prints["fingerprint"] for prints in job.prints.values()], job.options.log)
    if interrupted:
        start -= sum(one.seconds for one in interrupted)
        epochs = max(len(one.snapshot.fit.history) for one in interrupted)
        job.options.log(f"{job.words}: going on after epoch {epochs}")
    runs = _open_runs(job, counts, interrupted, dagster_run_id)
    fits = _fit(job, prepared, interrupted, runs, start)
    about = {
        "trainable_parameters": counts[0],
        "total_parameters": counts[1],
        "seconds": (time.monotonic() - start) / len(job.prints),
        "dagster_run_id": dagster_run_id or None,
    }
    found = [_write(job, prepared, at, fits[at], runs[at], about) for at in range(len(job.prints))]
    (job.folder / LAST).unlink(missing_ok=True)
    accuracies = sorted(f"{scores.accuracy:.3f}" for scores in found)
    to = f" to {accuracies[-1]}" if len(accuracies) > 1 else ""
    epochs = max(len(one.history) for one in fits)
    job.options.log(
        f"{job.words}: {len(prepared.train):,} images, {epochs} epoch{'s' * (epochs > 1)}, "
        f"validation accuracy {accuracies[0]}{to}, {time.monotonic() - start:.1f} s"
    )


def _open_runs(
    job: Job, counts: tuple[int, int], interrupted: Sequence[Interrupted], dagster_run_id: str
) -> list[tracking.OpenRun]:
    """Open an MLflow run for each training, or reopen that which it had before it was interrupted."""
    config, fold = job.config, job.rows.fold
    held_out = set(job.subjects(job.rows.predict)) - set(job.subjects(job.rows.validation))
    who = (
        f"Learns from {len(job.subjects(job.rows.train))} drivers, chooses the epoch on "
        f"{listing(job.subjects(job.rows.validation))}, is reported on {listing(sorted(held_out))}."
    )
    return [
        tracking.reopen_or_start(
            job.settings,
            f"{config.name} fold {fold} training {replicate + 1}",
            {"fold": fold, "replicate": replicate},
            {
                "variant": config.name,
                "fold": fold,
                "replicate": str(replicate),
                tracking.NOTE: f"**{config.title}**, fold {fold}, training {replicate + 1}. {who} {config.description}",
                **{key: value for key, value in prints.items() if value},
                **({"dagster_run_id": dagster_run_id} if dagster_run_id else {}),
            },
            recipe=recipe_of(job.settings, config, counts),
            run_id=interrupted[at].run_id if interrupted else None,
            log=job.options.log,
        )
        for at, (replicate, prints) in enumerate(job.prints.items())
    ]


def _fit(
    job: Job,
    prepared: Prepared,
    interrupted: Sequence[Interrupted],
    runs: Sequence[tracking.OpenRun],
    start: float,
) -> list[Fit]:
    """Fit the networks, with snapshots after every epoch, and return the outcome of each.

    A variant that is solved is solved once, for all replicates. An error closes the MLflow runs as failed before it
    goes on.
    """
    config, prints = job.config, [prints["fingerprint"] for prints in job.prints.values()]
    at_once = 1 if config.solves else len(prints)

    def save(snapshots: list[Snapshot]) -> None:
        seconds = (time.monotonic() - start) / len(prints)
        each = snapshots * (len(prints) // at_once)
        team = {
            fingerprint: Interrupted(snapshot, run.id, seconds)
            for fingerprint, snapshot, run in zip(prints, each, runs, strict=True)
        }
        write_last(job.folder, team)

    try:
        seeds = [config.training_seed(job.rows.fold, replicate) for replicate in job.prints]
        resume = [one.snapshot for one in interrupted]
        fits = fit(
            prepared.nets[:at_once],
            prepared.train,
            prepared.validation,
            config,
            seeds[:at_once],
            job.options,
            resume=resume[:at_once],
            save=save,
        )
        fits *= len(prints) // at_once
        for replicate, one in zip(job.prints, fits, strict=True):
            if one.best is None or one.diverged is not None:
                raise _diverged(job, replicate, one)
    except BaseException as error:
        for run in runs:
            tracking.fail_run(job.settings, run, str(error) or type(error).__name__, log=job.options.log)
        raise
    return fits


def _write(job: Job, prepared: Prepared, at: int, result: Fit, run: tracking.OpenRun, about: dict[str, Any]) -> Scores:
    """Write one replicate's checkpoint, log its results to MLflow, and return its validation scores.

    Args:
        job: The trainings.
        prepared: What they started from.
        at: Which of them, in the order of the job.
        result: Its outcome.
        run: Its run in MLflow.
        about: Further facts of `config.json`.
    """
    settings, config, fold, log = job.settings, job.config, job.rows.fold, job.options.log
    class_ids, net, validation = settings.dataset.class_ids, prepared.nets[at], prepared.validation
    replicate = list(job.prints)[at]
    assert result.best is not None
    net.float()
    load_learned(net, result.best)
    logits = predict_logits(net, validation, net.classifier.weight.device, job.options).cpu()
    scores = score(logits, validation.labels)
    net.fold()
    meta: dict[str, Any] = {
        **job.prints[replicate],
        "variant": config.name,
        "fold": fold,
        "replicate": replicate,
        "classes": list(class_ids),
        "config": config.model_dump(mode="json"),
        "backbone": None if not config.taps else config.model_name or settings.backbone,
        "train_images": len(prepared.train),
        "validation_images": len(validation),
        "train_subjects": job.subjects(job.rows.train),
        "validation_subjects": job.subjects(job.rows.validation),
        "best_epoch": result.best_epoch,
        "validation_loss": scores.loss,
        "validation_accuracy": scores.accuracy,
        "validation_macro_recall": scores.macro_recall,
        "history": [line.as_dict() for line in result.history],
        "device": job.options.device,
        "mlflow_run_id": run.id,
        **about,
    }
    folder = model_folder(settings, config.name, fold, replicate)
    write_checkpoint(folder, {**prepared.inherited[at], **learned_state(net)}, meta)
    counts = confusion(logits, validation.labels).numpy()
    labels = [settings.dataset.class_label(k) for k in range(len(class_ids))]
    title = f"{config.title}, fold {fold}, training {replicate + 1}: validation drivers, best epoch {result.best_epoch}"
    mlflow_outbox.finish_run(
        settings,
        folder,
        run,
        history=meta["history"],
        metrics={
            "best_epoch": result.best_epoch,
            "seconds": about["seconds"],
            **recalls_by_class("validation_recall", scores, class_ids),
        },
        figures={"confusion_validation.svg": standalone(confusion_figure(counts, labels, title=title))},
        log=log,
    )
    return scores


def _diverged(job: Job, replicate: int, result: Fit) -> DistractedError:
    config, fold = job.config, job.rows.fold
    kept = "No epoch before it was good."
    (job.folder / LAST).unlink(missing_ok=True)
    if result.best is not None:
        path = model_folder(job.settings, config.name, fold, replicate) / LAST_GOOD
        write_weights(path, result.best)
        kept = f"The weights of epoch {result.best_epoch} are kept in {path}."
    return DistractedError(
        f"variant {config.name}, fold {fold}, training {replicate + 1}: the loss is not finite in epoch "
        f"{result.diverged} (top_lr {config.top_lr:g}, body_lr {config.body_lr:g}). {kept} Lower the rate in the "
        f"variant's entry, then: {materialize_fold('trained_model', config.name, fold)}"
    )
