"""Where things live and which models are used, read once from the environment.

Belongs here: every `DISTRACTED_*` variable and every path derived from the data root.
Does not belong here: options of one op (device, batch size: `options`), options of
one variant (`variants`), and anything that touches the data itself.

Precedence, highest first: process environment, `.env` in the working directory,
`<data root>/settings.env` (models that belong to that data, as the demo's do), defaults.
A variable that starts as ours do and is none is refused, wherever it stands: it would change nothing, in silence.
"""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Final
from urllib.parse import quote

from dotenv import dotenv_values

from distracted_pipeline.advice import did_you_mean
from distracted_pipeline.dataset import DATASET_FILE, STATE_FARM, Dataset
from distracted_pipeline.dataset_file import load_dataset
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.standing import remember
from distracted_pipeline.yaml_text import read_text

DEFAULT_DATA = "data"
DEMO_DATA = "data/demo"
DEFAULT_BACKBONE = "google/efficientnet-b3"
DEFAULT_SEGMENTER = "facebook/mask2former-swin-base-coco-panoptic"
DEFAULT_BASELINE = "top_only"
DEFAULT_WHY_FRAMES = 2
MOST_REPLICATES = 100
"""Predictions number trainings in one byte."""
MOST_SIDE = 8192

FOLDER_PREFIX = "folder:"
ENV_FILE = ".env"
DATA_SETTINGS_FILE = "settings.env"
RAW_CSV = "driver_imgs_list.csv"

PREFIX: Final = "DISTRACTED_"

PER_GPU: Final = "DISTRACTED_PER_GPU"
"""How many processes may use the same GPU at once."""

OF_A_PROCESS: Final = (
    "DISTRACTED_BACKFILL",
    "DISTRACTED_DATA",
    "DISTRACTED_EXECUTOR",
    "DISTRACTED_GPU_LEASES",
    PER_GPU,
    "DISTRACTED_STORE",
)
"""Variables that say where and how a process works; a data root's own file says nothing about them."""

OF_A_DATA_ROOT: Final = (
    "DISTRACTED_BACKBONE",
    "DISTRACTED_BASELINE",
    "DISTRACTED_MLFLOW",
    "DISTRACTED_NIGHTLY",
    "DISTRACTED_REPLICATES",
    "DISTRACTED_SEGMENTER",
    "DISTRACTED_SEGMENTER_SIZE",
    "DISTRACTED_SYNTHETIC",
    "DISTRACTED_VARIANTS",
    "DISTRACTED_WHY_FRAMES",
)

VARIABLES: Final = tuple(sorted(OF_A_PROCESS + OF_A_DATA_ROOT))

_NOT_OURS: Final = re.compile(r"DISTRACTED_(TEST_.*|.*_SERVICE_HOST|.*_SERVICE_PORT(_.*)?|.*_PORT(_\d+_.*)?)")
"""What the tests read, and what Kubernetes puts into every container beside a service called `distracted-...`."""


