"""Who and what each frame shows: every line of the label files, or the reason why it cannot be used.

Lines are read one at a time, so a stray quote costs one line and not the rest of the file. A label comes from columns
(Kaggle's csv, or those that `dataset.yaml` chooses), from the path, or from both. Whether the image of a label exists
is for `rows.join` to find out.
"""

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from distracted_pipeline.advice import RUN
from distracted_pipeline.dataset import DATASET_FILE, Dataset, LabelSource, is_subject_name
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.images.names import (
    composed,
    image_name,
    is_plain_file_name,
    plain_path,
    printable,
)
from distracted_pipeline.images.problems import OK, Problem, problem

KAGGLE: Final = LabelSource(
    columns=(
        ("driver", "subject"),
        ("label", "classname"),
        ("path", "img"),
        ("camera", "camera"),
        ("session", "session"),
    ),
    separator=",",
    header=True,
)
"""How Kaggle's `driver_imgs_list.csv` is read; cameras and sessions are for those who add them."""

_OPTIONAL: Final = ("camera", "session")
_MOST_LINES: Final = 50
_LONGEST: Final = 10_000
"""Characters of a line that are looked at."""
csv.field_size_limit(2 * _LONGEST * _MOST_LINES)  # else Python's reader gives up at a cell of 131,072 characters
# Would lump different drivers into one, who could then not be kept apart by a fold.
_NOBODY: Final = frozenset({"", "unknown", "none", "nan", "null", "n/a", "na", "?", "-"})
_BYTE_ORDER_MARKS: Final = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16", b"\xef\xbb\xbf": "utf-8-sig"}
_NAMELESS: Final = ("incomplete row", "unsafe image name", "unsafe path", "not UTF-8")
"""Statuses of labels that cannot be matched with an image."""


@dataclass(frozen=True)
class Label:
    """What is said about one image.

    Attributes:
        subject: The driver.
        classname: A class id, unless the status says otherwise.
        img: What the image is known by.
        row: Line of its file, counted from 1; None where the path alone says it.
        status: `ok`, or why the line cannot be used.
        path: Where the image should lie, relative to the data root.
        camera: Which camera took it; empty where nobody says.
        session: Which session of the driver it is from; empty where nobody says.
        file: The file that says it; the image's own path where the path alone says it.
    """

    subject: str
    classname: str
    img: str
    row: int | None
    status: str = OK
    path: str = ""
    camera: str = ""
    session: str = ""
    file: str = ""


class Line(NamedTuple):
    """One line of a label file, or one frame whose path says everything; an absent cell is empty."""

    file: str
    row: int | None
    path: str
    label: str = ""
    driver: str = ""
    camera: str = ""
    session: str = ""


def read_labels(files: Sequence[tuple[str, bytes]], dataset: Dataset) -> tuple[list[Label], list[Problem]]:
    """Return one label per image that the files list, in their order, and what is wrong with lines.

    Args:
        files: Name (for messages) and bytes of each.
        dataset: Says which columns mean what, and which classes there are.

    Raises:
        DistractedError: A file is empty or lacks a column.
    """
    source = KAGGLE if dataset.labels.reader == "kaggle" else dataset.labels
    return label_lines((line for name, raw in files for line in _lines(raw, name, source)), dataset)


