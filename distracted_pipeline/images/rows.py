"""Manifest rows in the making: labels joined with files, judged, dealt to folds.

Pure functions over lists; reading files is `ingest`'s part.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Final

import pyarrow as pa

from distracted_pipeline.dataset import TEST_PREFIX, Dataset
from distracted_pipeline.images.folds import assign_folds, assign_split
from distracted_pipeline.images.frames import Frame
from distracted_pipeline.images.labels import Label
from distracted_pipeline.images.manifest import NO_FOLD, SCHEMA
from distracted_pipeline.images.problems import OK, Problem, problem
from distracted_pipeline.images.state import UNSEEN, Content

TEST_SHARD: Final = 1_000
"""Unlabelled frames per shard: they have no driver, so shards stand in for subjects."""

MOST_TEST_SHARDS: Final = 20_000
"""Shards grow beyond this many: Dagster's UI is made for up to 100,000 partitions of an asset."""


@dataclass(slots=True)
class Row:
    """One manifest row, and where its label came from.

    Rows are in the order of the classes that the label files say (`listed`): a label that is changed by review moves no
    frame, so that what was computed from the driver's frames stays as it is.
    """

    img: str
    subject: str
    classname: str
    status: str
    frame: Frame | None = None
    label_row: int | None = None
    content: Content = UNSEEN
    camera: str = ""
    session: str = ""
    split: str = ""
    fold: int = NO_FOLD
    listed: str = field(init=False)

    def __post_init__(self) -> None:
        self.listed = self.classname

    @property
    def usable(self) -> bool:
        """Whether the row is a good labelled image."""
        return self.status == OK and self.classname != ""

    @property
    def path(self) -> str:
        """Manifest path, empty without a file."""
        return self.frame.path if self.frame else ""


def join(labels: list[Label], frames: list[Frame], listed_in: str) -> tuple[list[Row], list[Problem]]:
    """Return a row for every label and for every file that no label names, and where the two disagree.

    Args:
        labels: What the label files say.
        frames: What lies in the data root.
        listed_in: The label files, for messages.
    """
    rows: list[Row] = []
    problems: list[Problem] = []

    def spoil(row: Row, status: str, where: str, what: str) -> None:
        row.status = status
        problems.append(problem(status, where, row.label_row, what))

    files: dict[str, list[Frame]] = defaultdict(list)
    for frame in frames:
        if frame.labelled:
            files[frame.img].append(frame)
    stems = {_stem(img): img for img in files}
    for label in labels:
        row = Row(label.img, label.subject, label.classname, label.status, label_row=label.row)
        row.camera, row.session = label.camera, label.session
        rows.append(row)
        candidates = files.get(label.img, []) if label.status != "unsafe image name" else []
        if candidates:
            row.frame = next((frame for frame in candidates if frame.folder == label.classname), candidates[0])
            candidates.remove(row.frame)
        if label.status == OK and row.frame is None:
            like = stems.get(_stem(label.img), "")
            near = f"; {like} is there" if files.get(like) else ""
            spoil(row, "no file", label.file, f"{label.path} does not exist{near}")
        elif label.status == OK and row.frame is not None and row.frame.folder not in (None, label.classname):
            place = row.frame.path.rpartition("/")[0]
            spoil(row, "folder disagrees", label.file, f"{label.img} is {label.classname} here, but lies in {place}")
    for frame in (frame for left in files.values() for frame in left):
        rows.append(Row(frame.img, "", frame.folder or "", OK, frame))
        spoil(rows[-1], "no csv row", frame.path, f"{listed_in} has no row for it")
    labelled = {row.img: row for row in rows}
    unlabelled = sorted((frame for frame in frames if not frame.labelled), key=lambda frame: frame.img)
    shard = max(TEST_SHARD, -(-len(unlabelled) // MOST_TEST_SHARDS))
    for number, frame in enumerate(unlabelled):
        row = Row(frame.img, f"{TEST_PREFIX}{number // shard:03d}", "", OK, frame)
        rows.append(row)
        if (other := labelled.get(frame.img)) is not None:
            spoil(row, "name used twice", frame.path, f"a labelled image has this name too ({other.path or listed_in})")
    return rows, problems


def _stem(img: str) -> str:
    """Return a name without its ending, whatever its case: what is nearly the same."""
    return PurePosixPath(img).stem.lower()


def judge_content(rows: Iterable[Row]) -> list[Problem]:
    """Mark rows whose file is unusable, unless their label is wrong already; return the problems."""
    problems = []
    for row in rows:
        if row.frame is None or row.content.status == OK:
            continue
        problems.append(problem(row.content.status, row.path, row.label_row, row.content.what))
        if row.status == OK:
            row.status = row.content.status
    return problems


def twins(rows: Iterable[Row]) -> list[Problem]:
    """Return the usable images with identical bytes that differ in driver or class."""
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row.usable:
            groups[row.content.sha256].append(row)
    problems = []
    for first, *others in groups.values():
        for row in others:
            if row.subject == first.subject and row.classname == first.classname:
                continue
            status = "same image, two drivers" if row.subject != first.subject else "same image, two classes"
            what = (
                f"{row.classname} of {row.subject}, yet byte for byte the same as {first.path}, "
                f"which is {first.classname} of {first.subject}"
            )
            problems.append(problem(status, row.path, row.label_row, what))
    return problems


def deal(rows: Iterable[Row], labels: Iterable[Label], earlier: dict[str, int], dataset: Dataset) -> None:
    """Set split and fold of the usable rows.

    Folds balance what is listed rather than what is usable, and stay as they were while the drivers are the same, so
    that neither a damaged file nor a few more frames change who is held out with whom.

    Args:
        rows: Changed in place.
        labels: What is listed.
        earlier: Fold by driver in the manifest that is being replaced.
        dataset: Its fixed folds and its split, where it has them.
    """
    usable = [row for row in rows if row.usable]
    drivers = {row.subject for row in usable}
    listed = [label for label in labels if label.status == OK and label.subject in drivers]
    folds = earlier
    if earlier.keys() != drivers:
        folds = assign_folds(
            [label.subject for label in listed], [label.classname for label in listed], known=dataset.folds
        )
    split = assign_split(drivers, dataset)
    for row in usable:
        row.fold, row.split = folds[row.subject], split[row.subject]


def as_table(rows: Iterable[Row]) -> pa.Table:
    """Return the rows as the manifest, in its order."""
    ordered = sorted(rows, key=lambda row: (row.subject, row.listed, row.img, row.path))
    columns: dict[str, list[object]] = {
        "img": [row.img for row in ordered],
        "subject": [row.subject for row in ordered],
        "classname": [row.classname for row in ordered],
        "split": [row.split for row in ordered],
        "fold": [row.fold for row in ordered],
        "path": [row.path for row in ordered],
        "bytes": [max(row.frame.bytes, 0) if row.frame else 0 for row in ordered],
        "width": [row.content.width for row in ordered],
        "height": [row.content.height for row in ordered],
        "sha256": [row.content.sha256 for row in ordered],
        "status": [row.status for row in ordered],
        "camera": [row.camera for row in ordered],
        "session": [row.session for row in ordered],
    }
    return pa.table(columns, schema=SCHEMA)
