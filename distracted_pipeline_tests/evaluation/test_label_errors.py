"""Labels in doubt: planted wrong labels rank first, the list follows its predictions, the page shows what is open."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.evaluation.label_errors import (
    by_class,
    doubts,
    find_label_errors,
    label_errors_current,
    label_errors_file,
)
from distracted_pipeline.evaluation.predictions import write_predictions
from distracted_pipeline.images.decisions import decisions_file
from distracted_pipeline.images.manifest import SCHEMA, read_manifest
from distracted_pipeline.reports.review import write_review
from distracted_pipeline.scopes import CROSS_FOLDS
from distracted_pipeline.settings import Settings
from distracted_pipeline_tests.evaluation.fakes import DRIVERS, held_out, make_root, right, table, trainings

PLANTED = {"p000_c1_0.jpg": "c4", "p005_c2_1.jpg": "c7", "p011_c9_0.jpg": "c0"}
"""Frames, and what their labels wrongly say."""


@pytest.fixture
def mislabelled(tmp_path: Path) -> Settings:
    """A root whose manifest has three wrong labels, predicted by what the frames show, with some noise."""
    settings = make_root(tmp_path / "data", frames=2)
    shown = {row["img"]: row["classname"] for row in read_manifest(settings).to_pylist()}
    rows = [
        row | {"classname": PLANTED.get(row["img"], row["classname"]), "sha256": f"{i:064x}"}
        for i, row in enumerate(read_manifest(settings).to_pylist())
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), settings.manifest)
    rng = np.random.default_rng(0)
    for variant in ("base", "other"):
        for fold in CROSS_FOLDS:
            images = held_out(settings, fold)
            each = []
            for sure in (0.7, 0.8):
                said = np.array([settings.dataset.class_ids.index(shown[img]) for img in images["img"].to_pylist()])
                unsure = (rng.random(len(said)) < 0.1) & ~np.isin(images["img"].to_pylist(), list(PLANTED))
                said[unsure] = rng.integers(0, 10, unsure.sum())
                one = table(images, said, sure)
                each.append(
                    one.set_column(one.schema.get_field_index("true"), "true", pa.array(right(images), pa.int8()))
                )
            write_predictions(settings, variant, fold, trainings(each))
    return settings


def test_planted_wrong_labels_are_ranked_first(mislabelled: Settings) -> None:
    found = find_label_errors(mislabelled)
    assert set(found["img"].to_pylist()[:3]) == set(PLANTED)
    first = next(row for row in found.to_pylist() if row["img"] == "p000_c1_0.jpg")
    assert (first["true"], first["suggested"]) == (4, 1)
    assert (first["votes_suggested"], first["votes_true"], first["votes"]) == (4, 0, 4)
    assert by_class(found, 10)[4, 1] == 1


def test_the_list_is_read_until_a_prediction_changes(mislabelled: Settings) -> None:
    before = find_label_errors(mislabelled)
    assert label_errors_current(mislabelled)
    path = label_errors_file(mislabelled)
    path.write_bytes(path.read_bytes()[:-20])
    assert not label_errors_current(mislabelled)
    assert find_label_errors(mislabelled).equals(before)
    images = held_out(mislabelled, "0")
    write_predictions(mislabelled, "base", "0", trainings([table(images, right(images))] * 2))
    assert not label_errors_current(mislabelled)


def test_without_predictions_of_every_fold_the_run_comes_first(tmp_path: Path) -> None:
    with pytest.raises(DistractedError, match="Type: distracted run"):
        find_label_errors(make_root(tmp_path / "data", DRIVERS[:6], frames=1))


def test_a_class_nobody_is_sure_of_is_not_suggested_on_a_whim() -> None:
    probabilities = np.array([[0.9, 0.1], [0.45, 0.55], [0.2, 0.8], [0.1, 0.9]])
    found = doubts(probabilities, np.array([0, 0, 1, 1]))
    assert found.order.tolist() == []  # .55 is less than frames labelled 1 usually get
    assert doubts(np.array([[0.05, 0.95], *probabilities[[0, 2, 3]]]), np.array([0, 0, 1, 1])).order.tolist() == [0]


def test_the_page_holds_what_is_not_decided_and_everything_that_a_decision_needs(mislabelled: Settings) -> None:
    found = write_review(mislabelled, most=2)
    page = found.path.read_text()
    assert (found.shown, page.count("<li tabindex")) == (2, 2)
    assert 'data-sha256="' in page
    assert "distracted review --apply" in page
    assert "http" not in page.split("</style>")[1]
    first = find_label_errors(mislabelled).to_pylist()[0]
    decisions_file(mislabelled).write_text(f"img,sha256,decision,classname\n{first['img']},{first['sha256']},keep,\n")
    again = write_review(mislabelled)
    assert (again.decided, f'data-img="{first["img"]}"' in again.path.read_text()) == (1, False)