@dataclass(frozen=True)
class Settings:
    """One data root and the models that work on it.

    Attributes:
        data: The data root, absolute. It holds the raw data, as Kaggle ships it or as `dataset.yaml` describes it, and
            everything that is derived from it.
        backbone: Hugging Face id or local folder of the image classifier that variants build on.
        segmenter: Hugging Face id or local folder of a segmentation model, or `folder:PATH` for masks
            that exist already (PATH relative to the data root).
        segmenter_size: Side in pixels of the square images that the model is fed, or their shorter side; None leaves it
            to the model.
        variants_file: The user's own variant catalogue, merged over the shipped one.
        baseline: Variant that others are compared with, unless they name a control of their own.
        replicates: Trainings of every variant on each fold; None leaves it to the variants.
        why_frames: Frames of each driver and class that `distracted why` alters, of each thing that they can show.
        mlflow: Address of an MLflow tracking server; empty is a SQLite file in the data root.
        nightly: Cron line of the automation, which is off where it is empty.
        synthetic: True where the frames are drawn, not photographed; reports say so.
        dataset: Which data set it is: classes, mask categories, known drivers, where labels are read from.
        notes: Choices made here that a reader should know about.
    """

    data: Path
    backbone: str = DEFAULT_BACKBONE
    segmenter: str = DEFAULT_SEGMENTER
    segmenter_size: int | None = None
    variants_file: Path | None = None
    baseline: str = DEFAULT_BASELINE
    replicates: int | None = None
    why_frames: int = DEFAULT_WHY_FRAMES
    mlflow: str = ""
    nightly: str = ""
    synthetic: bool = False
    dataset: Dataset = STATE_FARM
    notes: tuple[str, ...] = field(default=())

    @property
    def csv(self) -> Path:
        """Kaggle's list of `subject,classname,img`; other data sets have none."""
        return self.data / RAW_CSV

    @property
    def manifest(self) -> Path:
        """One row per image, written by `images`."""
        return self.data / "images.parquet"

    @property
    def subjects_file(self) -> Path:
        """One subject on each line: the partitions of `subject_masks` and `features`."""
        return self.data / "subjects.txt"

    @property
    def masks(self) -> Path:
        """Mask caches, one folder per fingerprint."""
        return self.data / "masks"

    @property
    def features(self) -> Path:
        """Backbone taps, one folder per fingerprint."""
        return self.data / "features"

    @property
    def models(self) -> Path:
        """Trained variants: `<variant>/<fold>/<replicate>/`."""
        return self.data / "models"

    @property
    def kernels(self) -> Path:
        """What `torch.compile` made for this machine, for the next process to find; can be deleted."""
        return self.data / "kernels"

    @property
    def predictions(self) -> Path:
        """Held-out probabilities: `<variant>/<fold>.parquet`."""
        return self.data / "predictions"

    @property
    def evaluation(self) -> Path:
        """Class-wise tables and CAMs."""
        return self.data / "evaluation"

    @property
    def reports(self) -> Path:
        """Static sites: `<report_id>/index.html` and `latest`."""
        return self.data / "reports"

    @property
    def submissions(self) -> Path:
        """Kaggle CSVs, one per variant."""
        return self.data / "submissions"

    @property
    def mlflow_uri(self) -> str:
        """Tracking store; `cd <data> && mlflow ui` finds the same file where the store is in the data root.

        A path that a URI cannot hold as it is (`?`, `#`, `%`) is escaped; MLflow does not know that spelling and would
        create a folder of that name, but for the driver in the scheme.
        """
        if self.mlflow:
            return self.mlflow
        path = self.mlflow_database.as_posix()
        plain = not set(path) & set("?#%")
        return f"sqlite:///{path}" if plain else f"sqlite+pysqlite:///{quote(path)}"

    @property
    def mlflow_database(self) -> Path:
        """The file of the tracking store, where the store is in the data root."""
        return self.data / "mlflow.db"

    @property
    def mlflow_artifacts(self) -> Path:
        """Artifacts of the tracking store."""
        return self.data / "mlartifacts"

    def subjects(self) -> list[str]:
        """Return the subjects that ingest found, else the drivers that the data set is known to have.

        Standard library only: this runs whenever Dagster loads the definitions.
        """
        try:
            lines = self.subjects_file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError):  # lost or damaged: `images` writes it anew
            lines = []
        return [line.strip() for line in lines if line.strip()] or list(self.dataset.drivers)


