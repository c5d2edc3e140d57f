"""JSON that the program wrote itself, by an earlier version or into a data root that came from elsewhere."""

from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import strategies as st

from distracted_pipeline.cache_folders import precision_of, read_about
from distracted_pipeline.files import read_json, write_json
from distracted_pipeline.fingerprints import recorded_inputs
from distracted_pipeline.images.ingest import PROBLEMS_NAME, read_problems
from distracted_pipeline.images.recheck import NOTE_NAME, distrusted
from distracted_pipeline.masks.cache import INDEX, MaskCache
from distracted_pipeline.settings import Settings
from distracted_pipeline_tests.fuzz.mutations import as_json, deep, edited, mutated
from distracted_pipeline_tests.fuzz.reader import Reader, fresh

_INDEX = {
    "rows": "ab",
    "images": 2,
    "shards": {"part-00000.parquet": 1200},
    "quarantined": {"a.jpg": {"reason": "torn"}},
    "empty": 0,
    "present": [0, 2, 1],
    "pixels": [10, 5, 3],
}
_ABOUT = {
    "segmenter": "tiny",
    "precision": "fp32",
    "categories": [["person"], ["cup", "mug"]],
    "inputs": "0123456789ab",
}
_PROBLEMS = [{"where": "a.csv", "row": 3, "what": "no image", "remedy": "Delete it.", "status": "incomplete row"}]


def _read(folder: Path, case: bytes) -> None:
    settings = Settings(data=fresh(folder))
    cache = MaskCache(folder / "masks" / "ab", "ab", 6)
    for path in (cache.folder("p1") / INDEX, cache.root / "about.json", folder / PROBLEMS_NAME, folder / NOTE_NAME):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(case)
    read_json(cache.root / "about.json")
    read_about(cache.root)
    precision_of(cache.root)
    recorded_inputs(cache.root / "about.json")
    cache.content(["p1"])
    for problem in read_problems(settings):
        str(problem)
    distrusted(settings)


def _cases() -> st.SearchStrategy[bytes]:
    with TemporaryDirectory() as folder:
        write_json(Path(folder) / "sealed.json", _INDEX)
        sealed = (Path(folder) / "sealed.json").read_bytes()
    documents = [_INDEX, _ABOUT, _PROBLEMS, ["a.jpg"]]
    raw = [sealed, *(as_json(one) for one in documents), deep(b"["), deep(b'{"a":', b"}")]
    return st.one_of(edited(documents).map(as_json), mutated(raw, (b"NaN", b"\\ud800", b'"checksum"', b"9" * 5_000)))


READERS = [
    Reader(
        "sealed_json",
        _read,
        _cases,
        lambda: [as_json(one) for one in (_INDEX, _ABOUT, _PROBLEMS)],
        made=lambda: {"deep": deep(b"["), "deep, in an object": deep(b'{"a":', b"}"), "a list of numbers": b"[1]"},
    )
]
