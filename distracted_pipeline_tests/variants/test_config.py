"""The catalogue: what it ships, what a user's file may do, and what it says about mistakes."""

from pathlib import Path

import pytest

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.settings import Settings, load_settings
from distracted_pipeline.variants.config import (
    NOT_RECIPE,
    VariantConfig,
    every_variant,
    load_catalogue,
    reference_of,
    replicates_of,
    validated,
    variant_named,
)


def with_file(tmp_path: Path, text: str) -> Settings:
    path = tmp_path / "variants.yaml"
    path.write_text(text)
    return Settings(data=tmp_path, variants_file=path)


def test_the_shipped_catalogue_has_the_ten_variants_and_their_controls_in_order(tmp_path: Path) -> None:
    catalogue = load_catalogue(Settings(data=tmp_path))
    assert list(catalogue) == [
        "linear_probe", "top_only", "embedding_only", "embedding_augmented", "embedding_checkpoint", "fine_tune",
        "adapter_serial", "adapter_parallel", "masks_only", "masks_fused", "masks_fused_checkpoint", "lora",
        "batch_norm",
    ]  # fmt: skip
    assert all(config.label and config.description for config in catalogue.values())
    assert catalogue["adapter_serial"].adapter_weight == 0 < catalogue["adapter_parallel"].adapter_weight


def test_a_technique_and_its_control_differ_in_nothing_but_the_technique(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path)
    catalogue = load_catalogue(settings)
    recipes = {name: config.model_dump(exclude=set(NOT_RECIPE)) for name, config in catalogue.items()}
    for name in catalogue:
        if name in ("linear_probe", settings.baseline) or name.startswith("embedding_"):
            continue
        control = recipes[reference_of(settings, catalogue, name)]
        differs = {field for field, value in recipes[name].items() if value != control[field]}
        assert "kind" in differs
        assert differs <= {"kind", "body_lr", "body_decay", "adapters", "adapter_weight"}, name


def test_what_waits_for_a_request_is_in_the_catalogue_once_it_was_trained(tmp_path: Path) -> None:
    settings, name = Settings(data=tmp_path), "linear_probe_without_driver"
    assert name not in load_catalogue(settings)
    assert variant_named(settings, name).on_request
    assert list(every_variant(settings)) == [*load_catalogue(settings), name]
    (settings.models / name).mkdir(parents=True)
    assert list(load_catalogue(settings))[-1] == name


def test_a_shipped_entry_on_request_goes_with_its_control(tmp_path: Path) -> None:
    assert "linear_probe_without_driver" not in every_variant(with_file(tmp_path, "linear_probe: null\n"))


def test_asking_later_or_at_once_trains_the_same(tmp_path: Path) -> None:
    entry = variant_named(Settings(data=tmp_path), "top_only")
    assert entry.model_copy(update={"on_request": True}).fingerprint() == entry.fingerprint()


def test_replicates_are_three_two_where_the_body_takes_part_and_what_the_setting_says(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path)
    catalogue = load_catalogue(settings)
    counts = {name: replicates_of(settings, config) for name, config in catalogue.items()}
    assert {name for name, count in counts.items() if count == 3} == {
        "linear_probe", "top_only", "embedding_only", "masks_only", "masks_fused",
    }  # fmt: skip
    assert set(counts.values()) == {2, 3}
    five = load_settings({"DISTRACTED_DATA": str(tmp_path), "DISTRACTED_REPLICATES": "5"})
    assert {replicates_of(five, config) for config in catalogue.values()} == {5}
    for wrong in ("0", "-1", "two"):
        with pytest.raises(DistractedError, match=f"DISTRACTED_REPLICATES is '{wrong}': set it to a whole number"):
            load_settings({"DISTRACTED_DATA": str(tmp_path), "DISTRACTED_REPLICATES": wrong})


def test_defaults_are_those_of_the_originals_command_line() -> None:
    config = validated("x", {"kind": "adapters"}, "here")
    original = {
        "batch_size": 128, "model_name": None, "adapters": (3,), "top_lr": 2.0, "top_decay": 0.0, "body_lr": 0.0,
        "body_decay": 0.0, "gamma": 1.0, "epochs": 10, "adapter_weight": 0.0, "checkpoint": None,
    }  # fmt: skip
    assert {name: getattr(config, name) for name in original} == original
    assert (config.optimizer, config.scheduler) == ("adadelta", "step")


@pytest.mark.parametrize(
    ("kind", "more", "inputs"),
    [
        ("linear_probe", {}, ("pooled",)),
        ("top_only", {}, ("last_block",)),
        ("fine_tune", {"body_lr": 0.1}, ("pixels",)),
        ("adapters", {"adapters": [4, 2]}, ("block2_input",)),
        ("masks_only", {}, ("fractions",)),
        ("masks_fused", {}, ("pooled", "fractions")),
        ("lora", {}, ("pixels",)),
        ("batch_norm", {}, ("pixels",)),
        ("linear_probe_without_driver", {}, ("pooled",)),
    ],
)
def test_inputs_follow_from_the_kind(kind: str, more: dict, inputs: tuple[str, ...]) -> None:
    assert validated("x", {"kind": kind, **more}, "here").inputs == inputs


