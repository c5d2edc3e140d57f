"""`distracted export`: an ONNX file and a card that says what was measured, beside the champion in MLflow too."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.evaluation.table_schemas import ClassScore
from distracted_pipeline.evaluation.tables import CLASSES_FILE
from distracted_pipeline.evaluation.tables_io import read_rows
from distracted_pipeline.serving import package
from distracted_pipeline.serving.champion import registered_version
from distracted_pipeline.serving.export import Classifier, classifier_of
from distracted_pipeline.serving.model_card import CARD, model_card, subject_of, weights_licence
from distracted_pipeline.serving.package import ONNX, export_package
from distracted_pipeline.settings import Settings
from distracted_pipeline.training.checkpoint import load_trained
from distracted_pipeline.training.relocation import local_path
from distracted_pipeline_tests.serving.crowned import quiet


@pytest.fixture
def no_conversion(monkeypatch: pytest.MonkeyPatch) -> None:
    """Conversion takes seconds and has its own tests."""

    def save(module: Classifier, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"converted " + ",".join(module.inputs).encode())

    monkeypatch.setattr(package, "save_onnx", save)


def card_of(settings: Settings, variant: str) -> str:
    trained = load_trained(settings, variant, "original", "cpu")
    return model_card(settings, subject_of(settings, trained, "original", classifier_of(settings, trained)))


def test_the_champion_is_written_and_put_beside_the_registered_model(
    crowned: Settings, tmp_path: Path, no_conversion: None
) -> None:
    said: list[str] = []
    assert [path.name for path in export_package(crowned, "champion", tmp_path / "out", log=said.append)] == [
        ONNX,
        CARD,
    ]
    version = registered_version(crowned)
    assert version is not None
    beside = Path(local_path(str(version.source)))
    for name in (ONNX, CARD):
        assert (beside / name).read_bytes() == (tmp_path / "out" / name).read_bytes()
    assert "beside version 1" in said[-1]


def test_crowning_alone_puts_the_card_beside_the_model(crowned: Settings) -> None:
    version = registered_version(crowned)
    assert version is not None
    variant = json.loads((crowned.evaluation / "champion.json").read_text())["variant"]
    assert (Path(local_path(str(version.source))) / CARD).read_text() == card_of(crowned, variant)


def test_a_card_tells_drivers_recalls_limits_and_licences(crowned: Settings) -> None:
    card = card_of(crowned, "masks_fused")
    meta = load_trained(crowned, "masks_fused", "original", "cpu").meta
    assert ", ".join(meta["train_subjects"]) in card
    assert ", ".join(meta["validation_subjects"]) in card
    rows = [row for row in read_rows(crowned.evaluation / CLASSES_FILE, ClassScore) if row.variant == "masks_fused"]
    shown = [row for row in rows if row.scope == "test"]
    assert shown
    for row in shown:
        assert f"| {crowned.dataset.class_label(row.class_id)} | {row.n:,} |" in card
        if row.recall is not None:
            assert f" {row.recall:.3f} " in card
    for words in ("## Limits", "## Licences", "uint8 `[B, H, W]`", "Loading a pt2 archive unpickles"):
        assert words in card
    assert "Frames go in" in card
    assert "a fold, of which this model is one." in card
    assert str(crowned.data) not in card
    assert "None" not in card


def test_a_card_names_only_what_goes_in_and_whose_trainings_were_measured(crowned: Settings) -> None:
    trained = load_trained(crowned, "masks_fused", "original", "cpu")
    about = subject_of(crowned, trained, "original", classifier_of(crowned, trained))
    card = model_card(crowned, replace(about, inputs=("fractions",), fold="3"))
    assert "Frames go in" not in card
    assert "Masks go in" in card
    assert "a fold, of the same recipe; this model, of fold `3`, is none of them." in card


def test_a_card_without_tables_says_that_nothing_was_measured(
    crowned: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Settings, "evaluation", property(lambda settings: settings.data / "nowhere"))
    assert "Not measured yet" in card_of(crowned, "linear_probe")


def test_an_unknown_variant_and_a_fold_of_the_champion_are_refused(
    crowned: Settings, tmp_path: Path, no_conversion: None
) -> None:
    with pytest.raises(DistractedError, match=r"no variant 'mask_fused'.*masks_fused"):
        export_package(crowned, "mask_fused", tmp_path, log=quiet)
    with pytest.raises(DistractedError, match="Leave --fold away"):
        export_package(crowned, "champion", tmp_path, fold="original", log=quiet)
    assert not list(tmp_path.iterdir())


def test_a_licence_is_what_the_weights_state_else_what_is_known(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("---\ntags: [a]\nlicense: apache-2.0\n---\n# A model\n")
    assert weights_licence(str(tmp_path)) == "apache-2.0, by the card in its folder"
    assert "not for commerce" in weights_licence("facebook/mask2former-swin-base-coco-panoptic")
    assert weights_licence("somebody/something").startswith("not stated")
