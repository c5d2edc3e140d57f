"""Folds and scopes have one name each; the names of earlier versions are understood."""

from pathlib import Path

import pytest

from distracted_pipeline.scopes import CROSS_FOLDS, FOLDS, ORIGINAL_FOLD, SCOPES, canonical_fold, fold_path


def test_every_scope_reports_folds_that_there_are() -> None:
    assert list(SCOPES) == ["oof", "test", "dev"]
    assert all(set(scope.folds) <= set(FOLDS) and scope.name == name for name, scope in SCOPES.items())
    assert SCOPES["oof"].folds == CROSS_FOLDS
    assert SCOPES["test"].folds == SCOPES["dev"].folds == (ORIGINAL_FOLD,)


def test_the_fold_that_was_called_seed_is_the_original_one() -> None:
    assert canonical_fold("seed") == "original"
    assert [canonical_fold(name) for name in FOLDS] == list(FOLDS)


@pytest.mark.parametrize("suffix", ["", ".parquet"])
def test_a_file_of_an_earlier_version_is_taken_until_there_is_a_new_one(tmp_path: Path, suffix: str) -> None:
    new, former = tmp_path / f"original{suffix}", tmp_path / f"seed{suffix}"
    assert fold_path(tmp_path, "original", suffix) == new
    former.touch()
    assert fold_path(tmp_path, "original", suffix) == former
    new.touch()
    assert fold_path(tmp_path, "original", suffix) == new


def test_cross_folds_have_no_earlier_names(tmp_path: Path) -> None:
    (tmp_path / "seed").touch()
    assert fold_path(tmp_path, "0") == tmp_path / "0"
