"""Files that appear whole or not at all, and locks that end with the process that holds them.

Every room writes through here. What is written (schemas, formats) belongs to the rooms.
"""

import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from distracted_pipeline.checksums import CHECKSUM, UNSEALED, is_whole, seal
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.standing import require_standing

if TYPE_CHECKING:
    import pyarrow as pa

_TEMPORARY = ".part"
_REFUSALS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM}
_MAKE_WRITABLE = "Make the folder writable, or set DISTRACTED_DATA to one that is."


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path in `path`'s folder; publish it as `path` if the block succeeds.

    The bytes are flushed to disk before the rename, so a crash leaves the old file or the new one.

    Raises:
        DistractedError: The disk is full or read-only; the temporary file is removed.
    """
    create_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{os.getpid()}{_TEMPORARY}")
    try:
        yield temporary
        with temporary.open("rb+") as handle:
            os.fsync(handle.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        in_the_way = isinstance(error, (IsADirectoryError, NotADirectoryError, FileExistsError))
        what = "Move away what is in its place" if in_the_way else "Free some space or make the folder writable"
        raise DistractedError(
            f"cannot write {path}: {_why(error)}{_room(temporary, error)}. {what}, then run the command again; "
            "what was finished is kept."
        ) from error
    finally:
        with suppress(OSError):  # a read-only disk refuses this too, and would hide why nothing was written
            temporary.unlink(missing_ok=True)


def _why(error: OSError) -> str:
    """Return the system's words where a library has wrapped them in its own, else what was said."""
    said, plain = error.strerror or str(error), os.strerror(error.errno) if error.errno else ""
    return plain if plain and plain in said and not said.startswith(plain) else said


def _room(temporary: Path, error: OSError) -> str:
    """Return how much room there was for a file that did not fit, unless the error says so; quotas show none."""
    if error.errno != errno.ENOSPC or "available" in str(error):
        return ""
    with suppress(OSError):
        written = temporary.stat().st_size if temporary.exists() else 0
        return f" ({shutil.disk_usage(temporary.parent).free + written:,} bytes available)"
    return ""


def disk_refusal(error: OSError) -> str | None:
    """Return in words that a disk is full or may not be written to; None where the error is about something else."""
    if error.errno not in _REFUSALS:
        return None
    what = f"cannot write {error.filename}" if error.filename else "the disk refuses"
    return f"{what}: {error.strerror}. Free some space or make the folder writable, then run the command again."


def reserve(path: Path) -> None:
    """Give a file that was made sparse every block of its size: writing through a memory map to a full disk kills.

    Raises:
        OSError: The disk has not that much left; says how much is needed and how much there is.
    """
    size = path.stat().st_size
    try:
        with path.open("rb+") as handle:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(handle.fileno(), 0, size)
                return
            while block := handle.read(1 << 20):
                handle.seek(-len(block), os.SEEK_CUR)
                handle.write(block)
                handle.seek(0, os.SEEK_CUR)  # between writing and reading
    except OSError as error:
        free = shutil.disk_usage(path.parent).free
        why = f"{error.strerror} ({size:,} bytes needed, {free:,} available)"
        raise OSError(error.errno, why) from error


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, UTF-8."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically, indented, keys in the given order; an object is sealed with a checksum, its last key."""
    sealed = isinstance(value, dict)
    if sealed:
        value = {**{key: item for key, item in value.items() if key != CHECKSUM}, CHECKSUM: UNSEALED}
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
        if sealed:
            seal(temporary)


def read_json(path: Path) -> dict[str, Any] | None:
    """Return a JSON object without its seal; None where there is no such file, or where it is damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or not is_whole(path):
        return None
    return {key: value for key, value in found.items() if key != CHECKSUM}


def read_others_json(path: Path) -> dict[str, Any]:
    """Return a JSON object that another program wrote, such as a model's configuration.

    Raises:
        ValueError: It is no JSON, or another kind of value; says so.
        OSError: It is missing, or reading fails.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(found, dict):
        raise ValueError(f"it holds a {type(found).__name__} instead of names with values")
    return found


def write_parquet(
    path: Path, table: "pa.Table", metadata: Mapping[str, str] | None = None, compression: str = "zstd"
) -> None:
    """Write a table atomically, with `metadata` instead of its own, sealed with a checksum."""
    import pyarrow.parquet as pq

    table = table.replace_schema_metadata({**(metadata or {}), CHECKSUM: UNSEALED})
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression=compression)
        seal(temporary)


def sweep_temporaries(folder: Path) -> int:
    """Remove temporaries that a killed writer left in `folder`; return how many.

    Call it only while holding the folder's lock: a live writer's file looks the same.
    """
    stale = list(folder.glob(f".*{_TEMPORARY}")) if folder.is_dir() else []
    for path in stale:
        path.unlink(missing_ok=True)
    return len(stale)


def sweep_dead(folder: Path) -> int:
    """Remove temporaries in and below `folder` whose writer has ended; return how many. No lock is needed.

    Process ids are this machine's: another one that writes into the same folder at the same moment has to write anew.
    """
    stale = [path for path in folder.rglob(f".*{_TEMPORARY}") if not _is_alive(path)]
    for path in stale:
        path.unlink(missing_ok=True)
    return len(stale)


def _is_alive(temporary: Path) -> bool:
    import psutil

    pid = temporary.name.removesuffix(_TEMPORARY).rpartition(".")[2]
    return pid.isdecimal() and psutil.pid_exists(int(pid))


@contextmanager
def locked(path: Path, *, what: str, timeout: float = -1) -> Iterator[None]:
    """Hold the lock file `path` for the duration of the block.

    Args:
        path: Lock file; its folder is created. The kernel releases the lock when the process ends, however it ends.
        what: What is protected, for the message.
        timeout: Seconds to wait for another holder; -1 waits without limit.

    Raises:
        DistractedError: Another process still holds it after `timeout` seconds, or the folder is not writable.
    """
    create_folder(path.parent)
    lock = FileLock(path, timeout=timeout)
    try:
        lock.acquire()
    except Timeout as error:
        raise DistractedError(
            f"{what} is being written by another process (lock {path}). Wait for it to end, then run the command again."
        ) from error
    except OSError as error:
        raise DistractedError(f"cannot lock {path}: {error.strerror or error}. {_MAKE_WRITABLE}") from error
    try:
        yield
    finally:
        lock.release()


def create_folder(folder: Path) -> None:
    """Make a folder and those above it, unless it lies in a data root that has gone meanwhile.

    Raises:
        DistractedError: The data root has gone, or the folder cannot be made.
    """
    require_standing(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DistractedError(f"cannot create {folder}: {error.strerror or error}. {_MAKE_WRITABLE}") from error


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows cannot open a folder; the rename is durable enough there
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
