"""A data root that was moved or copied: its MLflow store follows.

MLflow keeps the absolute place of every run's artifacts and of every registered model. Belongs here: correcting those
places in the store of a data root, and its address in SQLAlchemy's spelling. Does not belong here: runs (`tracking`).
"""

import sqlite3
from contextlib import closing
from urllib.parse import urlsplit
from urllib.request import url2pathname

from distracted_pipeline.settings import Settings

EXPERIMENT = "distracted"

_PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
    ("logged_models", "artifact_location"),
)


def follow_move(settings: Settings) -> bool:
    """Correct the places that the data root's own store knows, if the root was moved since; tell whether it was.

    The caller holds the store's lock.
    """
    path = settings.mlflow_database
    if settings.mlflow or not path.is_file():
        return False
    now = settings.mlflow_artifacts.as_uri()
    with closing(sqlite3.connect(path)) as store, store:
        tables = {name for (name,) in store.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if "experiments" not in tables:
            return False
        row = store.execute("SELECT artifact_location FROM experiments WHERE name = ?", (EXPERIMENT,)).fetchone()
        if row is None or row[0] == now:
            return False
        before = str(row[0])
        for table, column in _PLACES:
            if table in tables:
                store.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
                    f"WHERE {column} = ? OR substr({column}, 1, ?) = ?",
                    (now, len(before) + 1, before, len(before) + 1, f"{before}/"),
                )
    return True


def local_path(uri: str) -> str:
    """Return the path of a `file:` URI, or of a path."""
    parts = urlsplit(uri)
    return url2pathname(parts.path) if parts.scheme == "file" else uri
