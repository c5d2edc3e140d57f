"""What people decided about labels in doubt: `label_decisions.csv` in the data root, and what it does to rows.

A decision is about one picture, known by the hash of its bytes: where another has taken its name, it is not applied.
Which labels are in doubt is `evaluation.label_errors`' business.
"""

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa

from distracted_pipeline.advice import RUN, did_you_mean
from distracted_pipeline.dataset import Dataset
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.files import write_text
from distracted_pipeline.images.csv_rows import named_rows
from distracted_pipeline.images.names import printable
from distracted_pipeline.images.problems import DROPPED, OK, Problem, problem
from distracted_pipeline.images.rows import Row
from distracted_pipeline.settings import Settings

FILE: Final = "label_decisions.csv"
RELABEL, DROP, KEEP = "relabel", "drop", "keep"
DECISIONS: Final = (RELABEL, DROP, KEEP)
COLUMNS: Final = ("img", "sha256", "decision", "classname")
"""Columns that are read; others are for people. `classname` is the new class, empty unless `decision` is relabel."""

_SHORT: Final = 12
"""Digits of a hash that are enough to tell pictures apart."""


@dataclass(frozen=True)
class Decision:
    """What is to be done with one picture.

    Attributes:
        img: What it is known by.
        sha256: Of its bytes; the first 12 digits are enough.
        decision: One of `DECISIONS`.
        classname: The right class where it is relabelled, else empty.
        line: Where the file says it, counted from 1.
    """

    img: str
    sha256: str
    decision: str
    classname: str
    line: int

    def is_about(self, sha256: str) -> bool:
        """Tell whether a picture is the one that was decided on."""
        return sha256.startswith(self.sha256)


def decisions_file(settings: Settings) -> Path:
    """Return where a data root keeps what was decided."""
    return settings.data / FILE


def read_decisions(path: Path, dataset: Dataset) -> list[Decision]:
    """Return the decisions of a file, in its order; none where there is no such file.

    Raises:
        DistractedError: A column is missing, a line says something unknown, or two lines are about one image.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise DistractedError(f"{path} cannot be read ({error}). Save it as UTF-8 text, then: {RUN}") from error
    names, rows = named_rows(text, path)
    absent = [name for name in COLUMNS if name not in names]
    if absent:
        raise DistractedError(
            f"{path}, line 1: no column {', '.join(absent)} (found: {printable(', '.join(names))}). "
            "`distracted review` writes a page whose button saves such a file."
        )
    found: dict[str, Decision] = {}
    for line, cells in rows:
        said = {name: (cells[name] or "").strip() for name in COLUMNS}
        one = Decision(**said, line=line)
        fault = _fault(one, dataset) or (
            f"img {printable(one.img)} is decided in line {found[one.img].line} already" if one.img in found else ""
        )
        if fault:
            raise DistractedError(f"{path}, line {one.line}: {fault}. Correct the line or delete it, then: {RUN}")
        found[one.img] = one
    return list(found.values())


def _fault(one: Decision, dataset: Dataset) -> str:
    """Return what is wrong with a line by itself, or nothing."""
    if not one.img:
        return "it names no image"
    if one.decision not in DECISIONS:
        hint = did_you_mean(one.decision, DECISIONS)
        return f"decision is {printable(one.decision)!r}, not one of {', '.join(DECISIONS)}.{hint}"
    if len(one.sha256) < _SHORT or not set(one.sha256) <= set("0123456789abcdef"):
        return f"sha256 of {printable(one.img)} is {printable(one.sha256)!r}, not {_SHORT} or more hex digits"
    if one.decision == RELABEL and one.classname not in dataset.class_ids:
        return f"classname is {printable(one.classname)!r}, none of {', '.join(dataset.class_ids)}"
    if one.decision != RELABEL and one.classname:
        return f"classname is {printable(one.classname)!r}, yet the decision is {one.decision}: leave it empty"
    return ""


def apply(decisions: Sequence[Decision], rows: Sequence[Row], path: Path) -> list[Problem]:
    """Change rows as decided, in place; return a problem for each decision on a picture that is not there any more.

    Raises:
        DistractedError: A decision is about an image that nothing lists.
    """
    listed = {row.img: row for row in rows if row.label_row is not None or row.classname}
    problems = []
    for one in decisions:
        row = listed.get(one.img)
        if row is None:
            raise DistractedError(
                f"{path}, line {one.line}: no labelled image is called {printable(one.img)!r}."
                f"{did_you_mean(one.img, listed)} Correct the line or delete it, then: {RUN}"
            )
        if row.status != OK:
            continue  # it is left out already, and the list of problems says why
        if not one.is_about(row.content.sha256):
            what = (
                f"line {one.line} is about another picture called {one.img} ({one.sha256[:_SHORT]}), so it is ignored"
            )
            problems.append(problem("outdated decision", path.name, one.line, what))
        elif one.decision == RELABEL:
            row.classname = one.classname
        elif one.decision == DROP:
            row.status = DROPPED
    return problems


def tally(decisions: Sequence[Decision], table: pa.Table) -> dict[str, int]:
    """Return how many decisions are in force, by `DECISIONS`; not counted are those on pictures that are gone."""
    hashes = dict(zip(table["img"].to_pylist(), table["sha256"].to_pylist(), strict=True))
    counts = Counter(one.decision for one in decisions if one.is_about(hashes.get(one.img) or " "))
    return {name: counts[name] for name in DECISIONS}


def in_words(counts: Mapping[str, int]) -> str:
    """Return a tally in words, e.g. `3 labels changed by review, 1 frame dropped`; empty without any decision."""
    words = {RELABEL: "labels changed", DROP: "frames dropped", KEEP: "labels confirmed"}
    said = [f"{counts[name]:,} {words[name]}" for name in DECISIONS if counts.get(name)]
    return f"review: {', '.join(said)}" if said else ""


def accept(settings: Settings, chosen: Path) -> tuple[int, int]:
    """Merge a file of decisions into the data root's; return how many there are now, and how many are new or changed.

    A later decision on an image takes the place of an earlier one. `ingest` applies them.

    Raises:
        DistractedError: Either file is not valid, or there is no file to read.
    """
    if not chosen.is_file():
        raise DistractedError(f"there is no file {chosen}. Save one from the page that `distracted review` writes.")
    target = decisions_file(settings)
    before = {one.img: one for one in read_decisions(target, settings.dataset)}
    new = {one.img: one for one in read_decisions(chosen, settings.dataset)}
    changed = sum(_content(one) != _content(before.get(one.img)) for one in new.values())
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    merged = {**before, **new}
    writer.writerows(_content(merged[img]) for img in sorted(merged))
    write_text(target, out.getvalue())
    return len(merged), changed


def _content(one: Decision | None) -> tuple[str, ...]:
    return () if one is None else (one.img, one.sha256, one.decision, one.classname)