def test_the_users_file_overrides_fields_adds_entries_and_drops_them(tmp_path: Path) -> None:
    settings = with_file(tmp_path, "top_only: {epochs: 3}\nmasks_only: null\nmine: {kind: linear_probe, seed: 7}\n")
    catalogue = load_catalogue(settings)
    shipped = load_catalogue(Settings(data=tmp_path))
    assert catalogue["top_only"] == shipped["top_only"].model_copy(update={"epochs": 3})
    assert "masks_only" not in catalogue
    assert catalogue["mine"].seed == 7
    assert list(catalogue)[-1] == "mine"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("mine: {kind: lora_x}", ["'mine'", "'kind'", "'lora_x'", "linear_probe"]),
        ("mine: {epochs: 3}", ["'mine'", "'kind' is missing", "linear_probe"]),
        ("top_only: {epoch: 3}", ["'top_only'", "'epoch'", "epochs"]),
        ("top_only: {epochs: 0}", ["'epochs'", "0", "greater than or equal to 1"]),
        ("top_only: {epochs: many}", ["'epochs'", "'many'", "integer"]),
        ("top_only: {body_lr: 0.1}", ["body_lr", "fine_tune"]),
        ("fine_tune: {body_lr: 0}", ["body_lr", "above 0"]),
        ("top_only: {adapters: [3]}", ["adapters", "kind adapters"]),
        ("adapter_serial: {adapters: [3, 3]}", ["adapters", "distinct"]),
        ("adapter_serial: {adapters: []}", ["at least one"]),
        ("top_only: {optimizer: lbfgs}", ["optimizer", "linear_probe"]),
        ("Top-Only: {kind: top_only}", ["'Top-Only'", "'name'"]),
        ("top_only: {layer_decay: 0.5}", ["layer_decay", "only kind fine_tune"]),
        ("top_only: {lora_rank: 4}", ["lora_rank", "only kind lora"]),
        ("top_only: {class_weights: some}", ["'class_weights'", "'some'", "'balanced'"]),
        ("top_only: {label_smoothing: 1}", ["'label_smoothing'", "less than 1"]),
        ("top_only: {early_stopping: -1}", ["'early_stopping'", "greater than or equal to 0"]),
        ("top_only: {checkpoint: top_only}", ["checkpoint", "itself"]),
        ("top_only: {checkpoint: fine_tune}\nfine_tune: {checkpoint: top_only}", ["circle", "top_only from fine_tune"]),
        ("masks_fused_checkpoint: {replicates: 4}", ["replicates is 4", "fine_tune", "2 times", "the same number"]),
        ("top_only: {replicates: 0}", ["'replicates'", "greater than or equal to 1"]),
        ("top_only: {control: top_only}", ["control is 'top_only'", "the entry itself", "linear_probe"]),
        ("embedding_only: null", ["entry 'masks_only'", "control is 'embedding_only'", "no variant"]),
        ("mine: {kind: linear_probe, name: yours}", ["entry 'mine'", "'name' is 'yours'", "the key", "label"]),
        ("top_only: {name: fine_tune}", ["entry 'top_only'", "'name' is 'fine_tune'"]),
        ("top_only: 3", ["'top_only'", "field: value"]),
        ("- top_only", ["list"]),
        ("a: [", ["not valid YAML"]),
    ],
)
def test_a_mistake_is_named_with_entry_field_and_what_is_allowed(tmp_path: Path, text: str, says: list[str]) -> None:
    with pytest.raises(DistractedError) as raised:
        load_catalogue(with_file(tmp_path, text))
    for part in [*says, "variants.yaml"]:
        assert part in str(raised.value)


def test_a_missing_file_and_an_unknown_variant_are_named(tmp_path: Path) -> None:
    with pytest.raises(DistractedError, match=r"DISTRACTED_VARIANTS names .*gone\.yaml"):
        load_catalogue(Settings(data=tmp_path, variants_file=tmp_path / "gone.yaml"))
    with pytest.raises(DistractedError, match="no variant 'nope'.*top_only"):
        variant_named(Settings(data=tmp_path), "nope")


def test_the_fingerprint_changes_with_training_but_not_with_wording() -> None:
    config = VariantConfig(name="a", kind="top_only")
    assert config.model_copy(update={"label": "Other", "description": "words"}).fingerprint() == config.fingerprint()
    assert config.model_copy(update={"gamma": 0.9}).fingerprint() != config.fingerprint()
