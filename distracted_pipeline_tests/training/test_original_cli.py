"""The original project's command line: same options, same defaults, same dispatch, no eval."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from distracted_pipeline.cli import main
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.settings import Settings
from distracted_pipeline.training import original_cli
from distracted_pipeline.training.checkpoint import read_meta
from distracted_pipeline.training.original_cli import config_from_options, from_json, parse_adapters, train_from_options
from distracted_pipeline.variants.config import VariantConfig


def test_the_dispatch_is_adapters_else_body_lr_else_masks() -> None:
    assert config_from_options("x", {}).kind == "adapters"
    assert config_from_options("x", {}).adapters == (3,)
    assert config_from_options("x", {"adapters": "[2, 4]", "body_lr": 0.1}).adapters == (2, 4)
    assert config_from_options("x", {"adapters": "[]", "body_lr": 0.1}).kind == "fine_tune"
    assert config_from_options("x", {"adapters": "[]", "body_lr": 0.0}).kind == "masks_fused"
    assert config_from_options("x", {"adapters": "[]"}).kind == "masks_fused"


def test_options_reach_the_variant() -> None:
    config = config_from_options(
        "x", {"batch_size": 7, "top_lr": 0.5, "top_decay": 0.1, "gamma": 0.9, "epochs": 3, "adapter_weight": 2.0}
    )
    assert (config.batch_size, config.top_lr, config.top_decay) == (7, 0.5, 0.1)
    assert (config.gamma, config.epochs, config.adapter_weight, config.optimizer) == (0.9, 3, 2.0, "adadelta")


@pytest.mark.parametrize(
    ("text", "blocks"), [("[3]", (3,)), ("[4, 2]", (2, 4)), ("3", (3,)), ("[]", ()), ([5], (5,)), ("(1,)", (1,))]
)
def test_adapters_are_read_as_a_literal(text: object, blocks: tuple[int, ...]) -> None:
    assert parse_adapters(text) == blocks


@pytest.mark.parametrize(
    "text", ["__import__('os').getcwd()", "[3", "['3']", "[-1]", "[True]", "[1.5]", "{}", "", None, True]
)
def test_anything_else_is_refused_and_never_run(text: object) -> None:
    with pytest.raises(DistractedError, match="--adapters is"):
        parse_adapters(text)


def test_a_wrong_value_and_an_unknown_option_are_named() -> None:
    with pytest.raises(DistractedError, match="'epochs' is 0"):
        config_from_options("x", {"epochs": 0})
    with pytest.raises(DistractedError, match=r"--learning-rate is unknown; options: --batch-size"):
        config_from_options("x", {"learning_rate": 0.1})


def test_the_originals_sweep_files_are_read_and_names_made_fit_for_folders(tmp_path: Path) -> None:
    path = tmp_path / "hyperparameters_2.json"
    path.write_text(
        json.dumps({"adapter_b0_3_lr_0.5": {"--adapters": "[3]", "--body-lr": 0.0, "--top-lr": 0.5, "--epochs": 30}})
    )
    runs = from_json(path)
    assert runs == {"adapter_b0_3_lr_0_5": {"adapters": "[3]", "body_lr": 0.0, "top_lr": 0.5, "epochs": 30}}
    assert config_from_options("adapter_b0_3_lr_0_5", runs["adapter_b0_3_lr_0_5"]).kind == "adapters"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[1]", "must map run names"),
        ('{"a": 3}', "must map run names"),
        ("{", "not valid JSON"),
        ('{"a": {"--epoch": 3}}', "run 'a'.*--epoch is unknown"),
        ('{"a": {"--epochs": "x"}}', "run 'a'.*'epochs'"),
        ('{"a.b": {}, "a_b": {}}', "two runs are called 'a_b'"),
    ],
)
def test_a_bad_sweep_file_is_named_with_the_run(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "sweep.json"
    path.write_text(text)
    with pytest.raises(DistractedError, match=rf"sweep\.json.*{says}"):
        from_json(path)
    with pytest.raises(DistractedError, match="cannot be read"):
        from_json(tmp_path / "gone.json")


def test_training_from_options_is_an_ordinary_training(prepared: Settings) -> None:
    result = train_from_options(
        prepared, name="mine", fold="1", adapters="[]", epochs=1, top_lr=0.5, batch_size=32, log=lambda line: None
    )
    assert result.folder == prepared.models / "mine" / "1"
    assert read_meta(result.folder / "0")["config"]["kind"] == "masks_fused"


def test_options_beside_a_sweep_are_refused_rather_than_ignored(tmp_path: Path) -> None:
    (tmp_path / "sweep.json").write_text("{}")
    done = CliRunner().invoke(
        main, ["train", "--from-json", str(tmp_path / "sweep.json"), "--epochs", "3", "--name", "x"]
    )
    assert done.exit_code == 1
    assert "--name, --epochs: with --from-json these come from" in done.output


def test_what_starts_from_a_variant_is_trained_as_often_as_that_one(
    prepared: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[VariantConfig] = []
    monkeypatch.setattr(original_cli, "train_config", lambda settings, config, *rest: seen.append(config))
    for checkpoint in (None, "fine_tune"):
        train_from_options(prepared, adapters="[]", checkpoint=checkpoint, log=lambda line: None)
    assert [config.replicates for config in seen] == [3, 2]