def label_lines(lines: Iterable[Line], dataset: Dataset) -> tuple[list[Label], list[Problem]]:
    """Return one label per image that lines name, in their order, and what is wrong with them.

    An image that is listed twice has one label: the first line if the lines agree, otherwise the status "two
    labels", for nobody can tell which of them is right.
    """
    judge = _Judge(dataset)
    labels: dict[str, Label] = {}
    unnamed: list[Label] = []
    problems: list[Problem] = []
    for line in lines:
        label, what = judge(line)
        status = label.status
        if status in _NAMELESS:
            unnamed.append(label)
            problems.append(problem(status, line.file, line.row, what))
            continue
        first = labels.get(label.img)
        if first is None or (status == OK and first.status not in (OK, "two labels")):
            labels[label.img] = label
        elif status != OK:
            pass  # a line that is wrong in itself says nothing against a good one
        elif first.path != label.path and dataset.labels.reader != "kaggle":
            status, what = "name used twice", f"{label.path} and {first.path} are both known as {label.img}"
        elif (first.subject, first.classname) == (label.subject, label.classname):
            status, what = "duplicated row", f"{label.img} is listed again as it is in {_place(first, line.file)}"
        else:
            status = "two labels"
            what = (
                f"{label.img} is {label.classname} of {label.subject} here and {first.classname} of {first.subject} "
                f"in {_place(first, line.file)}"
            )
            labels[label.img] = replace(first, status=status)
        if status != OK:
            problems.append(problem(status, line.file, line.row, what))
    return [*labels.values(), *unnamed], problems


def _place(label: Label, file: str) -> str:
    return f"row {label.row}" if label.file == file else f"{label.file}, row {label.row}"


@dataclass
class _Judge:
    """Turns lines into labels; `spelling` collects the drivers' names by lower case."""

    dataset: Dataset
    spelling: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        ids = dict(self.dataset.labels.label_ids) or {name: name for name in self.dataset.class_ids}
        self._ids = {composed(said): name for said, name in ids.items()}
        self._pattern = re.compile(self.dataset.labels.pattern) if self.dataset.labels.pattern else None
        self._kaggle = self.dataset.labels.reader == "kaggle"

    def __call__(self, line: Line) -> tuple[Label, str]:
        """Return the label of a line, and what is wrong where its status is not ok."""
        path = composed(line.path) if self._kaggle else plain_path(line.path)
        place = "/".join(filter(None, (self.dataset.labels.root, path)))
        found = self._pattern.search(place) if self._pattern else None
        said = {name: text for name, text in found.groupdict().items() if text} if found else {}
        label = line.label or said.get("label", "")
        if not label and self.dataset.labels.reader == "folders" and "/" in path:
            label = path.partition("/")[0]
        label = composed(label)
        driver = "_".join(filter(None, (said.get("driver"), line.driver)))
        camera, session = line.camera or said.get("camera", ""), line.session or said.get("session", "")
        classname = self._ids.get(label, label)
        status, what = self._judge(path, label, driver, (camera, session), place if self._pattern and not found else "")
        if self._kaggle:
            place = f"imgs/train/{classname}/{path}"
        found_label = Label(
            printable(driver),
            printable(classname),
            printable(path if self._kaggle else image_name(path)),
            line.row,
            status,
            printable(place),
            printable(camera),
            printable(session),
            line.file,
        )
        return found_label, what

    def _judge(self, path: str, label: str, driver: str, others: tuple[str, ...], unmatched: str) -> tuple[str, str]:
        shown = printable(path)
        if any(_undecodable(cell) for cell in (driver, label, path, *others)):
            return "not UTF-8", f"the row of {shown or 'an image'} holds bytes that are not UTF-8"
        if not path:
            return "incomplete row", "the row names no image"
        if self._kaggle and not is_plain_file_name(path):
            return "unsafe image name", f"'{shown}' is not a plain file name"
        if not self._kaggle and not is_plain_file_name(image_name(path)):
            return "unsafe path", f"'{shown}' is not a plain path"
        if unmatched:
            return "pattern", f"{printable(unmatched)} does not match the pattern {self.dataset.labels.pattern}"
        if not label:
            return "incomplete row", f"the row of {shown} has no class"
        if driver.lower() in _NOBODY:
            return "no subject", f"the row of {shown} names no driver ('{driver}')"
        if not is_subject_name(driver):
            return "unsafe subject", f"'{printable(driver)}' cannot name a folder and a partition"
        if self.spelling.setdefault(driver.lower(), driver) != driver:
            return "unsafe subject", f"'{driver}' differs from '{self.spelling[driver.lower()]}' in case only"
        if label not in self._ids:
            return "unknown class", f"'{printable(label)}' of {shown} is none of {', '.join(self._ids)}"
        return OK, ""


