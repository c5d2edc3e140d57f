"""Which code and which process made a result: package version, commit of the checkout, host and process.

GitPython comes with MLflow and runs git. Without a git executable, or outside a checkout, there is no commit.
"""

import os
import socket
from pathlib import Path

import distracted_pipeline

PROCESS = "distracted.pid"
"""Tag with the id of the process that has a run open."""


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
    """Return the commit that a folder has checked out; None if it is not the root of a checkout, or git is missing.

    Folders above it are not asked: an environment inside somebody's repository is not that repository.
    """
    try:
        import git
    except ImportError:  # GitPython looks for the executable when it is imported
        return None
    try:
        with git.Repo(checkout) as repo:
            # With its folder named, git neither looks for a repository above nor asks who owns this one.
            return str(repo.git(git_dir=repo.git_dir).rev_parse("--verify", "HEAD"))
    except git.GitError:  # no repository, no commit yet, or a damaged one
        return None


def this_process() -> dict[str, str]:
    """Return tags that say which process on which host has a run open."""
    return {
        "distracted.host": socket.gethostname(),
        PROCESS: str(os.getpid()),
        "distracted.process_started": _started(os.getpid()) or "",
    }


def is_gone(tags: dict[str, str]) -> bool:
    """Tell whether the process of `this_process` ran on this host and has ended; False where nobody can know."""
    if tags.get("distracted.host") != socket.gethostname() or not tags.get(PROCESS, "").isdigit():
        return False
    # Process ids are reused: it is the same process only if it started at the same time.
    return _started(int(tags[PROCESS])) != tags.get("distracted.process_started")


def _started(pid: int) -> str | None:
    import psutil

    try:
        return f"{psutil.Process(pid).create_time():.0f}"
    except psutil.Error:
        return None
