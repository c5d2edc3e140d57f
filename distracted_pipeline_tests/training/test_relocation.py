"""A data root is a folder that one moves, under any name."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy

from distracted_pipeline.settings import Settings
from distracted_pipeline.training.relocation import follow_move, local_path

NAMES = ("plain", "two words", "what?", "#1", "100%20", "größe", "a b?#%20ü")


def _store(settings: Settings, root: Path) -> None:
    """Write what MLflow knows of places, as if it had been written while the data root was `root`."""
    artifacts = (root / "mlartifacts").as_uri()
    settings.data.mkdir(parents=True)
    with closing(sqlite3.connect(settings.mlflow_database)) as store, store:
        store.executescript(
            "CREATE TABLE experiments (name, artifact_location); CREATE TABLE runs (artifact_uri);"
            "CREATE TABLE model_versions (source, storage_location);"
        )
        store.execute("INSERT INTO experiments VALUES ('distracted', ?), ('other', 'file:///other')", (artifacts,))
        store.execute("INSERT INTO runs VALUES (?), ('file:///other/1')", (f"{artifacts}/1/artifacts",))
        source = f"{artifacts}/1/artifacts/champion"
        store.execute("INSERT INTO model_versions VALUES (?, ?)", (source, source))


def _all(settings: Settings, column: str, table: str) -> list[str]:
    with closing(sqlite3.connect(settings.mlflow_database)) as store:
        return [value for (value,) in store.execute(f"SELECT {column} FROM {table}")]


@pytest.mark.parametrize("name", NAMES)
def test_a_moved_store_knows_the_new_places(name: str, tmp_path: Path) -> None:
    settings = Settings(data=tmp_path / name / "data")
    _store(settings, tmp_path / "before" / name)
    assert follow_move(settings)
    place = settings.mlflow_artifacts.as_uri()
    assert _all(settings, "artifact_location", "experiments") == [place, "file:///other"]
    assert _all(settings, "artifact_uri", "runs") == [f"{place}/1/artifacts", "file:///other/1"]
    assert _all(settings, "source", "model_versions") == [f"{place}/1/artifacts/champion"]
    assert local_path(place) == str(settings.mlflow_artifacts)
    assert not follow_move(settings)


@pytest.mark.parametrize("name", NAMES)
def test_the_stores_address_leads_to_its_file(name: str, tmp_path: Path) -> None:
    settings = Settings(data=tmp_path / name)
    settings.data.mkdir()
    engine = sqlalchemy.create_engine(settings.mlflow_uri)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE here (x)")
    engine.dispose()
    assert settings.mlflow_database.is_file()
    assert [path.name for path in tmp_path.iterdir()] == [name]
