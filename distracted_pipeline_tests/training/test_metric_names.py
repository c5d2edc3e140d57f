"""Metrics are named so that MLflow groups its charts."""

import pytest

from distracted_pipeline.training.mlflow_outbox import grouped


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("train_loss", "loss/train"),
        ("validation_loss", "loss/validation"),
        ("validation_macro_recall", "macro_recall/validation"),
        ("validation_recall_c0", "recall_validation/c0"),
        ("held_out_recall_two_hands", "recall_held_out/two_hands"),
        ("held_out_accuracy", "accuracy/held_out"),
        ("best_epoch", "best_epoch"),
    ],
)
def test_a_metric_is_shown_beside_its_like(name: str, shown: str) -> None:
    assert grouped(name) == shown
