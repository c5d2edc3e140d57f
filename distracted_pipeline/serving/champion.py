"""The champion: the variant of the highest macro recall on held-out drivers, registered in MLflow for others to load.

Belongs here: which variant it is, and its place in the registry. How a network becomes one file is `export`.
Anywhere MLflow's store is reached, without this package:
`mlflow.pytorch.load_model("models:/distracted_driver@champion")`.
"""

import json
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distracted_pipeline.advice import RUN, did_you_mean, materialize_fold
from distracted_pipeline.checksums import is_sound_database
from distracted_pipeline.dataset import Dataset
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.evaluation.checkpoint_facts import model_facts, replicates
from distracted_pipeline.evaluation.parent_runs import find_parents
from distracted_pipeline.evaluation.table_schemas import VariantScore
from distracted_pipeline.evaluation.tables import VARIANTS_FILE, tables_current
from distracted_pipeline.evaluation.tables_io import read_rows
from distracted_pipeline.figures.formats import listing
from distracted_pipeline.files import write_json, write_text
from distracted_pipeline.fingerprints import INPUTS, fingerprint, is_current
from distracted_pipeline.progress import Log
from distracted_pipeline.scopes import FOLDS, SCOPES, canonical_fold
from distracted_pipeline.settings import Settings
from distracted_pipeline.training import tracking
from distracted_pipeline.training.relocation import local_path
from distracted_pipeline.variants.config import load_catalogue

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel
    from mlflow.entities.model_registry import ModelVersion

MODEL = "distracted_driver"
ALIAS = "champion"
URI = f"models:/{MODEL}@{ALIAS}"
FILE = "champion.json"

CODE_VERSION = "5"
"""Raise it when the same tables and models would crown another champion, or register it otherwise."""

ARTIFACTS = "champion"
"""Folder of the run in which versions before kept the model; it is a logged model now."""

MODEL_ID = "model_id"
"""Tag of a version: the logged model whose files it is made of."""

VERSIONS = "mlflow.modelVersions"
"""Tag by which MLflow shows the versions that a logged model is registered as."""

_DECIDING = ("oof", "dev")
"""Scopes that decide: the first of which any variant has predicted every fold; the test drivers never do."""


@dataclass(frozen=True)
class Champion:
    """What is registered, or would be if MLflow answered.

    Attributes:
        variant: Its name.
        fold: Whose weights: `original` where that is trained; of its first training, not chosen among them.
        scope: Where it was best: `oof`, or `dev` where no variant has predicted all folds.
        macro_recall: There, on the drivers that all variants in question have predicted.
        flattery: By how much that is expected to lie above what the variant reaches on other drivers, because it was
            chosen on the very predictions that score it; None where that cannot be told.
        model_fingerprint: Of the checkpoint.
        version: In the registry; None where MLflow did not answer.
    """

    variant: str
    fold: str
    scope: str
    macro_recall: float
    model_fingerprint: str
    flattery: float | None = None
    version: str | None = None

    def facts(self) -> dict[str, Any]:
        """Return everything that is known, as plain values."""
        return {key: value for key, value in asdict(self).items() if value is not None}

    def score(self) -> str:
        """Return what it reached and where, and what that is worth, in words."""
        found = f"macro recall {self.macro_recall:.3f} on {SCOPES[self.scope].words}"
        if self.flattery is None:
            return f"{found}, on which it was also chosen"
        by = f"about {self.flattery:.3f}" if self.flattery >= 0.0005 else "less than 0.001"
        return f"{found}, on which it was also chosen: taking the best one flatters by {by}"


def crown(settings: Settings, *, log: Log = print) -> Champion | None:
    """Register the best variant's model, unless it is; where the store does not answer, say so and try next time.

    Returns:
        The best variant; None while no variant has predicted all cross-validation folds, nor the original fold.

    Raises:
        DistractedError: There are no tables yet, or the best variant's model is not there.
    """
    best = best_variant(settings)
    if best is None:
        log("no champion yet: no variant has predictions of all cross-validation folds, nor of the original fold")
        return None
    try:
        champion = _registered(settings, best, log)
    except tracking.StoreDownError as error:
        log(str(error))
        return best
    write_json(settings.evaluation / FILE, {**asdict(champion), INPUTS: _inputs(settings, best)})
    return champion


def champion_current(settings: Settings) -> bool:
    """Tell whether the tables are current and their best variant, if there is one yet, is registered.

    MLflow is not asked; where its store was in the data root and is gone or damaged, nothing is registered.
    """
    if not tables_current(settings):
        return False
    try:
        best = best_variant(settings)
    except DistractedError:  # whoever crowns says what is wrong
        return False
    if best is None:
        return True
    kept = bool(settings.mlflow) or is_sound_database(settings.mlflow_database)
    return kept and is_current([settings.evaluation / FILE], _inputs(settings, best))


