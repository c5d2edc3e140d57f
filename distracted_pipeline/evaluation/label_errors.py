"""Labels in doubt: frames whose held-out predictions speak against their label, ranked by how strongly.

Confident learning (Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", JAIR
2021): an image is doubted when another class gets at least the probability that images with that label usually get, and
more than its own label gets. No network learnt the label that it doubts, nor any frame of the driver. Their package
cleanlab would do the same, but is under the AGPL; this is the part of it that is needed.

Belongs here: which labels are in doubt, and why. What people decide about them is `images.decisions`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from distracted_pipeline.advice import RUN, WHY
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.evaluation.predictions import (
    Predictions,
    images_fingerprint,
    predictions_path,
    read_predictions,
)
from distracted_pipeline.files import write_parquet
from distracted_pipeline.fingerprints import INPUTS, file_digest, fingerprint, is_current
from distracted_pipeline.images.manifest import class_positions, labelled, read_manifest
from distracted_pipeline.parquet import read_table
from distracted_pipeline.scopes import SCOPES
from distracted_pipeline.settings import Settings
from distracted_pipeline.variants.config import load_catalogue

_SCOPE: Final = "oof"
_CODE_VERSION: Final = "1"

SCHEMA: Final = pa.schema(
    [
        ("img", pa.string()),
        ("sha256", pa.string()),
        ("path", pa.string()),
        ("subject", pa.string()),
        ("true", pa.int8()),  # the given label
        ("suggested", pa.int8()),
        ("p_true", pa.float32()),  # mean over trainings and variants
        ("p_suggested", pa.float32()),
        ("votes_true", pa.int32()),  # trainings that say so
        ("votes_suggested", pa.int32()),
        ("votes", pa.int32()),  # trainings there are
    ]
)


@dataclass(frozen=True)
class Doubts:
    """What speaks against labels; arrays [N].

    Attributes:
        doubted: Whether the label is in doubt.
        rival: The class that speaks most against it.
        own: Probability of the label.
        against: Probability of the rival.
    """

    doubted: np.ndarray
    rival: np.ndarray
    own: np.ndarray
    against: np.ndarray

    @property
    def order(self) -> np.ndarray:
        """Positions of the labels in doubt, the most doubted first."""
        places = np.flatnonzero(self.doubted)
        ranked: np.ndarray = places[np.argsort((self.own - self.against)[places], kind="stable")]
        return ranked


def doubts(probabilities: np.ndarray, true: np.ndarray, seen: np.ndarray | None = None) -> Doubts:
    """Return which labels are in doubt.

    Args:
        probabilities: Held-out, [N, class].
        true: Given labels, class positions [N].
        seen: Which images were predicted at all, bool [N]; by default all.
    """
    seen = np.ones(len(true), bool) if seen is None else seen
    rows, classes = np.arange(len(true)), probabilities.shape[1]
    own = probabilities[rows, true]
    usual = np.full(classes, np.inf, probabilities.dtype)
    for k in range(classes):
        if ((true == k) & seen).any():
            usual[k] = own[(true == k) & seen].mean()
    others = np.where(probabilities >= usual, probabilities, -1.0)
    others[rows, true] = -1.0
    rival = others.argmax(1)
    against = others[rows, rival]
    return Doubts(seen & (against > own), rival, own, against)


def label_errors_file(settings: Settings) -> Path:
    """Return where the labels in doubt are listed."""
    return settings.evaluation / "label_errors.parquet"


def label_errors_inputs(settings: Settings) -> str:
    """Return the fingerprint of all that the list is made from; empty where there is nothing to make it from."""
    files = [
        path
        for variant in load_catalogue(settings)
        for fold in SCOPES[_SCOPE].folds
        if (path := predictions_path(settings, variant, fold)).is_file()
    ]
    if not settings.manifest.is_file() or not files:
        return ""
    digests = {path.relative_to(settings.predictions).as_posix(): file_digest(path) for path in files}
    return fingerprint(_CODE_VERSION, images_fingerprint(settings), digests)


def label_errors_current(settings: Settings) -> bool:
    """Tell whether the list is there and made from its inputs as they are now."""
    return is_current([label_errors_file(settings)], label_errors_inputs(settings))


def find_label_errors(settings: Settings) -> pa.Table:
    """Return the labels in doubt, the most doubted first, from every training of every variant; write them as well.

    Counted are the variants of the catalogue that predicted every driver; each counts the same, however often it was
    trained.

    Raises:
        DistractedError: No variant has predicted every fold.
    """
    inputs = label_errors_inputs(settings)
    if is_current([label_errors_file(settings)], inputs):
        return read_label_errors(settings)
    predictions = read_predictions(settings, list(load_catalogue(settings)))
    names = [
        name
        for name in predictions.variants
        if predictions.of(name, _SCOPE) and not predictions.absent_folds(name, _SCOPE)
    ]
    if not names:
        raise DistractedError(f"no variant has predicted every fold in {settings.predictions} yet. Type: {RUN}")
    images = labelled(read_manifest(settings))
    true = class_positions(images, settings.dataset)
    probabilities, votes = _evidence(predictions, names, images["img"].to_pylist())
    found = doubts(probabilities, true, np.isfinite(probabilities).all(1))
    order = found.order
    table = images.select(["img", "sha256", "path", "subject"]).take(pa.array(order))
    columns = {
        "true": true[order],
        "suggested": found.rival[order],
        "p_true": found.own[order],
        "p_suggested": found.against[order],
        "votes_true": votes[order, true[order]],
        "votes_suggested": votes[order, found.rival[order]],
        "votes": votes[order].sum(1),
    }
    for name, values in columns.items():
        table = table.append_column(name, pa.array(values))
    table = table.select(SCHEMA.names).cast(SCHEMA)
    write_parquet(label_errors_file(settings), table, {INPUTS: inputs, "variants": ",".join(names)})
    return table


def read_label_errors(settings: Settings) -> pa.Table:
    """Return the labels in doubt as they were last found.

    Raises:
        DistractedError: They were not looked for yet.
    """
    path = label_errors_file(settings)
    if not path.is_file():
        raise DistractedError(f"{path} does not exist yet. Type: {WHY}")
    return read_table(path)


def by_class(table: pa.Table, classes: int) -> np.ndarray:
    """Return how many labels of each class are in doubt in favour of which, int [true, suggested]."""
    cells = table["true"].to_numpy().astype(int) * classes + table["suggested"].to_numpy()
    return np.bincount(cells, minlength=classes**2).reshape(classes, classes)


def _evidence(predictions: Predictions, names: list[str], imgs: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean probability of each class, [N, class], NaN where nobody predicted, and the trainings' votes."""
    place = {img: i for i, img in enumerate(imgs)}
    total = np.zeros((len(imgs), predictions.classes))
    votes = np.zeros((len(imgs), predictions.classes), np.int64)
    counted = np.zeros(len(imgs), np.int64)
    for name in names:
        for part in predictions.of(name, _SCOPE):
            rows = np.array([place[img] for img in part.img])
            total[rows] += part.mean
            counted[rows] += 1
            for answers in part.answers:
                votes[rows, answers] += 1
    with np.errstate(invalid="ignore"):
        return total / np.where(counted, counted, np.nan)[:, None], votes
