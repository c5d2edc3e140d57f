"""A data root from a notebook: what short names give."""

from pathlib import Path

import pyarrow.parquet as pq

from distracted_pipeline.evaluation.predictions import predictions_path
from distracted_pipeline.notebook import open_root
from distracted_pipeline_tests.damage import write_unsealed
from distracted_pipeline_tests.evaluation.fakes import make_root, predict


def test_predictions_have_a_row_for_each_image_fold_and_training(tmp_path: Path) -> None:
    settings = make_root(tmp_path / "data")
    predict(settings, "base", ["0", "1"], replicates=2)
    path = predictions_path(settings, "base", "1")  # as an earlier version wrote it
    once = pq.read_table(path).slice(0, 90).drop_columns(["replicate"])
    write_unsealed(path, once)
    frame = open_root(settings.data).predictions("base")
    assert frame.groupby(["fold", "replicate"]).size().to_dict() == {("0", 0): 90, ("0", 1): 90, ("1", 0): 90}
    assert (frame["predicted"] == frame["true"]).all()
