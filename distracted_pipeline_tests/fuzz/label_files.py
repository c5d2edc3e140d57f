"""Text files of labels: Kaggle's csv and other data sets' lists, decisions, splits to audit, Kaggle's sample."""

from dataclasses import replace
from pathlib import Path

from hypothesis import strategies as st

from distracted_pipeline.dataset import STATE_FARM, LabelSource
from distracted_pipeline.images.decisions import read_decisions
from distracted_pipeline.images.labels import read_labels
from distracted_pipeline.images.splits import read_drivers, read_split
from distracted_pipeline.serving.submission import sample_images
from distracted_pipeline_tests.fuzz.mutations import mutated
from distracted_pipeline_tests.fuzz.reader import Reader, fresh

_WORDS = (
    b",",
    b'"',
    b'""',
    b"\n",
    b"subject",
    b"classname",
    b"img",
    b"c0",
    b";",
    b"a" * 200_000,
    b'"' * 1_001,
    b"\xe2\x80\xa8",
)
_KAGGLE = b"subject,classname,img\np002,c0,img_1.jpg\np002,c1,img_2.jpg\np012,c0,img_3.jpg\n"
_LIST = b"side/ann/1.jpg 3 ann\nside/gus/2.jpg 0 gus\n"
_PATTERN = replace(
    STATE_FARM,
    labels=LabelSource(
        "list", ("l.txt",), (("path", 0), ("label", 1)), "\t", False, (("3", "c3"),), "frames", r"/(?P<driver>\w+)/"
    ),
)
_DECISIONS = b"img,sha256,decision,classname\nimg_1.jpg,0123456789ab,relabel,c1\nimg_2.jpg,0123456789abc,drop,\n"
_SPLIT = b"img,split,subject,classname,correct\na.jpg,train,p1,c0,1\nb.jpg,test,p2,c1,0\n"
_SAMPLE = b"img,c0,c1\nimg_1.jpg,0.5,0.5\nimg_2.jpg,0.1,0.9\n"


def _labels(folder: Path, case: bytes) -> None:
    for dataset in (_LISTED, _PATTERN, STATE_FARM):
        for problem in read_labels([("labels.csv", case)], dataset)[1]:
            str(problem)


_LISTED = replace(
    STATE_FARM, labels=LabelSource("list", ("l.txt",), (("path", 0), ("label", 1), ("driver", 2)), " ", False)
)


def _decisions(folder: Path, case: bytes) -> None:
    (fresh(folder) / "label_decisions.csv").write_bytes(case)
    read_decisions(folder / "label_decisions.csv", STATE_FARM)


def _split(folder: Path, case: bytes) -> None:
    for name in ("a.jpg", "b.jpg"):
        (fresh(folder) / name).touch()
    (folder / "split.csv").write_bytes(case)
    read_split(folder / "split.csv")


def _drivers(folder: Path, case: bytes) -> None:
    (fresh(folder) / "drivers.csv").write_bytes(case)
    read_drivers(folder / "drivers.csv")


def _sample(folder: Path, case: bytes) -> None:
    (fresh(folder) / "sample.csv").write_bytes(case)
    sample_images(folder / "sample.csv", ("img", "c0", "c1"))


def _cases(*seeds: bytes) -> st.SearchStrategy[bytes]:
    encoded = [seed.decode().encode(name) for seed in seeds for name in ("utf-8", "utf-16", "utf-8-sig")]
    return mutated([*encoded, *(seed.replace(b"\n", b"\r\n") for seed in seeds)], _WORDS)


def _long() -> dict[str, bytes]:
    cell = b"a" * 200_000
    return {
        "a header of one long cell": cell,
        "a long cell": _KAGGLE + cell + b",c0,x.jpg\n",
        "a long decision": _DECISIONS + cell + b",0123456789ab,drop,\n",
        "a quote that nothing closes": _KAGGLE + b'"' + cell * 5,
        "as many quotes as lines": _KAGGLE + b'p1,"c0,x.jpg\n' * 3_000,
    }


READERS = [
    Reader("labels", _labels, lambda: _cases(_KAGGLE, _LIST), lambda: [_KAGGLE], made=_long),
    Reader("decisions", _decisions, lambda: _cases(_DECISIONS), lambda: [_DECISIONS], made=_long),
    Reader("split", _split, lambda: _cases(_SPLIT), lambda: [_SPLIT], made=_long),
    Reader("drivers", _drivers, lambda: _cases(_KAGGLE), lambda: [_KAGGLE], made=_long),
    Reader("sample_submission", _sample, lambda: _cases(_SAMPLE), lambda: [_SAMPLE], made=_long),
]
