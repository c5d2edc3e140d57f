"""Two entries of one name are refused, in every file that a person writes."""

from pathlib import Path

import pytest
import yaml

from distracted_pipeline.assets.compute import read_op_config
from distracted_pipeline.dataset_file import load_dataset
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.settings import Settings
from distracted_pipeline.variants.config import load_catalogue, validated
from distracted_pipeline.yaml_text import load_yaml

TWICE = "one: {epochs: 1}\ntwo: {epochs: 2}\none: {epochs: 3}\n"


def test_a_name_that_stands_twice_is_refused_with_its_line() -> None:
    with pytest.raises(yaml.YAMLError, match=r"'one' stands here a second time(?s:.*)line 3"):
        load_yaml(TWICE)
    assert load_yaml("a: &a {x: 1}\nb: {<<: *a, y: 2}") == {"a": {"x": 1}, "b": {"x": 1, "y": 2}}


def test_variants_data_sets_and_options_by_op_refuse_it(tmp_path: Path) -> None:
    for name in ("variants.yaml", "dataset.yaml", "ops.yaml"):
        (tmp_path / name).write_text(TWICE, encoding="utf-8")
    with pytest.raises(DistractedError, match=r"variants\.yaml is not valid YAML.*'one' stands here a second time"):
        load_catalogue(Settings(data=tmp_path, variants_file=tmp_path / "variants.yaml"))
    with pytest.raises(DistractedError, match=r"dataset\.yaml is not valid YAML.*second time"):
        load_dataset(tmp_path)
    with pytest.raises(DistractedError, match=r"ops\.yaml.*second time"):
        read_op_config(tmp_path / "ops.yaml")


@pytest.mark.parametrize(
    ("name", "fields", "said"),
    [
        ("champion", {}, "the name 'champion' is taken"),
        ("mine", {"top_lr": float("inf")}, "field 'top_lr' is inf"),
        ("mine", {"body_lr": float("nan")}, "field 'body_lr' is nan"),
        ("mine", {"seed": 2**63}, "field 'seed' is 9223372036854775808"),
        ("mine", {"replicates": 101}, "field 'replicates' is 101"),
        ("mine", {"epochs": True}, "field 'epochs' is True, which is neither a number nor a name"),
        ("mine", {"adapters": [True]}, r"field 'adapters' is \[True\]"),
        ("mine", {"top-lr": 1}, "unknown field 'top-lr'. Did you mean top_lr?"),
        ("m" * 65, {}, "field 'name' is"),
    ],
)
def test_an_entry_that_cannot_work_is_refused(name: str, fields: dict[str, object], said: str) -> None:
    with pytest.raises(DistractedError, match=said):
        validated(name, {"kind": "fine_tune", **fields}, "variants.yaml")


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ("mine: {label: été}".encode("latin-1"), "not UTF-8 text, byte 14"),
        (b"[" * 1000, "nested too deeply"),
        (b"mine: {kind: fine_tun}", "Did you mean fine_tune"),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path: Path, raw: bytes, said: str) -> None:
    path = tmp_path / "variants.yaml"
    path.write_bytes(raw)
    with pytest.raises(DistractedError, match=said):
        load_catalogue(Settings(data=tmp_path, variants_file=path))
