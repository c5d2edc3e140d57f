"""Tables as dataclasses: columns, round trips, and files of other versions."""

from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.evaluation.table_schemas import Bin, ClassScore, DriverScore, Move, VariantScore
from distracted_pipeline.evaluation.tables_io import made, read_rows, schema_of, to_table, write_table
from distracted_pipeline.explanation.tables import CamRow, Lift, lift_column
from distracted_pipeline_tests.damage import write_unsealed


def test_a_column_has_the_type_of_its_field() -> None:
    schema = schema_of(VariantScore)
    assert schema.names == [column.name for column in fields(VariantScore)]
    assert schema.field("n").type == pa.int64()
    assert schema.field("worst_class").type == pa.int8()
    assert schema.field("macro_recall").type == pa.float64()
    assert schema.field("folds_missing").type == pa.list_(pa.string())
    assert schema_of(CamRow, ["lift_cup"]).names[-2:] == ["all_zero", "lift_cup"]
    assert schema_of(CamRow, ["lift_cup"]).field("all_zero").type == pa.bool_()


ROWS = [
    ClassScore(scope="oof", variant="a", class_id=3, n=7, verdict="improved", recall=0.5, p=None),
    VariantScore(scope="dev", variant="a", folds_missing=["1", "2"], worst_class=4),
    Bin(scope="oof", variant="a", bin=9, low=0.9, high=1.0, n=0),
    Move(scope="oof", variant="a", true=1, predicted=2, n=3, share=0.25),
    DriverScore(scope="oof", variant="a", class_id=0, driver="p002", n=0),
    Lift(class_id="all", category="cup", lift=1.5, drivers=2, images=9),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: type(row).__name__)
def test_what_was_written_is_read_back(tmp_path: Path, row: object) -> None:
    write_table(tmp_path / "t.parquet", to_table(type(row), [row]), {"note": "n"})
    assert read_rows(tmp_path / "t.parquet", type(row)) == [row]
    assert pq.read_schema(tmp_path / "t.parquet").metadata[b"note"] == b"n"


def test_lifts_by_category_are_columns_of_their_own(tmp_path: Path) -> None:
    row = CamRow(
        img="a.jpg",
        subject="p002",
        true=1,
        predicted=2,
        fold="0",
        target="true",
        kind="confused",
        all_zero=False,
        lifts={lift_column("cell phone"): 2.5, lift_column("cup"): None},
    )
    table = to_table(CamRow, [row], list(row.lifts))
    assert table["lift_cell_phone"].to_pylist() == [2.5]
    write_table(tmp_path / "rows.parquet", table)
    (back,) = read_rows(tmp_path / "rows.parquet", CamRow)
    assert back == row
    assert (back.lift("cell phone"), back.lift("cup"), back.lift("chair")) == (2.5, None, None)


def test_undefined_numbers_are_none_in_rows_and_null_on_disk(tmp_path: Path) -> None:
    columns = {"scope": "oof", "variant": np.str_("a"), "class_id": np.int64(3), "driver": "p002", "n": np.int8(0)}
    row = made(DriverScore, {**columns, "recall": np.float64("nan"), "delta": np.float32(0.5)})
    assert (row.recall, row.delta, row.n) == (None, 0.5, 0)
    assert [type(value) for value in (row.variant, row.class_id, row.delta)] == [str, int, float]
    assert to_table(DriverScore, [row])["recall"].null_count == 1
    path = tmp_path / "t.parquet"
    table = to_table(DriverScore, [row])
    nan = pa.array([float("nan")], pa.float64())
    write_unsealed(path, table.set_column(table.schema.names.index("recall"), "recall", nan))
    assert read_rows(path, DriverScore) == [row]


def test_files_of_other_versions_are_read(tmp_path: Path) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Earlier:
        scope: str
        variant: str
        class_id: int
        n: int
        verdict: str
        heterogeneity_p: float | None = None
        folds: list[str] = field(default_factory=list)

    path = tmp_path / "class_accuracy.parquet"
    write_table(path, to_table(Earlier, [Earlier(scope="oof", variant="a", class_id=3, n=7, verdict="absent")]))
    assert read_rows(path, ClassScore) == [ClassScore(scope="oof", variant="a", class_id=3, n=7, verdict="absent")]


def test_a_file_that_says_nothing_is_refused_with_the_next_command(tmp_path: Path) -> None:
    path = tmp_path / "class_accuracy.parquet"
    assert read_rows(path, ClassScore) == []
    pq.write_table(pa.table({"scope": ["oof"]}), path)
    with pytest.raises(DistractedError, match=r"class_accuracy.parquet cannot be read .*verdict.* distracted run"):
        read_rows(path, ClassScore)
    path.write_bytes(b"PAR1")
    with pytest.raises(DistractedError, match=r"class_accuracy.parquet cannot be read .* distracted run"):
        read_rows(path, ClassScore)
