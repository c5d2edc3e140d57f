"""A data root shared through an object store: pull what an op reads, push what it wrote.

The rooms work on local files (memory maps, locks, renames), on one machine or on NFS. Where workers share no disk,
`DISTRACTED_STORE` names a place they do share (`s3://bucket/prefix`, `gs://…`, `file:///…`), and each op brings its
inputs here first and its outputs there afterwards. A store has no rename: files go up in the order in which the rooms
wrote them, so whatever names the others (an index, a checkpoint's `config.json`) goes up last, and a reader that
finds it finds everything. Does not belong here: what the files hold.
"""

import fnmatch
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from distracted_pipeline.dataset import DATASET_FILE, Dataset
from distracted_pipeline.dataset_file import load_dataset
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.files import atomic_path, locked, read_json, write_json
from distracted_pipeline.progress import Log
from distracted_pipeline.settings import DATA_SETTINGS_FILE, RAW_CSV, Settings, variable

if TYPE_CHECKING:
    from pyarrow.fs import FileInfo

VARIABLE = "DISTRACTED_STORE"
_STATE = ".store.json"
_S3_CREDENTIALS = "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION"
_COMMITS = (
    "index.json",
    "config.json",
    "rows.parquet",
    "effects.parquet",
    "class_accuracy.parquet",
    "images.parquet",
    "index.html",
)
"""Files that say that the files beside or below them are complete, by name; they travel last."""

_CONFIGURATION = (DATA_SETTINGS_FILE, "variants.yaml", DATASET_FILE)
"""What says how to read the rest; travels before anything else."""

_RAW = "<raw data>"
"""Stands for the patterns of `raw_places`, which depend on the data set."""

RAW = (*_CONFIGURATION, "label_decisions.csv", _RAW)
_RECHECK = "images_recheck.json"
_MANIFEST = ("images.parquet", "subjects.txt", "images_problems.json", "images_state.parquet")

READS: dict[str, tuple[str, ...]] = {
    "images": (*RAW, *_MANIFEST, "images_neighbours.parquet", _RECHECK),
    "subject_masks": (*RAW, *_MANIFEST, "masks/*/*.json", "masks/*/subject={partition}"),
    "masks": (*RAW, *_MANIFEST, "masks"),
    "features": (*RAW, *_MANIFEST, "features/*/*.json", "features/*/subject={partition}"),
    "trained_model": (*RAW, *_MANIFEST, "masks", "features", "models"),
    "predictions": (*RAW, *_MANIFEST, "masks", "features", "models", "predictions"),
    "submission": (*RAW, *_MANIFEST, "masks", "models"),
    "class_accuracy": (*_MANIFEST, "models", "predictions"),
    "gradcam": (*RAW, *_MANIFEST, "masks", "features", "models", "predictions"),
    **dict.fromkeys(
        ("counterfactuals", "mask_ablation", "robustness"),
        (*RAW, *_MANIFEST, "masks", "features", "models", "predictions", "evaluation/why"),
    ),
    "champion": (*_MANIFEST, "models", "predictions", "evaluation"),
    "leak_premium": (*RAW, *_MANIFEST, "features", "predictions", "evaluation"),
    "driver_subspace": (*RAW, *_MANIFEST, "features", "evaluation"),
    "label_errors": (*_CONFIGURATION, *_MANIFEST, "predictions", "evaluation"),
    "report": (*RAW, *_MANIFEST, "masks", "models", "predictions", "evaluation"),
}
"""What each asset reads, as patterns below the data root; a folder stands for everything in it."""

