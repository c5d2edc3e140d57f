"""Checkpoints on a damaged disk: what is not as it was written is trained again, and nothing else."""

from pathlib import Path

import pytest

from distracted_pipeline.options import RunOptions
from distracted_pipeline.settings import Settings
from distracted_pipeline.training import mlflow_outbox
from distracted_pipeline.training.checkpoint import CONFIG, WEIGHTS, is_trained, untrained
from distracted_pipeline.training.train import train_variant
from distracted_pipeline.variants.config import variant_named
from distracted_pipeline_tests.damage import DAMAGES, damage

FOLD = "0"


def trainings(settings: Settings) -> list[int]:
    """The replicates that have to be trained."""
    return list(untrained(settings, variant_named(settings, "masks_only"), FOLD))


def test_a_training_that_is_lost_or_damaged_is_done_again_and_no_other(own_root: Settings) -> None:
    folder = train_variant(own_root, "masks_only", FOLD, RunOptions(log=lambda line: None)).folder
    kept = {path: path.read_bytes() for replicate in ("0", "1") for path in (folder / replicate).glob("*.*")}
    for name in (WEIGHTS, CONFIG):
        for how in DAMAGES:
            damage(folder / "1" / name, how)
            assert trainings(own_root) == [1], (name, how)
            (folder / "1" / name).write_bytes(kept[folder / "1" / name])
            assert is_trained(own_root, "masks_only", FOLD)
    damage(folder / "1" / WEIGHTS, "flipped")
    said: list[str] = []
    train_variant(own_root, "masks_only", FOLD, RunOptions(log=said.append))
    assert "training 2" in said[-1]
    assert (folder / "1" / WEIGHTS).read_bytes() == kept[folder / "1" / WEIGHTS]
    assert (folder / "0" / CONFIG).read_bytes() == kept[folder / "0" / CONFIG]
    assert is_trained(own_root, "masks_only", FOLD)


@pytest.mark.parametrize("how", ["emptied", "truncated", "flipped"])
def test_unsent_results_that_are_damaged_are_removed_and_the_checkpoint_stays(how: str, tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, mlflow=f"sqlite:///{tmp_path / 'mlflow.db'}")
    folder = settings.models / "masks_only" / FOLD / "0"
    mlflow_outbox.write_json(folder / mlflow_outbox.FOLDER / mlflow_outbox.RECORD, {"run_id": "a", "metrics": []})
    damage(folder / mlflow_outbox.FOLDER / mlflow_outbox.RECORD, how)
    said: list[str] = []
    mlflow_outbox._send(settings, folder, said.append)
    assert "was damaged and is removed" in said[0]
    assert mlflow_outbox.unsent_folders(settings) == []
