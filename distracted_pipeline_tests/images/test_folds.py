"""Folds: whole drivers, balanced, the same for the same drivers, and loud when something leaks."""

import random
from collections import Counter
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from distracted_pipeline.dataset import STATE_FARM, Dataset
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.images.folds import (
    FoldRows,
    assign_folds,
    assign_split,
    check_disjoint,
    examine_folds,
    fold_rows,
)
from distracted_pipeline.images.ingest import ingest
from distracted_pipeline.images.manifest import SCHEMA, labelled
from distracted_pipeline.scopes import CROSS_FOLDS, FOLDS
from distracted_pipeline.settings import Settings

CLASS_IDS, SUBJECTS, SPLIT = STATE_FARM.class_ids, STATE_FARM.drivers, dict(STATE_FARM.split)


def manifest(counts: dict[str, dict[str, int]]) -> pa.Table:
    """Return a labelled table with so many images per driver and class, folds and split assigned."""
    pairs = [(s, c) for s in sorted(counts) for c in sorted(counts[s]) for _ in range(counts[s][c])]
    subjects, classes = [s for s, _ in pairs], [c for _, c in pairs]
    folds, split = assign_folds(subjects, classes, known=STATE_FARM.folds), assign_split(subjects, STATE_FARM)
    names = [f"img_{n}.jpg" for n in range(len(pairs))]
    columns = {
        "img": names, "subject": subjects, "classname": classes, "split": [split[s] for s in subjects],
        "fold": [folds[s] for s in subjects], "path": names, "bytes": [1] * len(pairs), "width": [1] * len(pairs),
        "height": [1] * len(pairs), "sha256": names, "status": ["ok"] * len(pairs),
        "camera": [""] * len(pairs), "session": [""] * len(pairs),
    }  # fmt: skip
    return pa.table(columns, schema=SCHEMA)


def even(drivers: list[str] | tuple[str, ...], frames: int = 3) -> dict[str, dict[str, int]]:
    return {driver: dict.fromkeys(CLASS_IDS, frames) for driver in drivers}


def subjects_of(table: pa.Table, rows: np.ndarray) -> set[str]:
    return set(table["subject"].take(pa.array(rows)).to_pylist())


def test_kaggles_folds_hold_every_driver_once_whatever_the_counts() -> None:
    assert sorted(name for fold in STATE_FARM.folds for name in fold) == list(SUBJECTS)
    rng = random.Random(0)
    some = {d: {c: rng.randint(1, 40) for c in CLASS_IDS} for d in SUBJECTS}
    folds = {row["subject"]: row["fold"] for row in manifest(some).to_pylist()}
    assert folds == {name: k for k, members in enumerate(STATE_FARM.folds) for name in members}


counts_strategy = st.dictionaries(
    st.text("abcdxyz", min_size=1, max_size=4),
    st.fixed_dictionaries({c: st.integers(0, 30) for c in CLASS_IDS[:4]}).filter(lambda d: sum(d.values()) > 0),
    min_size=1,
    max_size=30,
)