def _inputs(settings: Settings, best: Champion) -> str:
    """Return the fingerprint of what is registered, and where."""
    return fingerprint(CODE_VERSION, best.facts(), settings.mlflow)


def best_variant(settings: Settings) -> Champion | None:
    """Return the variant of the highest macro recall: out of fold if any has all folds, else on the dev drivers.

    Recalls are those on the drivers that all variants with all folds have predicted.

    Raises:
        DistractedError: There are no tables, or its model is gone.
    """
    path = settings.evaluation / VARIANTS_FILE
    if not path.is_file():
        raise DistractedError(f"{path} does not exist yet: which variant is best is not known. Type: {RUN}")
    found = best_score(read_rows(path, VariantScore))
    if found is None:
        return None
    recall, best = found
    fold = usable_fold(settings, best.variant)
    made_by = str(model_facts(settings, best.variant, fold)["fingerprint"])
    flattery = None if best.flattery is None else round(best.flattery, 4)
    return Champion(best.variant, fold, best.scope, recall, made_by, flattery)


def best_score(scores: Iterable[VariantScore]) -> tuple[float, VariantScore] | None:
    """Return the best of some variants and its macro recall where it was best; None where none has all folds."""
    whole = [
        (recall, score)
        for score in scores
        # Versions before wrote no ranked recall; where no variant lacks images, the two are the same.
        if (recall := score.macro_recall if score.ranked_recall is None else score.ranked_recall) is not None
        and not score.folds_missing
    ]
    for scope in _DECIDING:
        known = [(recall, score) for recall, score in whole if score.scope == scope]
        if known:
            return max(known, key=lambda pair: (pair[0], -(pair[1].trainable_parameters or 0)))
    return None


def check_variant(settings: Settings, variant: str) -> None:
    """Fail where a name is neither in the catalogue nor that of something trained.

    Raises:
        DistractedError: With the names that could be meant.
    """
    if not (settings.models / variant).is_dir() and variant not in (known := load_catalogue(settings)):
        raise DistractedError(
            f"there is no variant {variant!r}.{did_you_mean(variant, [*known, ALIAS])} "
            f"Choose from {', '.join(known)}, or {ALIAS}."
        )


def usable_fold(settings: Settings, variant: str) -> str:
    """Return the fold whose weights stand for a variant: the original one where it is trained, else the first there is.

    Raises:
        DistractedError: The variant is trained on no fold.
    """
    trained = next((fold for fold in FOLDS if "fingerprint" in model_facts(settings, variant, fold)), None)
    if trained is None:
        raise DistractedError(
            f"there is no trained model of {variant} in {settings.models / variant} that this version can read. "
            f"Train it: {materialize_fold('trained_model', variant, FOLDS[0])}"
        )
    return trained


def registered_version(settings: Settings) -> "ModelVersion | None":
    """Return the registered champion; None where there is none.

    Raises:
        StoreDownError: The store does not answer.
    """
    from mlflow.exceptions import MlflowException

    client, _ = tracking.open_client(settings)
    try:
        return client.get_model_version_by_alias(MODEL, ALIAS)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def required_version(settings: Settings, fold: str | None = None) -> "ModelVersion":
    """Return the registered champion.

    Raises:
        DistractedError: None is registered, MLflow does not answer, or a fold was named.
    """
    if fold is not None:
        raise DistractedError(
            f"--fold is {fold}, but the champion's weights are those registered in MLflow. "
            "Leave --fold away, or name a variant."
        )
    version = registered_version(settings)
    if version is None:
        raise DistractedError(
            f"no champion is registered in MLflow at {tracking.shown(settings.mlflow_uri)}. Type `{RUN}`, "
            "which registers the best variant (`distracted sync`, where MLflow has lost it), or name one: "
            "--variant top_only"
        )
    return version


def _registered(settings: Settings, best: Champion, log: Log) -> Champion:
    from mlflow.exceptions import MlflowException

    try:
        there = registered_version(settings)
        tags = {key: str(value) for key, value in best.facts().items()}
        # What choosing flatters changes with every further variant; the model is still the one that is registered.
        decisive = {key: value for key, value in tags.items() if key != "flattery"}
        if there is not None and decisive.items() <= _tags_of(there).items() and _is_readable(settings, there):
            return replace(best, version=str(there.version))
        client, experiment = tracking.open_client(settings)
        version = _register(settings, client, experiment, best, tags)
    except (MlflowException, OSError) as error:
        tracking.pause(settings)
        raise tracking.down(settings, error) from error
    log(f"champion: {best.variant}, {best.score()}; registered as {URI}, version {version}")
    return replace(best, version=version)


