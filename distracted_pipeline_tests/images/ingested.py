"""What tests of ingest share: an ingest without words, its rows and problems, a tree as a zip."""

import zipfile
from pathlib import Path

from distracted_pipeline.images.ingest import IngestResult, ingest
from distracted_pipeline.images.problems import ImageProblem
from distracted_pipeline.settings import Settings


def quiet(settings: Settings) -> IngestResult:
    return ingest(settings, log=lambda line: None)


def rows_of(result: IngestResult, img: str) -> list[dict]:
    return [row for row in result.table.to_pylist() if row["img"] == img]


def only_problem(result: IngestResult) -> ImageProblem:
    assert len(result.problems) == 1, [str(p) for p in result.problems]
    return result.problems[0]


def zip_tree(root: Path, archive: Path, prefix: str = "", compression: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(archive, "w", compression) as target:
        for path in sorted(root.rglob("*")):
            if path.is_file():
                target.write(path, prefix + path.relative_to(root).as_posix())
