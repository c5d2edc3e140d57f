"""What a person types, as far as no room answers it."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from distracted_pipeline.assets.partitions import variant_fold_partitions
from distracted_pipeline.cli import main


def typed(*words: str) -> Result:
    return CliRunner().invoke(main, list(words))


def test_the_former_name_of_the_original_fold_is_understood_with_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTRACTED_DATA", str(tmp_path / "data"))
    said = typed("run", "--fold", "seed", "--variant", "top_onyl")
    assert "note: fold seed is called original now" in said.stderr
    assert "no variant top_onyl" in said.stderr


def test_an_unknown_fold_is_refused_with_the_choices() -> None:
    said = typed("run", "--fold", "9")
    assert said.exit_code == 2
    assert "'original', '0', '1', '2', '3', '4'" in said.stderr


def test_the_former_partition_key_is_understood_with_a_note(capsys: pytest.CaptureFixture[str]) -> None:
    assert variant_fold_partitions.has_partition_key("seed|masks_only")
    tags = variant_fold_partitions.get_tags_for_partition_key("seed|masks_only")
    assert tags["dagster/partition"] == "original|masks_only"
    assert capsys.readouterr().err == "note: seed|masks_only is called original|masks_only now\n"
    assert not variant_fold_partitions.has_partition_key("seed|nobody")
    assert "seed|masks_only" not in variant_fold_partitions.get_partition_keys()
