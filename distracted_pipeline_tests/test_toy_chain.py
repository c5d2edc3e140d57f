"""The whole chain on a data set that is not State Farm: its classes, its mask categories, its drivers, nothing else.

As a person types it, in a process with a history of its own, it is in `test_chain.py`, with what a change makes again.
"""

import json
import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import distracted_pipeline as dp
from distracted_pipeline.settings import load_settings
from distracted_pipeline.training import tracking
from distracted_pipeline_tests.forked import run_typed
from distracted_pipeline_tests.toy import CAMERAS, CATEGORIES, CLASSES, DRIVERS, write_short_toy_root

pytestmark = pytest.mark.slow

VARIANTS = ("top_only", "masks_fused")
FOLDS = ("original", "0", "1", "2", "3", "4")


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The toy data set after one `distracted run`, and what that printed."""
    root = write_short_toy_root(tmp_path_factory.mktemp("toy") / "data")
    tracking.open_client(load_settings({}, root))  # a copy, where a process of its own would migrate a fresh store
    code, said = run_typed({"DISTRACTED_DATA": str(root)})
    assert code == 0, said[-4000:]
    return root, said


def test_the_run_ends_with_a_verdict_over_the_data_sets_own_classes(toy: tuple[Path, str]) -> None:
    _, said = toy
    assert "0 failed" in said
    assert re.search(
        rf"^Masks \+ embedding, compared with Top only: .*\b{len(CLASSES)} (classes|questions)\b", said, re.M
    )
    assert "report: file://" in said


def test_every_frame_is_in_the_manifest_with_driver_class_and_camera(toy: tuple[Path, str]) -> None:
    root, _ = toy
    rows = pq.read_table(root / "images.parquet").to_pylist()
    assert len(rows) == len(CLASSES) * len(DRIVERS) * len(CAMERAS)
    assert {row["classname"] for row in rows} == set(CLASSES)
    assert {row["subject"] for row in rows} == set(DRIVERS)
    assert {row["camera"] for row in rows} == set(CAMERAS)
    assert {row["subject"] for row in rows if row["split"] == "test"} == {"finn", "gus"}


def test_masks_hold_the_data_sets_categories(toy: tuple[Path, str]) -> None:
    data = dp.open(toy[0])
    assert data.settings.dataset.mask_names == ("none", *CATEGORIES)
    for row in data.images.query("classname == 'drink' and subject == 'ann'").itertuples():
        assert set(np.unique(data.mask(row.img))) == {0, 1, 3}


def test_every_variant_predicts_each_of_the_classes_in_every_fold(toy: tuple[Path, str]) -> None:
    root, _ = toy
    columns = ["img", "subject", "true", "replicate", *(f"p_{name}" for name in CLASSES)]
    for variant in VARIANTS:
        tables = {fold: pq.read_table(root / "predictions" / variant / f"{fold}.parquet") for fold in FOLDS}
        assert all(table.column_names == columns for table in tables.values())
        covered = [name for fold in FOLDS[1:] for name in tables[fold]["img"].to_pylist()]
        assert sorted(covered) == sorted(2 * pq.read_table(root / "images.parquet")["img"].to_pylist())


def test_tables_count_the_data_sets_classes(toy: tuple[Path, str]) -> None:
    data = dp.open(toy[0])
    out_of_fold = data.class_accuracy.query("scope == 'oof'")
    classes = {name: list(rows.class_id) for name, rows in out_of_fold.groupby("variant")}
    assert classes == {name: list(CLASSES) for name in sorted(VARIANTS)}
    with np.load(toy[0] / "evaluation" / "confusion.npz", allow_pickle=False) as kept:
        assert any(kept[name].shape[-2:] == (len(CLASSES), len(CLASSES)) for name in kept.files)


def test_grad_cam_has_a_lift_for_each_category(toy: tuple[Path, str]) -> None:
    root, _ = toy
    for variant in VARIANTS:
        rows = pq.read_table(root / "evaluation" / "gradcam" / variant / "rows.parquet")
        assert [name for name in rows.column_names if name.startswith("lift_")] == [
            f"lift_{name}" for name in CATEGORIES
        ]
        assert rows.num_rows


def test_the_report_has_a_page_for_each_class_and_names_the_data_set(toy: tuple[Path, str]) -> None:
    site = toy[0] / "reports" / "latest"
    assert len(list((site / "classes").glob("*.html"))) == len(CLASSES)
    text = (site / "index.html").read_text(encoding="utf-8")
    assert "phone in the left hand" in "".join(path.read_text(encoding="utf-8") for path in site.rglob("*.html"))
    assert "State Farm" not in text


def test_a_champion_is_registered(toy: tuple[Path, str]) -> None:
    champion = json.loads((toy[0] / "evaluation" / "champion.json").read_text())
    assert champion["variant"] in VARIANTS
    assert champion["version"] == "1"