WRITES: dict[str, tuple[str, ...]] = {
    "images": (*RAW, *_MANIFEST, "images_neighbours.parquet"),  # whoever reads the raw data in shares it
    "subject_masks": ("masks", _RECHECK),
    "masks": ("masks", _RECHECK),
    "features": ("features", _RECHECK),
    "trained_model": ("models",),
    "predictions": ("predictions",),
    "submission": ("submissions",),
    "class_accuracy": ("evaluation",),
    "gradcam": ("evaluation",),
    **dict.fromkeys(("counterfactuals", "mask_ablation", "robustness"), ("evaluation/why",)),
    "champion": (),
    "leak_premium": ("evaluation",),
    "label_errors": ("evaluation",),
    "driver_subspace": ("evaluation",),
    "report": ("reports",),
}
"""What each asset writes; what MLflow keeps travels through its own server."""


@dataclass(frozen=True)
class Moved:
    """Files and bytes that went one way."""

    files: int = 0
    bytes: int = 0

    def __str__(self) -> str:
        return f"{self.files:,} files, {self.bytes / 2**20:.1f} MiB"


class Store:
    """One place in an object store that mirrors a data root.

    Args:
        data: The local data root.
        uri: The place, as pyarrow's file systems write it.

    Raises:
        DistractedError: The URI cannot be opened.
    """

    def __init__(self, data: Path, uri: str) -> None:
        self.data, self.uri = data, uri
        try:
            from pyarrow.fs import FileSystem, SubTreeFileSystem

            place, prefix = FileSystem.from_uri(uri)
            self._fs = SubTreeFileSystem(prefix, place)
        except (OSError, ValueError) as error:  # ArrowInvalid is a ValueError
            raise DistractedError(
                f"{VARIABLE}={uri} cannot be opened: {_first_line(error)}. "
                "Write s3://bucket/prefix, gs://bucket/prefix or file:///folder."
            ) from error

    def push(self, patterns: Sequence[str]) -> Moved:
        """Copy files that the store lacks or that changed here since they last travelled, commits last."""
        with self._state() as state, self._explained("written to"):
            chosen = [
                path
                for path in _local_files(self.data, patterns)
                if state.get(path, ["", ""])[0] != _stamp(self.data / path)
            ]
            for folder in sorted({str(PurePosixPath(path).parent) for path in chosen} - {"."}):
                self._fs.create_dir(folder)
            size = 0
            for path in chosen:
                with self._fs.open_output_stream(path) as target, (self.data / path).open("rb") as source:
                    while block := source.read(1 << 22):
                        target.write(block)
                        size += len(block)
                state[path] = [_stamp(self.data / path), _remote_stamp(self._fs.get_file_info(path))]
        return Moved(len(chosen), size)

    def pull(self, patterns: Sequence[str]) -> Moved:
        """Copy files that are missing here or that changed in the store since they last travelled, commits last."""
        with self._state() as state, self._explained("read from"):
            size = 0
            chosen = [
                info
                for info in self._remote_files(patterns)
                if state.get(info.path, ["", ""])[1] != _remote_stamp(info) or not (self.data / info.path).exists()
            ]
            for info in chosen:
                with (
                    atomic_path(self.data / info.path) as temporary,
                    self._fs.open_input_stream(info.path) as source,
                    temporary.open("wb") as target,
                ):
                    while block := source.read(1 << 22):
                        target.write(block)
                        size += len(block)
                state[info.path] = [_stamp(self.data / info.path), _remote_stamp(info)]
        return Moved(len(chosen), size)

    def _remote_files(self, patterns: Sequence[str]) -> list["FileInfo"]:
        from pyarrow.fs import FileSelector, FileType

        top = self._fs.get_file_info(FileSelector("", allow_not_found=True))
        found = {info.path: info for info in top}
        for folder in top:
            if folder.type == FileType.Directory and any(_leads_to(folder.path, pattern) for pattern in patterns):
                inside = self._fs.get_file_info(FileSelector(folder.path, recursive=True))
                found |= {info.path: info for info in inside}
        files = [i for i in found.values() if i.type == FileType.File and any(_is_below(i.path, p) for p in patterns)]
        return sorted(files, key=lambda info: _order(info.path))

    @contextmanager
    def _state(self) -> Iterator[dict[str, list[str]]]:
        """Yield what travelled before: path -> [local stamp, remote stamp]; kept also when the block fails."""
        path = self.data / _STATE
        with locked(self.data / ".store.lock", what=f"the mirror of {self.uri}"):
            known = read_json(path) or {}
            state = known.get("files", {}) if known.get("store") == self.uri else {}
            try:
                yield state
            finally:
                write_json(path, {"store": self.uri, "files": state})

    @contextmanager
    def _explained(self, direction: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise DistractedError(
                f"{VARIABLE}={self.uri} cannot be {direction}: {_first_line(error)}. Check the address, network and "
                f"the credentials (for S3: {_S3_CREDENTIALS}), then type the command again; what has travelled is kept."
            ) from error


def open_store(settings: Settings) -> Store | None:
    """Return the store that `DISTRACTED_STORE` names; None where there is none."""
    uri = variable(VARIABLE)
    return Store(settings.data, uri) if uri else None


def raw_places(dataset: Dataset) -> tuple[str, ...]:
    """Return where the raw data lies, as patterns below the data root."""
    labels = dataset.labels
    if labels.reader == "kaggle":
        return "imgs", RAW_CSV, "*.zip"
    folders = [name for name, _ in labels.label_ids] or list(dataset.class_ids)
    return (*([labels.root] if labels.root else folders), *labels.files)


@contextmanager
def mirrored(settings: Settings, asset: str, partition: str = "*", *, log: Log) -> Iterator[None]:
    """Bring an asset's inputs here before the block and its outputs to the store after it, also when it fails.

    What an op finished before it failed counts as much as all else: the rooms publish only whole files. A run of many
    partitions brings those of all (`*`).

    Raises:
        DistractedError: The store does not answer, or the data set does not say where its frames lie.
    """
    store = open_store(settings)
    if store is None:
        yield
        return
    store.pull(_CONFIGURATION)
    dataset = load_dataset(settings.data)
    if dataset.labels.reader == "list" and not dataset.labels.root:
        raise DistractedError(
            f"{settings.data / DATASET_FILE}: labels: root is empty, so {VARIABLE} cannot tell the frames from other "
            "files in the data root. Put the frames into a folder and name it as root."
        )
    wanted = [pattern.format(partition=partition) for pattern in _spelled_out(READS[asset], dataset)]
    log(f"from {store.uri}: {store.pull(wanted)}")
    try:
        yield
    finally:
        log(f"to {store.uri}: {store.push(_spelled_out(WRITES[asset], dataset))}")


def _spelled_out(patterns: Sequence[str], dataset: Dataset) -> list[str]:
    return [place for pattern in patterns for place in (raw_places(dataset) if pattern == _RAW else (pattern,))]


def _local_files(data: Path, patterns: Sequence[str]) -> list[str]:
    found = []
    for pattern in patterns:
        for top in data.glob(pattern):
            # os.walk rather than rglob: `imgs` may be a link to where the photos lie.
            below = [Path(folder) / name for folder, _, names in os.walk(top) for name in names]
            found += [path.relative_to(data).as_posix() for path in ([top] if top.is_file() else below)]
    return sorted({path for path in found if not PurePosixPath(path).name.startswith(".")}, key=_order)


def _is_below(path: str, pattern: str) -> bool:
    """Tell whether a file is what a pattern names, or lies below it."""
    parts, wanted = path.split("/"), pattern.split("/")
    return len(parts) >= len(wanted) and all(map(fnmatch.fnmatchcase, parts, wanted))


def _leads_to(folder: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(folder, pattern.split("/")[0])


def _order(path: str) -> tuple[bool, int, str]:
    """Data before commits; among commits the deeper before the ones that name them."""
    commit = PurePosixPath(path).name in _COMMITS
    return commit, -path.count("/") if commit else 0, path


def _stamp(path: Path) -> str:
    stat = path.stat()
    return f"{stat.st_size}:{stat.st_mtime_ns}"


def _remote_stamp(info: "FileInfo") -> str:
    return f"{info.size}:{info.mtime_ns}"


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