def load_settings(environ: Mapping[str, str] | None = None, data: str | Path | None = None) -> Settings:
    """Return the settings in force in this process; a missing data root is for `images` to report.

    Args:
        environ: Stands in for `os.environ`, for tests.
        data: Data root that overrides every other source (the CLI's `--data`).
    """
    env = _environment(environ)
    root, notes = _data_root(env, data)
    remember(root)
    own = read_env_file(root / DATA_SETTINGS_FILE)
    _check_names(own, str(root / DATA_SETTINGS_FILE), OF_A_DATA_ROOT)
    env = {**own, **env}
    _count(PER_GPU, env)  # read only once a GPU is claimed, long after work has begun
    variants = env.get("DISTRACTED_VARIANTS", "").strip()
    return Settings(
        data=root,
        backbone=_model(env.get("DISTRACTED_BACKBONE", "") or DEFAULT_BACKBONE, root),
        segmenter=_model(env.get("DISTRACTED_SEGMENTER", "") or DEFAULT_SEGMENTER, root),
        segmenter_size=_count("DISTRACTED_SEGMENTER_SIZE", env, MOST_SIDE),
        variants_file=_file(variants, root) if variants else None,
        baseline=env.get("DISTRACTED_BASELINE", "") or DEFAULT_BASELINE,
        replicates=_count("DISTRACTED_REPLICATES", env, MOST_REPLICATES),
        why_frames=_count("DISTRACTED_WHY_FRAMES", env) or DEFAULT_WHY_FRAMES,
        mlflow=_server(env.get("DISTRACTED_MLFLOW", "").strip()),
        nightly=env.get("DISTRACTED_NIGHTLY", "").strip(),
        synthetic=_switch("DISTRACTED_SYNTHETIC", env),
        dataset=load_dataset(root),
        notes=notes,
    )


def variable(name: str) -> str:
    """Return one of `OF_A_PROCESS`, from the environment, else `.env`; empty where it is not set."""
    return (os.environ.get(name) or read_env_file(Path(ENV_FILE)).get(name, "")).strip()


def count_of(name: str) -> int | None:
    """Return the number that one of `OF_A_PROCESS` is, None where it is not set.

    Raises:
        DistractedError: It is no whole number from 1 to a million.
    """
    return _count(name, {name: variable(name)})


def _environment(environ: Mapping[str, str] | None) -> dict[str, str]:
    """Return the environment over `.env`, after a look at the names in both."""
    env, file = dict(os.environ if environ is None else environ), read_env_file(Path(ENV_FILE))
    _check_names(env, "the environment", VARIABLES)
    _check_names(file, ENV_FILE, VARIABLES)
    return {**file, **env}


def _check_names(env: Mapping[str, str], where: str, known: Iterable[str]) -> None:
    """Fail at a variable that starts as ours do and is none that is read from there."""
    for name in env:
        if not name.upper().startswith(PREFIX) or name in known or _NOT_OURS.fullmatch(name):
            continue
        if name in VARIABLES:
            raise DistractedError(f"{where} sets {name}, which is read from the environment or .env only: move it.")
        meant = did_you_mean(name.upper().removeprefix(PREFIX), [each.removeprefix(PREFIX) for each in known])
        meant = meant.replace("mean ", f"mean {PREFIX}") or f" The settings are {', '.join(known)}."
        raise DistractedError(
            f"{where} sets {name}, which is no setting and would change nothing.{meant} Correct it or remove it."
        )


def has_data(root: Path) -> bool:
    """Tell whether a data root holds raw data (folder, csv or zip), says what data it holds, or has a manifest.

    Folders in other places than Kaggle's count too: whoever reads them says where they belong.
    """
    return (
        any((root / name).is_dir() for name in ("imgs", "train"))
        or any(not (folder.parent / DATA_SETTINGS_FILE).is_file() for folder in root.glob("*/imgs"))
        or (root / DATASET_FILE).is_file()
        or (root / RAW_CSV).is_file()
        or (root / "images.parquet").is_file()
        or any(root.glob("*.zip"))
    )


def default_root(environ: Mapping[str, str]) -> Path:
    """Return the data root of a command that names none, in this environment."""
    return _data_root(_environment(environ), None)[0]


