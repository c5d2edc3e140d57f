"""What code and which process a run belongs to, asked of git and of the process table."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import distracted_pipeline
from distracted_pipeline.training.provenance import code_tags, git_commit, is_gone, this_process

AUTHOR = ("-c", "user.name=Nobody", "-c", "user.email=nobody@example.org")


def git(folder: Path, *arguments: str) -> str:
    """Run git in a folder and return what it says."""
    done = subprocess.run(["git", *AUTHOR, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with one commit."""
    folder = tmp_path / "repo"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "commit", "--quiet", "--allow-empty", "-m", "first")
    return folder


def test_the_commit_is_found_in_a_loose_reference_a_packed_one_and_a_detached_head(checkout: Path) -> None:
    commit = git(checkout, "rev-parse", "HEAD")
    assert git_commit(checkout) == commit
    git(checkout, "pack-refs", "--all")
    assert not (checkout / ".git" / "refs" / "heads" / "main").exists()
    assert git_commit(checkout) == commit
    git(checkout, "commit", "--quiet", "--allow-empty", "-m", "second")
    assert git_commit(checkout) == git(checkout, "rev-parse", "HEAD") != commit
    git(checkout, "checkout", "--quiet", "--detach", commit)
    assert git_commit(checkout) == commit


def test_a_worktree_shares_the_references_of_its_repository(checkout: Path) -> None:
    side = checkout.parent / "side"
    git(checkout, "worktree", "add", "--quiet", "-b", "side", str(side))
    git(side, "commit", "--quiet", "--allow-empty", "-m", "beside")
    assert git_commit(side) == git(checkout, "rev-parse", "side") != git_commit(checkout)


def test_outside_a_checkout_or_in_a_damaged_one_there_is_no_commit(checkout: Path, tmp_path: Path) -> None:
    assert git_commit(tmp_path) is None
    inside = checkout / "venv" / "site-packages"  # somebody's repository is not ours
    inside.mkdir(parents=True)
    assert git_commit(inside) is None
    git(inside, "init", "--quiet")
    assert git_commit(inside) is None  # no commit yet, and none of the repository around it
    (inside / ".git" / "HEAD").write_bytes(b"\xff\xfe nonsense")
    assert git_commit(inside) is None
    git(checkout, "rev-parse", "HEAD")


def test_without_a_git_executable_there_is_no_commit(checkout: Path, tmp_path: Path) -> None:
    code = f"from distracted_pipeline.training.provenance import *; print(git_commit(Path({str(checkout)!r})))"
    environment = {**os.environ, "PATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "None"


def test_the_commit_is_found_in_somebody_elses_checkout(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")  # git's own: as if another user had made it
    assert git_commit(checkout) is not None


def test_the_version_is_always_known() -> None:
    assert code_tags()["package_version"] == distracted_pipeline.__version__


def test_only_a_process_of_this_host_that_ended_is_gone() -> None:
    tags = this_process()
    assert not is_gone(tags)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert is_gone({**tags, "distracted.pid": str(ended.pid)})
    assert is_gone({**tags, "distracted.process_started": "12345"})  # the number was given out again
    assert not is_gone({**tags, "distracted.pid": str(ended.pid), "distracted.host": "another"})
    assert not is_gone({})
    assert tags["distracted.pid"] == str(os.getpid())
