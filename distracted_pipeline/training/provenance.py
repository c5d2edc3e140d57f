"""Which code made a result: the commit of the checkout it ran from, and the package's version.

Plain file reading: no git executable is needed, and outside a checkout there simply is no commit.
"""

import os
import re
import socket
from pathlib import Path

import distracted_pipeline

_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")


def code_tags() -> dict[str, str]:
    """Return MLflow tags that name the code: the package's version, and the commit where there is one."""
    checkout = Path(distracted_pipeline.__file__).resolve().parents[1]
    commit = git_commit(checkout)
    return {
        "mlflow.source.name": f"distracted_pipeline {distracted_pipeline.__version__}",
        "package_version": distracted_pipeline.__version__,
        **({"mlflow.source.git.commit": commit} if commit else {}),
    }


def git_commit(checkout: Path) -> str | None:
    """Return the commit that a folder has checked out; None if it is not the root of a checkout.

    Folders above it are not asked: an environment inside somebody's repository is not that repository.
    """
    try:
        git = _git_folder(checkout)
        head = _read(git / "HEAD")
        if not head.startswith("ref: "):
            return _valid(head)
        reference = head.removeprefix("ref: ")
        # A worktree keeps its HEAD to itself and shares the references.
        common = git / _read(git / "commondir") if (git / "commondir").is_file() else git
        if (common / reference).is_file():
            return _valid(_read(common / reference))
        packed = _read(common / "packed-refs").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    return next((_valid(line.split()[0]) for line in packed if line.endswith(f" {reference}")), None)


def process_tags(root: Path) -> dict[str, str]:
    """Return tags that say which process on which host, over which data root, has a run open."""
    return {
        "distracted.root": str(root),
        "distracted.host": socket.gethostname(),
        "distracted.pid": str(os.getpid()),
        "distracted.process_started": _started(os.getpid()) or "",
    }


def is_gone(tags: dict[str, str]) -> bool:
    """Tell whether the process of `process_tags` ran on this host and has ended; False where nobody can know."""
    if tags.get("distracted.host") != socket.gethostname() or not tags.get("distracted.pid", "").isdigit():
        return False
    # A number is given out again: the same process is the one that also started at the same time.
    return _started(int(tags["distracted.pid"])) != tags.get("distracted.process_started")


def _started(pid: int) -> str | None:
    import psutil

    try:
        return f"{psutil.Process(pid).create_time():.0f}"
    except psutil.Error:
        return None


def _git_folder(checkout: Path) -> Path:
    git = checkout / ".git"
    if git.is_dir():
        return git
    return checkout / _read(git).removeprefix("gitdir: ")  # a worktree's or submodule's pointer


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8").strip()


def _valid(text: str) -> str | None:
    return text if _COMMIT.fullmatch(text) else None
