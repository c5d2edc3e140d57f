"""The champion: the variant that recognises unseen drivers best, registered in MLflow for others to load.

Belongs here: which variant it is, and its place in the registry. How a network becomes one file is
`training.export`. Anywhere MLflow's store is reached, without this package:
`mlflow.pytorch.load_model("models:/distracted_driver@champion")`.
"""

import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.evaluation.tables import VARIANTS_FILE
from distracted_pipeline.files import write_json
from distracted_pipeline.settings import Settings
from distracted_pipeline.training import tracking
from distracted_pipeline.training.checkpoint import CONFIG, load_trained, model_folder, read_meta
from distracted_pipeline.vocabulary import FOLDS

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

MODEL = "distracted_driver"
ALIAS = "champion"
URI = f"models:/{MODEL}@{ALIAS}"
FILE = "champion.json"

_ARTIFACTS = "champion"

_CHOICE = {
    "oof": "out of fold, over all drivers",
    "dev": "on the seed split's dev drivers, which also chose its epoch",
}


@dataclass(frozen=True)
class Champion:
    """What is registered, or would be if MLflow answered.

    Attributes:
        variant: Its name.
        fold: Whose weights: `seed` where that is trained.
        scope: Where it was best: `oof`, or `dev` where no variant has predicted every fold.
        macro_recall: There.
        model_fingerprint: Of the checkpoint.
        version: In the registry; None where MLflow did not answer.
    """

    variant: str
    fold: str
    scope: str
    macro_recall: float
    model_fingerprint: str
    version: str | None = None

    def facts(self) -> dict[str, Any]:
        """Return everything that is known, as plain values."""
        return {key: value for key, value in asdict(self).items() if value is not None}


def crown(settings: Settings, *, log: Callable[[str], object] = print) -> Champion | None:
    """Register the best variant's model, unless it is; a store that does not answer is told and asked next time.

    Returns:
        The best variant; None while no variant has predicted all five folds, nor the seed's.

    Raises:
        DistractedError: There are no tables yet, or the best variant's model is not there.
    """
    best = best_variant(settings)
    if best is None:
        log("no champion yet: no variant has predictions of all five folds, nor of the seed's")
        return None
    try:
        champion = _registered(settings, best, log)
    except tracking.StoreDownError as error:
        log(str(error))
        return best
    write_json(settings.evaluation / FILE, asdict(champion))
    return champion


def best_variant(settings: Settings) -> Champion | None:
    """Return the variant of the highest macro recall: out of fold if any has all folds, else on the dev drivers.

    Raises:
        DistractedError: There are no tables, or its model is gone.
    """
    path = settings.evaluation / VARIANTS_FILE
    if not path.is_file():
        raise DistractedError(f"{path} does not exist yet: which variant is best is not known. Type: distracted run")
    columns = ["scope", "variant", "macro_recall", "trainable_parameters", "folds_missing"]
    whole = [
        row
        for row in pq.read_table(path, columns=columns).to_pylist()
        if not row["folds_missing"] and row["macro_recall"] is not None
    ]
    for scope in _CHOICE:
        rows = [row for row in whole if row["scope"] == scope]
        if rows:
            best = max(rows, key=lambda row: (row["macro_recall"], -(row["trainable_parameters"] or 0)))
            fold = usable_fold(settings, best["variant"])
            fingerprint = read_meta(model_folder(settings, best["variant"], fold))["fingerprint"]
            return Champion(best["variant"], fold, scope, float(best["macro_recall"]), fingerprint)
    return None


def usable_fold(settings: Settings, variant: str) -> str:
    """Return whose weights stand for a variant: the seed fold's, whose dev and test drivers were never trained on.

    Raises:
        DistractedError: The variant is trained on no fold.
    """
    trained = [fold for fold in FOLDS if (model_folder(settings, variant, fold) / CONFIG).is_file()]
    if not trained:
        read_meta(model_folder(settings, variant, FOLDS[0]))  # says what to type
    return trained[0]


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


def _registered(settings: Settings, best: Champion, log: Callable[[str], object]) -> Champion:
    from mlflow.exceptions import MlflowException

    try:
        there = registered_version(settings)
        tags = {key: str(value) for key, value in best.facts().items()}
        if there is not None and tags.items() <= there.tags.items():
            return replace(best, version=str(there.version))
        client, experiment = tracking.open_client(settings)
        version = _register(settings, client, experiment, best, tags)
    except (MlflowException, OSError) as error:
        tracking.pause(settings)
        raise tracking.down(settings, error) from error
    log(
        f"champion: {best.variant}, macro recall {best.macro_recall:.3f} {_CHOICE[best.scope]}; "
        f"registered as {URI}, version {version}"
    )
    return replace(best, version=version)


def _register(settings: Settings, client: "MlflowClient", experiment: str, best: Champion, tags: dict[str, str]) -> str:
    from mlflow.exceptions import MlflowException

    from distracted_pipeline.serving.export import classifier_of, save_classifier

    trained = load_trained(settings, best.variant, best.fold, "cpu")
    module = classifier_of(settings, trained)
    kept = ("variant", "fold", "fingerprint", "train_subjects", "validation_subjects", "masks_fingerprint")
    about: dict[str, Any] = {
        **{key: trained.meta[key] for key in kept},
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
        client.log_artifacts(run_id, str(folder), _ARTIFACTS)
    try:
        client.create_registered_model(MODEL, description="Which of ten things a driver does, from one frame.")
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    source = f"{client.get_run(run_id).info.artifact_uri}/{_ARTIFACTS}"
    version = client.create_model_version(MODEL, source, run_id, tags=tags, description=_description(best, about))
    client.set_registered_model_alias(MODEL, ALIAS, version.version)
    return str(version.version)


def _description(best: Champion, about: dict[str, Any]) -> str:
    size = about["size"]
    reads = {
        "pixels": f"pixels, uint8 [B, 3, {size[0]}, {size[1]}]: the whole frame in RGB, resized bilinearly with "
        "antialiasing; values 0 to 255, normalised inside"
        if size
        else "",
        "fractions": "fractions, float32 [B, 7, 60, 80]: the share of none, person, bottle, cell phone, cup, car and "
        "chair in each cell of a grid over the frame",
    }
    inputs = "; ".join(reads[name] for name in about["inputs"])
    return (
        f"{best.variant}, trained on {', '.join(about['train_subjects'])}; of all variants the highest macro recall "
        f"{_CHOICE[best.scope]}: {best.macro_recall:.3f}. Reads {inputs}. Returns the probabilities of c0 to c9, "
        "float32 [B, 10]. Any batch size; runs on the CPU."
    )