def _is_readable(settings: Settings, version: "ModelVersion") -> bool:
    """Tell whether a version's model is where the data root's own store says; of a server, that it is."""
    return bool(settings.mlflow) or (Path(local_path(str(version.source))) / "MLmodel").is_file()


def _tags_of(version: "ModelVersion") -> dict[str, str]:
    """Return a version's tags; the fold by its name of today."""
    return {**version.tags, "fold": canonical_fold(version.tags.get("fold", ""))}


def _register(settings: Settings, client: "MlflowClient", experiment: str, best: Champion, tags: dict[str, str]) -> str:
    from mlflow.exceptions import MlflowException

    from distracted_pipeline.serving.export import classifier_of, save_classifier
    from distracted_pipeline.serving.model_card import CARD, model_card, subject_of
    from distracted_pipeline.training.checkpoint import load_trained

    trained = load_trained(settings, best.variant, best.fold, "cpu")  # the first training
    module = classifier_of(settings, trained)
    kept = ("variant", "fingerprint", "train_subjects", "validation_subjects", "masks_fingerprint")
    about: dict[str, Any] = {
        **{key: trained.meta[key] for key in kept},
        "fold": best.fold,
        "trainings": replicates(settings, best.variant, best.fold),
        "inputs": list(module.inputs),
        "size": list(module.size or ()),
    }
    run_id = trained.meta["mlflow_run_id"]
    if run_id is None or not tracking.exists(client, run_id):
        run_id = client.create_run(experiment, run_name=f"champion {best.variant}", tags=tags).info.run_id
        client.set_terminated(run_id)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "model"
        save_classifier(module, folder, about)
        write_text(folder / CARD, model_card(settings, subject_of(settings, trained, best.fold, module)))
        model = _log_model(settings, client, experiment, run_id, best, folder)
    try:
        what = f"Which of {len(settings.dataset.class_ids)} things a driver does, from one frame."
        client.create_registered_model(MODEL, description=what)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    description = _description(best, about, settings.dataset)
    tags = {**tags, MODEL_ID: model.model_id}
    version = client.create_model_version(
        MODEL, model.artifact_location, run_id, tags=tags, description=description, model_id=model.model_id
    )
    known = {tracking.NOTE: description, VERSIONS: json.dumps([{"name": MODEL, "version": int(version.version)}])}
    client.set_logged_model_tags(model.model_id, known)
    client.set_registered_model_alias(MODEL, ALIAS, version.version)
    return str(version.version)


def _log_model(
    settings: Settings, client: "MlflowClient", experiment: str, run_id: str, best: Champion, folder: Path
) -> "LoggedModel":
    """Log an exported model with its recalls: an output of its training's run, and of its variant's."""
    from mlflow.entities import LoggedModelOutput

    model = client.create_logged_model(
        experiment, best.variant, run_id, {"fold": best.fold, "scope": best.scope}, model_type="classifier"
    )
    client.log_model_artifacts(model.model_id, str(folder))
    client.finalize_logged_model(model.model_id, "READY")
    parent = find_parents(settings, client, experiment).get(best.variant)
    for run in {run_id, parent or run_id}:
        client.log_outputs(run, [LoggedModelOutput(model.model_id, 0)])
    client.log_metric(parent or run_id, "champion/macro_recall", best.macro_recall, model_id=model.model_id)
    return model


def one_of(trainings: int) -> str:
    """Return which of a variant's trainings on a fold stands for it, in words."""
    if trainings < 2:
        return "The only training on that fold"
    return f"The first of {trainings} trainings on that fold, which differ by luck alone; not chosen among them"


def _description(best: Champion, about: dict[str, Any], dataset: Dataset) -> str:
    from distracted_pipeline.masks.fractions import GRID

    size, classes, ids = about["size"], len(dataset.class_ids), len(dataset.mask_names)
    reads = {
        "pixels": f"pixels, uint8 [B, 3, {size[0]}, {size[1]}]: the whole frame in RGB, resized bilinearly with "
        "antialiasing; values 0 to 255, normalised inside"
        if size
        else "",
        "fractions": f"fractions, float32 [B, {ids}, {GRID[0]}, {GRID[1]}]: the share of "
        f"{listing(list(dataset.mask_names))} in each cell of a grid over the frame",
    }
    inputs = "; ".join(reads[name] for name in about["inputs"])
    return (
        f"{best.variant}, trained on {', '.join(about['train_subjects'])}; of all variants the best: {best.score()}. "
        f"{one_of(about['trainings'])}. "
        f"Reads {inputs}. Returns the probabilities of "
        f"{listing(list(dataset.class_ids))}, float32 [B, {classes}]. Any batch size; runs on the CPU."
    )
