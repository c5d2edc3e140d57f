"""What code and which process a run belongs to, read from plain files and the process table."""

import os
import subprocess
import sys
from pathlib import Path

import distracted_pipeline
from distracted_pipeline.training.provenance import code_tags, git_commit, is_gone, process_tags

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def test_the_commit_is_found_in_a_loose_reference_a_packed_one_and_a_detached_head(tmp_path: Path) -> None:
    git = tmp_path / ".git"
    (git / "refs" / "heads").mkdir(parents=True)
    (git / "HEAD").write_text("ref: refs/heads/main\n")
    (git / "refs" / "heads" / "main").write_text(f"{COMMIT}\n")
    assert git_commit(tmp_path) == COMMIT
    (git / "refs" / "heads" / "main").unlink()
    (git / "packed-refs").write_text(
        f"# pack-refs with: peeled\n{'f' * 40} refs/heads/maintenance\n{COMMIT} refs/heads/main\n"
    )
    assert git_commit(tmp_path) == COMMIT
    (git / "HEAD").write_text(f"{COMMIT[::-1]}\n")
    assert git_commit(tmp_path) == COMMIT[::-1]


def test_a_worktree_shares_the_references_of_its_repository(tmp_path: Path) -> None:
    own = tmp_path / "repo" / ".git" / "worktrees" / "side"
    own.mkdir(parents=True)
    (own / "HEAD").write_text("ref: refs/heads/side\n")
    (own / "commondir").write_text("../..\n")
    heads = tmp_path / "repo" / ".git" / "refs" / "heads"
    heads.mkdir(parents=True)
    (heads / "side").write_text(COMMIT)
    (tmp_path / "side").mkdir()
    (tmp_path / "side" / ".git").write_text(f"gitdir: {own}\n")
    assert git_commit(tmp_path / "side") == COMMIT


def test_outside_a_checkout_or_in_a_damaged_one_there_is_no_commit(tmp_path: Path) -> None:
    assert git_commit(tmp_path) is None
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "HEAD").write_text("ref: refs/heads/unborn\n")
    assert git_commit(tmp_path) is None
    (tmp_path / ".git" / "HEAD").write_bytes(b"\xff\xfe nonsense")
    assert git_commit(tmp_path) is None
    inside = tmp_path / "venv" / "site-packages"  # somebody's repository is not ours
    inside.mkdir(parents=True)
    (tmp_path / ".git" / "HEAD").write_text(COMMIT)
    assert git_commit(inside) is None


def test_the_version_is_always_known() -> None:
    assert code_tags()["package_version"] == distracted_pipeline.__version__


def test_only_a_process_of_this_host_that_ended_is_gone(tmp_path: Path) -> None:
    tags = process_tags(tmp_path)
    assert not is_gone(tags)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert is_gone({**tags, "distracted.pid": str(ended.pid)})
    assert is_gone({**tags, "distracted.process_started": "12345"})  # the number was given out again
    assert not is_gone({**tags, "distracted.pid": str(ended.pid), "distracted.host": "another"})
    assert not is_gone({})
    assert tags["distracted.pid"] == str(os.getpid())