def _lines(raw: bytes, where: str, source: LabelSource) -> Iterator[Line]:
    """Yield the lines of a label file that are not blank."""
    rows = _cells(raw, source.separator)
    header = next(rows, (1, []))[1] if source.header else []
    columns = _columns(header, where, source)
    for row, cells in rows:
        if any(cell.strip() for cell in cells):
            said = {role: cells[i].strip() for role, i in columns.items() if i < len(cells)}
            yield Line(where, row, **{"path": "", **said})


def _cells(raw: bytes, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Yield line number and cells; bytes that are not text stay recognisable as lone surrogates."""
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS.items() if raw.startswith(mark)), "utf-8")
    errors = "replace" if encoding == "utf-16" else "surrogateescape"
    # Not `splitlines`: it also splits at form feeds and Unicode separators, which would shift row numbers.
    lines = [line[:_LONGEST] for line in re.split(r"\r\n|\n|\r", raw.decode(encoding, errors))]
    if separator == " ":
        yield from ((number, line.split()) for number, line in enumerate(lines, start=1))
        return
    at, width = 0, 0
    while at < len(lines):
        cells, taken = _record(lines, at, separator, width)
        width = width or len(cells)
        yield at + 1, cells
        at += taken


def _record(lines: list[str], at: int, separator: str, width: int) -> tuple[list[str], int]:
    """Return the cells that begin in a line, and how many lines they take: a quoted cell may hold line breaks.

    A stray quote must not swallow the lines after it: lines that are whole by themselves (`width` cells) are no part of
    a cell, and few cells are longer than `_MOST_LINES`.
    """
    cells = _split(lines[at : at + 1], separator)
    open_quote = lines[at].count('"') % 2
    whole = max(width or len(cells), 2)
    for taken in range(2, _MOST_LINES + 1) if open_quote else ():
        more = lines[at + 1 : at + taken]
        if len(more) < taken - 1 or len(_split(more[-1:], separator)) >= whole:
            break
        if sum(line.count('"') for line in more) % 2:
            joined = _split(["\n".join([lines[at], *more])], separator)
            return (joined, taken) if len(joined) == (width or len(joined)) else (cells, 1)
    return cells, 1


def _split(line: list[str], separator: str) -> list[str]:
    """Return the cells of a line; one that is no csv for Python's reader is one cell."""
    try:
        return next(csv.reader(line, delimiter=separator), [])
    except csv.Error:
        return line


_OTHER_MARKS = {";": "semicolons", "\t": "tabs", "|": "bars"}


def _columns(header: list[str], where: str, source: LabelSource) -> dict[str, int]:
    """Return the position of every column that is there, by what it says."""
    found = [cell.strip().lower() for cell in header]
    names = {role: column for role, column in source.columns if isinstance(column, str)}
    optional = _OPTIONAL if source is KAGGLE else ()
    missing = [name for role, name in names.items() if name.strip().lower() not in found and role not in optional]
    if missing:
        between = next((word for mark, word in _OTHER_MARKS.items() if mark in "".join(header)), "")
        hint = f" The cells seem to be separated by {between}." if between else ""
        must = ",".join(names[role] for role in ("driver", "label", "path") if role in names)
        remedy = (
            f"The first line must read {must}, as in Kaggle's file; put that there"
            if source is KAGGLE
            else f"Correct the file, or `columns` and `separator` under `labels` in {DATASET_FILE}"
        )
        raise DistractedError(
            f"{where}, row 1: no column {', '.join(missing)} (found: {printable(', '.join(header)) or 'nothing'})."
            f"{hint} {remedy}, then: {RUN}"
        )
    return {
        role: found.index(column.strip().lower()) if isinstance(column, str) else column
        for role, column in source.columns
        if not isinstance(column, str) or column.strip().lower() in found
    }


def _undecodable(text: str) -> bool:
    return not text.isascii() and any("\udc80" <= char <= "\udcff" or char == "\ufffd" for char in text)
