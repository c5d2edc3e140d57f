"""Which weights of a model's folder are missing: asked before a run and by whoever loads a backbone, in one place."""

import json
from pathlib import Path

import pytest

from distracted_pipeline.huggingface import lacking_weights

PARTS = ["model-1.safetensors", "model-2.safetensors"]
INDEX = "model.safetensors.index.json"


@pytest.mark.parametrize(
    ("files", "lacking"),
    [
        ([], "model.safetensors"),
        (["model.safetensors"], ""),
        ([INDEX, *PARTS], ""),
        ([INDEX, PARTS[0]], PARTS[1]),
        ([INDEX, "model.safetensors"], ""),
        ([INDEX, "pytorch_model.bin.index.json", *PARTS], ""),  # the hub has both; one of them was fetched
        (["pytorch_model.bin"], ""),
        (["pytorch_model.bin.index.json"], PARTS[0]),
    ],
)
def test_the_first_missing_file_is_named(files: list[str], lacking: str, tmp_path: Path) -> None:
    for name in files:
        (tmp_path / name).write_text(json.dumps({"weight_map": dict(zip("ab", PARTS, strict=True))}))
    assert lacking_weights(tmp_path, ("*.safetensors", "*.bin")) == lacking


def test_weights_that_nobody_here_loads_do_not_count(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    (tmp_path / "pytorch_model.bin.index.json").write_text("{}")
    assert lacking_weights(tmp_path, ("model*.safetensors",)) == "model.safetensors"


def test_a_damaged_index_is_named(tmp_path: Path) -> None:
    (tmp_path / INDEX).write_text("{")
    assert f"{INDEX} is damaged (" in lacking_weights(tmp_path, ("*.safetensors",))
