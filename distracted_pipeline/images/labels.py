"""Kaggle's `driver_imgs_list.csv`: every row, or the reason why it cannot be used.

Rows are read one line at a time, so a stray quote costs one row and not the rest of the file. Whether a
row's image exists is for `ingest` to find out.
"""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.images.names import is_plain_file_name, is_subject_name, printable
from distracted_pipeline.images.problems import OK, Problem, problem
from distracted_pipeline.vocabulary import CLASSES

COLUMNS: Final = ("subject", "classname", "img")

# Would lump different drivers into one, who could then not be kept apart by a fold.
_NOBODY: Final = frozenset({"", "unknown", "none", "nan", "null", "n/a", "na", "?", "-"})
_BYTE_ORDER_MARKS: Final = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16", b"\xef\xbb\xbf": "utf-8-sig"}


@dataclass(frozen=True)
class Label:
    """One image's row in the csv.

    Attributes:
        subject: The driver.
        classname: `c0` … `c9`, unless the status says otherwise.
        img: The image's file name.
        row: Line of the csv, counted from 1 with the header.
        status: `ok`, or why the row cannot be used.
    """

    subject: str
    classname: str
    img: str
    row: int
    status: str = OK


def read_labels(raw: bytes, where: str) -> tuple[list[Label], list[Problem]]:
    """Return one label per image that the csv lists, in its order, and what is wrong with rows.

    An image that is listed twice has one label: the first row if the rows agree, otherwise the status "two
    labels", for nobody can tell which of them is right.

    Args:
        raw: The file's bytes.
        where: The file's name, for messages.

    Raises:
        DistractedError: The file is empty or lacks a column.
    """
    lines = _lines(raw)
    columns = _columns(next(lines, (1, []))[1], where)
    labels: dict[str, Label] = {}
    unnamed: list[Label] = []
    problems: list[Problem] = []
    spelling: dict[str, str] = {}
    for row, cells in lines:
        if not any(cell.strip() for cell in cells):
            continue
        subject, classname, img = (cells[i].strip() if i < len(cells) else "" for i in columns)
        status, what = _judge(subject, classname, img, spelling)
        label = Label(printable(subject), printable(classname), printable(img), row, status)
        if status in ("incomplete row", "unsafe image name", "not UTF-8"):
            unnamed.append(label)
            problems.append(problem(status, where, row, what))
            continue
        first = labels.get(img)
        if first is None or (status == OK and first.status not in (OK, "two labels")):
            labels[img] = label
        elif status != OK:
            pass  # a row that is wrong in itself says nothing against a good one
        elif (first.subject, first.classname) == (subject, classname):
            status, what = "duplicated row", f"{img} is listed again as it is in row {first.row}"
        else:
            status = "two labels"
            what = f"{img} is {classname} of {subject} here and {first.classname} of {first.subject} in row {first.row}"
            labels[img] = replace(first, status=status)
        if status != OK:
            problems.append(problem(status, where, row, what))
    return [*labels.values(), *unnamed], problems


def _judge(subject: str, classname: str, img: str, spelling: dict[str, str]) -> tuple[str, str]:
    """Return the status of a row and what is wrong with it; `spelling` collects the drivers' names by lower case."""
    shown = printable(img)
    if any(_undecodable(cell) for cell in (subject, classname, img)):
        return "not UTF-8", f"the row of {shown or 'an image'} holds bytes that are not UTF-8"
    if not img or not classname:
        return "incomplete row", f"the row has no {'img' if not img else 'classname'}"
    if not is_plain_file_name(img):
        return "unsafe image name", f"'{shown}' is not a plain file name"
    if subject.lower() in _NOBODY:
        return "no subject", f"the row of {shown} names no driver ('{subject}')"
    if not is_subject_name(subject):
        return "unsafe subject", f"'{printable(subject)}' cannot name a folder and a partition"
    if spelling.setdefault(subject.lower(), subject) != subject:
        return "unsafe subject", f"'{subject}' differs from '{spelling[subject.lower()]}' in case only"
    if classname not in CLASSES:
        return "unknown class", f"'{printable(classname)}' of {shown} is not a class"
    return OK, ""


def _lines(raw: bytes) -> Iterator[tuple[int, list[str]]]:
    """Yield line number and cells; bytes that are not text stay recognisable as lone surrogates."""
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS.items() if raw.startswith(mark)), "utf-8")
    errors = "replace" if encoding == "utf-16" else "surrogateescape"
    # Not `splitlines`: it also splits at form feeds and Unicode separators, which would shift row numbers.
    for number, line in enumerate(re.split(r"\r\n|\n|\r", raw.decode(encoding, errors)), start=1):
        yield number, next(csv.reader([line]), [])


def _columns(header: list[str], where: str) -> list[int]:
    found = [cell.strip().lower() for cell in header]
    missing = [name for name in COLUMNS if name not in found]
    if missing:
        hint = " The cells seem to be separated by semicolons: save it with commas." if ";" in "".join(header) else ""
        raise DistractedError(
            f"{where}, row 1: no column {', '.join(missing)} (found: {printable(', '.join(header)) or 'nothing'})."
            f"{hint} The first line must read {','.join(COLUMNS)}, as in Kaggle's file; put that there, then: "
            "distracted run"
        )
    return [found.index(name) for name in COLUMNS]


def _undecodable(text: str) -> bool:
    return not text.isascii() and any("\udc80" <= char <= "\udcff" or char == "\ufffd" for char in text)