@hypothesis_settings(max_examples=30, deadline=None)
@given(counts_strategy, st.randoms(use_true_random=False))
def test_folds_depend_on_the_counts_and_not_on_the_order_of_rows(counts: dict, rng: random.Random) -> None:
    pairs = [(s, c) for s in counts for c in counts[s] for _ in range(counts[s][c])]
    folds = assign_folds([s for s, _ in pairs], [c for _, c in pairs])
    rng.shuffle(pairs)
    assert assign_folds([s for s, _ in pairs], [c for _, c in pairs]) == folds
    sizes = Counter(folds.values())
    assert len(sizes) == min(5, len(counts)), "no fold is empty where there are drivers for it"
    assert max(sizes.values()) <= -(-len(counts) // 5)


@hypothesis_settings(max_examples=30, deadline=None)
@given(counts_strategy)
def test_no_driver_is_on_two_sides_and_no_row_is_lost(counts: dict) -> None:
    table = manifest(counts)
    for fold in FOLDS:
        try:
            rows = fold_rows(table, fold)
        except DistractedError:
            assert len(counts) < 5 or fold == "original"
            continue
        parts = [subjects_of(table, part) for part in (rows.train, rows.validation, rows.predict)]
        assert all(parts)
        assert not parts[0] & parts[1]
        assert not parts[0] & parts[2]
        assert set(np.concatenate([rows.train, rows.validation, rows.predict])) == set(range(len(table)))
        if fold != "original":
            assert not parts[1] & parts[2]


def test_cross_folds_together_predict_every_image_once() -> None:
    table = manifest(even([f"d{n:02}" for n in range(13)]))
    predicted = np.concatenate([fold_rows(table, fold).predict for fold in CROSS_FOLDS])
    assert sorted(predicted) == list(range(len(table)))


def test_folds_balance_images_and_classes() -> None:
    rng = random.Random(1)
    table = manifest({f"d{n:02}": {c: rng.randint(20, 120) for c in CLASS_IDS} for n in range(26)})
    share = len(table) / 5
    for fold in range(5):
        part = table.filter(pa.compute.equal(table["fold"], fold))
        assert abs(len(part) - share) < 0.15 * share
        for count in Counter(part["classname"].to_pylist()).values():
            assert abs(count - share / 10) < 0.3 * share / 10


def test_validation_is_a_few_drivers_with_every_class() -> None:
    table = manifest(even(SUBJECTS, frames=8))
    chosen = set()
    for fold in CROSS_FOLDS:
        rows = fold_rows(table, fold)
        share = len(rows.validation) / (len(rows.validation) + len(rows.train))
        assert 0.1 <= share <= 0.2
        for part in (rows.validation, rows.train):
            assert set(table["classname"].take(pa.array(part)).to_pylist()) == set(CLASS_IDS)
        chosen.add(frozenset(subjects_of(table, rows.validation)))
    assert len(chosen) == 5, "every fold chooses its epoch by other drivers"


def test_validation_takes_no_class_away_from_training() -> None:
    counts = even([f"d{n:02}" for n in range(10)])
    for driver in list(counts)[1:]:
        del counts[driver]["c9"]  # only d00 reaches c9
    table = manifest(counts)
    home = str(table["fold"][0].as_py())
    for fold in set(CROSS_FOLDS) - {home}:
        assert "d00" in subjects_of(table, fold_rows(table, fold).train)


def test_the_original_fold_is_the_original_split() -> None:
    table = manifest(even(SUBJECTS))
    rows = fold_rows(table, "original")
    assert subjects_of(table, rows.train) == set(SPLIT["train"])
    assert subjects_of(table, rows.validation) == set(SPLIT["dev"])
    assert subjects_of(table, rows.predict) == {*SPLIT["dev"], *SPLIT["test"]}


def test_other_drivers_are_dealt_by_name_alone() -> None:
    names = [f"driver-{n}" for n in range(14)]
    split = assign_split(names, STATE_FARM)
    assert split == assign_split(reversed(names), STATE_FARM)
    assert Counter(split.values()) == {"train": 10, "dev": 2, "test": 2}
    assert split["driver-0"] == assign_split(names, STATE_FARM)["driver-0"]


def split_of(**parts: list[str]) -> Dataset:
    """Return a data set whose authors published this split."""
    return replace(STATE_FARM, split=tuple((part, tuple(members)) for part, members in parts.items()))  # type: ignore[misc]


def test_drivers_without_a_part_fill_each_part_up_to_its_share_in_the_original_split() -> None:
    dataset = split_of(train=["a", "b", "c", "d"], dev=["e"], test=["f", "g", "h"])
    split = assign_split([*"abcdefgh", *(f"new-{n}" for n in range(16))], dataset)
    assert Counter(split.values()) == {"train": 12, "dev": 3, "test": 9}
    assert all(split[name] == dataset.part_of(name) for name in "abcdefgh")


def test_a_part_that_the_authors_left_empty_is_dealt_from_their_train_drivers() -> None:
    dataset = split_of(train=[f"t{n}" for n in range(9)], dev=[], test=["x", "y", "z"])
    split = assign_split([*dict(dataset.split)["train"], "x", "y", "z"], dataset)
    assert Counter(split.values()) == {"train": 7, "dev": 2, "test": 3}
    assert all(split[name] == "test" for name in "xyz")
    tiny = split_of(train=["a"], test=["b", "c"])
    assert assign_split(["a", "b", "c"], tiny)["a"] == "train", "somebody has to train"


def test_folds_that_a_data_set_fixes_hold_only_for_exactly_its_drivers() -> None:
    subjects, classes = list("aabbccdd"), ["x", "y"] * 4
    fixed = (("d",), ("c",), ("b", "a"))
    assert assign_folds(subjects, classes, 3, known=fixed) == {"a": 2, "b": 2, "c": 1, "d": 0}
    assert assign_folds(subjects[:6], classes[:6], 3, known=fixed) == {"a": 0, "b": 1, "c": 2}


def test_drivers_beside_kaggles_join_training_and_leave_its_dev_and_test_alone() -> None:
    split = assign_split([*SUBJECTS, "me", "you"], STATE_FARM)
    assert (split["me"], split["you"]) == ("train", "train")
    assert all(split[name] == part for part, members in SPLIT.items() for name in members)


@pytest.mark.parametrize("drivers", [1, 2])
def test_too_few_drivers_for_any_fold_is_said(drivers: int) -> None:
    table = manifest(even([f"d{n}" for n in range(drivers)]))
    for fold in CROSS_FOLDS:
        with pytest.raises(DistractedError, match=f"{drivers} drivers.*can be used: none.*Add drivers"):
            fold_rows(table, fold)
    with pytest.raises(DistractedError, match="fold original"):
        fold_rows(table, "original")


def test_three_drivers_leave_three_folds() -> None:
    table = manifest(even(["a", "b", "c"]))
    for fold in ("original", "0", "1", "2"):
        fold_rows(table, fold)
    with pytest.raises(DistractedError, match="can be used: 0, 1, 2"):
        fold_rows(table, "3")
    leaks, missing = examine_folds(table)
    assert (leaks, len(missing)) == ([], 2)


def test_an_unknown_fold_names_the_known_ones() -> None:
    with pytest.raises(DistractedError, match=r"'5'.*original, 0, 1, 2, 3, 4"):
        fold_rows(manifest(even(["a", "b", "c"])), "5")


@pytest.mark.parametrize("fold", ["original", "0"])
def test_a_driver_on_both_sides_fails(fold: str) -> None:
    table = manifest(even(SUBJECTS))
    rows = fold_rows(table, fold)
    leaky = FoldRows(fold, np.append(rows.train, rows.predict[0]), rows.validation, rows.predict)
    driver = table["subject"][int(rows.predict[0])].as_py()
    with pytest.raises(DistractedError, match=f"driver {driver} is in train and in"):
        check_disjoint(table, leaky)


def test_the_original_fold_may_report_what_chose_the_epoch_but_a_cross_fold_may_not() -> None:
    table = manifest(even(SUBJECTS))
    rows = fold_rows(table, "original")
    check_disjoint(table, rows)
    with pytest.raises(DistractedError, match="in validation and in predict"):
        check_disjoint(table, FoldRows("0", rows.train, rows.validation, rows.predict))


@pytest.mark.parametrize("fold", FOLDS)
def test_a_byte_identical_image_on_both_sides_fails(fold: str) -> None:
    table = manifest(even(SUBJECTS))
    rows = fold_rows(table, fold)
    hashes = table["sha256"].to_pylist()
    hashes[rows.train[0]] = hashes[rows.predict[0]]
    twin = table.set_column(SCHEMA.get_field_index("sha256"), "sha256", pa.array(hashes))
    with pytest.raises(DistractedError, match=f"fold {fold}: 1 byte-identical images") as error:
        fold_rows(twin, fold)
    assert hashes[rows.predict[0]] in str(error.value)
    assert any(fold in leak for leak in examine_folds(twin)[0])


def test_folds_stay_while_the_drivers_are_the_same(settings: Settings) -> None:
    def folds() -> dict[str, int]:
        table = labelled(ingest(settings, log=lambda line: None).table)
        return dict(zip(table["subject"].to_pylist(), table["fold"].to_pylist(), strict=True))

    before = folds()
    lines = settings.csv.read_text().splitlines()
    settings.csv.write_text("\n".join(line for line in lines if not line.startswith("p002,c0")) + "\n")
    (settings.data / "imgs/train/c3/img_7.jpg").write_bytes(b"")
    assert folds() == before
