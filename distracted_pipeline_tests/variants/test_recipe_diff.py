"""What else differs between two entries, in words."""

from typing import Any

import pytest

from distracted_pipeline.settings import Settings
from distracted_pipeline.variants.config import load_catalogue, validated
from distracted_pipeline.variants.recipe_diff import Differs, in_words, recipe_diff


def entry(name: str = "one", **fields: Any):
    return validated(name, {"kind": "top_only", **fields}, "here")


def test_what_differs_beside_the_technique_is_listed_with_defaults_resolved() -> None:
    a, b = entry(), entry("two", optimizer="adamw", batch_size=32, augment=True, gamma=0.5)
    assert recipe_diff(a, b) == [
        Differs("batch size", "128", "32"),
        Differs("optimizer", "adadelta", "adamw"),
        Differs("gamma", "1", "0.5"),
        Differs("augment", "no", "yes"),
    ]
    said = "also differs: batch size 128 / 32, optimizer adadelta / adamw, gamma 1 / 0.5, augment no / yes"
    assert in_words(recipe_diff(a, b)) == said


@pytest.mark.parametrize(
    ("kind", "own"),
    [
        ("fine_tune", {"body_lr": 1e-4, "body_decay": 0.01, "layer_decay": 0.9}),
        ("adapters", {"adapters": [2], "adapter_weight": 1.0}),
        ("lora", {"lora_rank": 4}),
    ],
)
def test_a_technique_and_its_own_options_are_no_further_difference(kind: str, own: dict[str, Any]) -> None:
    assert in_words(recipe_diff(entry(), entry("two", kind=kind, **own))) == "nothing else differs"


def test_options_of_the_same_technique_are_differences() -> None:
    one, two = (entry(name, kind="adapters", adapters=places) for name, places in (("one", [3]), ("two", [2, 4])))
    assert recipe_diff(one, two) == [Differs("adapters", "3", "2 and 4")]


def test_words_replicates_and_control_are_no_recipe() -> None:
    assert not recipe_diff(entry(), entry("two", label="Two", description="again", replicates=5, control="one"))


def test_the_solver_of_a_linear_probe_is_a_difference(tmp_path) -> None:
    catalogue = load_catalogue(Settings(data=tmp_path))
    fields = [found.field for found in recipe_diff(catalogue["top_only"], catalogue["linear_probe"])]
    assert "optimizer" in fields
