"""What ingest writes, lost or damaged: written anew as it was, and nothing is read that has not changed."""

from pathlib import Path

import pyarrow as pa
import pytest

from distracted_pipeline.images.ingest import ingest
from distracted_pipeline.images.manifest import read_manifest, write_manifest
from distracted_pipeline.settings import Settings
from distracted_pipeline_tests.conftest import write_kaggle_tree
from distracted_pipeline_tests.damage import DAMAGES, damage

FILES = {"images.parquet": 0, "subjects.txt": 0, "images_problems.json": 0, "images_state.parquet": 21}
"""What ingest writes, and how many images it reads when that is damaged."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, dict[str, bytes]]:
    """A data root of 20 images, one of them damaged, and what ingest wrote."""
    root = write_kaggle_tree(tmp_path_factory.mktemp("damage") / "data", ["p002", "p012"], frames=1, test_frames=1)
    (root / "imgs" / "train" / "c0" / "img_1.jpg").write_bytes(b"no picture")
    settings = Settings(data=root)
    ingest(settings, log=lambda line: None)
    return settings, {name: (root / name).read_bytes() for name in FILES}


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("name", FILES)
def test_what_is_damaged_is_written_anew_as_it_was(
    name: str, how: str, made: tuple[Settings, dict[str, bytes]]
) -> None:
    settings, before = made
    damage(settings.data / name, how)
    said: list[str] = []
    assert ingest(settings, log=said.append).counts["read"] == FILES[name]
    assert {name: (settings.data / name).read_bytes() for name in FILES} == before
    assert any("not as it was written" in line for line in said) == (name == "images.parquet" and how != "deleted")
    assert ingest(settings, log=said.append).counts["read"] == 0


def test_rows_removed_by_hand_come_back(made: tuple[Settings, dict[str, bytes]], tmp_path: Path) -> None:
    settings, before = made
    table = read_manifest(settings)
    pa.parquet.write_table(pa.parquet.read_table(settings.manifest).slice(5), settings.manifest)
    assert ingest(settings, log=lambda line: None).table.equals(table)
    assert settings.manifest.read_bytes() == before["images.parquet"]
    write_manifest(settings, table.slice(5), "")  # sealed, but of no raw data
    assert ingest(settings, log=lambda line: None).table.equals(table)