def _data_root(env: Mapping[str, str], data: str | Path | None) -> tuple[Path, tuple[str, ...]]:
    chosen = data or env.get("DISTRACTED_DATA", "").strip()
    if chosen:
        return expand_home(chosen, "the data root").resolve(), ()
    if not has_data(Path(DEFAULT_DATA)) and has_data(Path(DEMO_DATA)):
        note = f"{DEFAULT_DATA}/ holds no images yet: working on the demo in {DEMO_DATA}/ (DISTRACTED_DATA chooses)"
        return Path(DEMO_DATA).resolve(), (note,)
    return Path(DEFAULT_DATA).resolve(), ()


def _file(name: str, root: Path) -> Path:
    """Return a file as an absolute path, relative to the data root if it is there, else to the working directory."""
    return (root / name if (root / name).is_file() else expand_home(name, "DISTRACTED_VARIANTS")).resolve()


def read_env_file(path: Path) -> dict[str, str]:
    """Return what a file such as `.env` sets; nothing where there is no such file.

    Raises:
        DistractedError: It is there and cannot be read.
    """
    try:
        found = dotenv_values(stream=StringIO(read_text(path)))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise DistractedError(f"{path} cannot be read ({error.strerror}). Correct it or move it away.") from error
    return {key: value for key, value in found.items() if value is not None}


def expand_home(name: str | Path, what: str) -> Path:
    """Return a path with `~` and `~name` put in place.

    Raises:
        DistractedError: There is no such person here.
    """
    try:
        return Path(name).expanduser()
    except RuntimeError as error:
        raise DistractedError(
            f"{what} is {str(name)!r}, and nobody here is called so: write the whole path."
        ) from error


def _count(variable: str, env: Mapping[str, str], most: int = 10**6) -> int | None:
    """Return a variable's number, None where it is not set.

    Raises:
        DistractedError: It is no whole number from 1 to `most`.
    """
    text = env.get(variable, "").strip()
    if not text:
        return None
    if not text.isdecimal() or len(text) > len(str(most)) or not 0 < int(text) <= most:
        limits = "above 0" if len(text) < len(str(most)) else f"from 1 to {most:,}"
        raise DistractedError(f"{variable} is {text[:40]!r}: set it to a whole number {limits}, or unset it.")
    return int(text)


def _switch(variable: str, env: Mapping[str, str]) -> bool:
    """Return whether a variable is 1; anything but 1 and 0 is a slip that would count as no.

    Raises:
        DistractedError: It is neither.
    """
    text = env.get(variable, "").strip()
    if text not in ("", "0", "1"):
        raise DistractedError(f"{variable} is {text!r}: set it to 1 or 0, or unset it.")
    return text == "1"


def _server(address: str) -> str:
    """Return the address of an MLflow server, or of a database.

    Raises:
        DistractedError: It has no scheme (MLflow would take it for a folder), nothing behind it, or names a database in
            memory or a folder of files, in which MLflow would keep nothing.
    """
    if not address or address.startswith("databricks"):
        return address
    kind, scheme, rest = address.partition("://")
    if not scheme:
        raise DistractedError(f"DISTRACTED_MLFLOW is {address!r}: write the whole address, such as http://{address}.")
    why = ""
    if kind.startswith("sqlite") and (not rest.strip("/ ") or ":memory:" in rest or "mode=memory" in rest):
        why = "names a database in memory, which ends with the process"
    elif kind == "file":
        why = "names a folder, in which MLflow keeps no runs any more"
    elif not rest.strip("/ "):
        why = "names no server"
    if why:
        raise DistractedError(
            f"DISTRACTED_MLFLOW is {address!r} and {why}: write the address of a server (http://127.0.0.1:5000) or of "
            "a database (sqlite:////srv/mlflow.db), or unset it to keep the runs in the data root."
        )
    return address


def _model(name: str, root: Path) -> str:
    """Make local folders absolute (relative to the data root, then the working directory); keep hub ids."""
    prefix = FOLDER_PREFIX if name.startswith(FOLDER_PREFIX) else ""
    bare = name.removeprefix(FOLDER_PREFIX)
    for candidate in (root / bare, expand_home(bare, "a model")):
        if candidate.is_dir():
            return f"{prefix}{candidate.resolve()}"
    return name
