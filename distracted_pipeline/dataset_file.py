"""`dataset.yaml` in a data root -> a `Dataset`, or the first entry that is wrong, in words.

What a data set consists of is `dataset`; docs/datasets.md shows such files. Standard library and YAML: every Dagster
process loads this.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Final, get_args

import yaml

from distracted_pipeline.advice import RUN, did_you_mean
from distracted_pipeline.dataset import (
    DATASET_FILE,
    MASK_NONE,
    PARTS,
    STATE_FARM,
    SUBJECT_RULE,
    Category,
    Dataset,
    LabelSource,
    Part,
    Reader,
    is_subject_name,
    rgb,
)
from distracted_pipeline.errors import DistractedError, shown
from distracted_pipeline.yaml_text import load_yaml, read_text

_CLASS_ID: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,15}")
_COLOUR: Final = re.compile(r"#[0-9a-fA-F]{6}")
_OKABE_ITO: Final = ("#0072b2", "#009e73", "#d55e00", "#f0e442", "#cc79a7", "#56b4e9", "#e69f00", "#999999")
"""Colours that colour-blind eyes tell apart too (Okabe and Ito 2008)."""


def load_dataset(root: Path) -> Dataset:
    """Return the data set that `dataset.yaml` in a data root describes, State Farm where there is no such file.

    Raises:
        DistractedError: The file is no YAML, or an entry of it is wrong; names file, entry, value and what is allowed.
    """
    path = root / DATASET_FILE
    try:
        text = read_text(path)
    except (FileNotFoundError, NotADirectoryError):
        return STATE_FARM
    except OSError as error:
        raise DistractedError(f"{path} cannot be read ({error.strerror}). Correct it, then: {RUN}") from error
    try:
        content = load_yaml(text)
    except yaml.YAMLError as error:
        raise DistractedError(f"{path} is not valid YAML: {error}. Correct it, then: {RUN}") from error
    try:
        return _dataset(content)
    except _Wrong as wrong:
        raise DistractedError(f"{path}: {wrong}. docs/datasets.md shows what may stand there; then: {RUN}") from wrong


class _Wrong(Exception):
    """An entry of `dataset.yaml` that is not allowed, in words."""


_LABEL_OPTIONS: Final[dict[Reader, tuple[str, ...]]] = {
    "kaggle": (),
    "folders": ("root", "file", "columns", "separator", "label_ids", "pattern"),
    "list": ("root", "file", "files", "columns", "separator", "header", "label_ids", "pattern"),
}
_ROLES: Final[dict[Reader, tuple[str, ...]]] = {
    "folders": ("path", "driver", "camera", "session"),
    "list": ("path", "label", "driver", "camera", "session"),
}
_COLUMNS: Final[dict[Reader, dict[str, int | str]]] = {
    "folders": {"path": "img", "driver": "driver"},
    "list": {"path": 0, "label": 1, "driver": 2},
}
"""Where `labels` names no columns."""
_GROUPS: Final = frozenset({"label", "driver", "camera", "session"})
_MOST_CLASSES: Final = 127
"""Tables hold a class's position in one byte."""
_FIELDS: Final = ("name", "classes", "mirrors", "categories", "labels", "drivers", "splits", "frames")


def _dataset(content: Any) -> Dataset:
    entries = _mapping(content, "the file")
    unknown = sorted(set(map(str, entries)) - set(_FIELDS))
    if unknown:
        meant = did_you_mean(unknown[0], _FIELDS)
        raise _Wrong(f"unknown entry {shown(unknown[0])}.{meant} Entries are {', '.join(_FIELDS)}")
    classes = _mapping(entries.get("classes"), "classes")
    ids = tuple(str(name) for name in classes)
    if len(ids) < 2:
        raise _Wrong(f"classes has {len(ids)} entries: write at least two lines, `id: words`")
    for name in ids:
        if not _CLASS_ID.fullmatch(name):
            raise _Wrong(f"class id {shown(name)}: begin with a letter, then up to 15 letters, digits or _")
    if len(ids) > _MOST_CLASSES:
        raise _Wrong(f"classes has {len(ids)} entries: at most {_MOST_CLASSES} are possible")
    if len({name.lower() for name in ids}) < len(ids):
        raise _Wrong("two class ids differ in case only, which some file systems cannot tell apart")
    split = _split(entries.get("splits"))
    drivers = _drivers(entries.get("drivers", []), "drivers")
    return Dataset(
        name=_words(entries.get("name"), "name") or "unnamed data set",
        class_ids=ids,
        class_names=tuple(_words(words, f"class {name}") or str(name) for name, words in classes.items()),
        categories=_categories(entries.get("categories")),
        drivers=drivers or tuple(sorted(driver for _, members in split for driver in members)),
        split=split,
        mirrors=_mirrors(entries.get("mirrors", []), ids),
        labels=_labels(entries.get("labels"), ids),
        frames=_count(entries.get("frames", 0)),
    )


def _mapping(value: Any, where: str) -> Mapping[Any, Any]:
    if not isinstance(value, dict):
        raise _Wrong(f"{where} holds {shown(value)} instead of `key: value` lines")
    return value


def _names(value: Any, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or None in value:
        raise _Wrong(f"{where} holds {shown(value)} instead of a list of names")
    return tuple(_words(name, where) for name in value)


def _words(value: Any, where: str) -> str:
    """Return words; a number counts as written, and what YAML takes for true, a date or nothing wants quotes."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise _Wrong(f"{where} holds {shown(value)} instead of words; write them in quotes")
    return str(value)


def _drivers(value: Any, where: str) -> tuple[str, ...]:
    """Return names that can also name folders and partitions, each once."""
    names = _names(value, where)
    wrong = next((name for name in names if not is_subject_name(name)), None)
    if wrong is not None:
        raise _Wrong(f"{where} holds the driver {shown(wrong)}. {SUBJECT_RULE.rstrip('.')}")
    return tuple(dict.fromkeys(names))


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise _Wrong(f"frames is {shown(value)} instead of a number")
    return value


def _categories(value: Any) -> tuple[Category, ...]:
    if value is None:
        return STATE_FARM.categories
    found = []
    for position, (name, fields) in enumerate(_mapping(value, "categories").items()):
        where = f"category {str(name)[:64]}"
        options = _mapping(fields or {}, where)
        unknown = sorted(set(map(str, options)) - {"colour", "labels", "expected"})
        if unknown:
            raise _Wrong(f"{where}: unknown option {shown(unknown[0])}; options are colour, labels, expected")
        colour = str(options.get("colour", _OKABE_ITO[position % len(_OKABE_ITO)]))
        if not _COLOUR.fullmatch(colour):
            raise _Wrong(f"{where}: colour is {shown(colour)}; write it as '#0072b2'")
        labels = _names(options.get("labels", []), f"{where}: labels")
        expected = options.get("expected", False)
        if not isinstance(expected, bool):
            raise _Wrong(f"{where}: expected is {shown(expected)}; write true or false")
        if not name.strip() or not name.isprintable():
            raise _Wrong(f"a category is called {shown(name)}: write a name of one line")
        found.append(Category(name, rgb(colour), labels, expected))
    if not 0 < len(found) < 256 or MASK_NONE in [category.name for category in found]:
        raise _Wrong(f"categories has {len(found)} entries: name 1 to 255, none of them {MASK_NONE!r}")
    return tuple(found)


def _split(value: Any) -> tuple[tuple[Part, tuple[str, ...]], ...]:
    if value is None:
        return ()
    parts = _mapping(value, "splits")
    unknown = sorted(set(map(str, parts)) - set(PARTS))
    if unknown:
        raise _Wrong(f"splits has a part {shown(unknown[0])}; parts are {', '.join(PARTS)}")
    split = tuple((part, _drivers(parts.get(part, []), f"splits: {part}")) for part in PARTS)
    counts = Counter(driver for _, members in split for driver in members)
    twice = next((driver for driver, count in counts.items() if count > 1), None)
    if twice is not None:
        raise _Wrong(f"splits names driver {shown(twice)} twice: a driver belongs to one part")
    return split


def _mirrors(value: Any, ids: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    pairs = [_names(pair, "mirrors") for pair in value] if isinstance(value, list) else [("",)]
    for pair in pairs:
        if len(pair) != 2 or not set(pair) <= set(ids):
            raise _Wrong(f"mirrors holds {list(pair)}: each entry is a pair of class ids")
    return tuple((first, second) for first, second in pairs)


def _labels(value: Any, ids: tuple[str, ...]) -> LabelSource:
    options = _mapping(value if value is not None else {}, "labels")
    reader = options.get("reader", "kaggle")
    if reader not in get_args(Reader):
        raise _Wrong(f"labels: reader is {shown(reader)}; readers are {', '.join(get_args(Reader))}")
    known = _LABEL_OPTIONS[reader]
    unknown = sorted(set(map(str, options)) - {"reader", *known})
    if unknown:
        meant = did_you_mean(unknown[0], known).rstrip("?")
        also = f"; it has {', '.join(known)}.{meant}".rstrip(".") if known else " and has no options"
        raise _Wrong(f"labels: reader {reader} does not know {shown(unknown[0])}{also}")
    if reader == "kaggle":
        return LabelSource()
    root = _inside(options.get("root", ""), "root")
    names = _names([options["file"]] if "file" in options else options.get("files", []), "labels: file")
    files = tuple(_inside(name, "file") for name in names)
    pattern, groups = _pattern(options.get("pattern", ""))
    separator = options.get("separator", " " if reader == "list" else ",")
    if not isinstance(separator, str) or len(separator) != 1 or separator in '\r\n"':
        raise _Wrong(f"labels: separator is {shown(separator)}; write one character, '\\t' in double quotes for a tab")
    header = options.get("header", False) if reader == "list" else True
    if not isinstance(header, bool):
        raise _Wrong(f"labels: header is {shown(header)}; write true or false")
    columns = _columns(options, reader, header) if files else {}
    _require_labels(reader, root, files, {*columns, *groups})
    label_ids = tuple((str(k), str(v)) for k, v in _mapping(options.get("label_ids", {}), "labels: label_ids").items())
    foreign = next((v for _, v in label_ids if v not in ids), None)
    if foreign is not None:
        raise _Wrong(f"labels: label_ids names {shown(foreign)}, which is no class; classes are {', '.join(ids)}")
    return LabelSource(reader, files, tuple(columns.items()), separator, header, label_ids, root, pattern)


def _require_labels(reader: Reader, root: str, files: tuple[str, ...], said: set[str]) -> None:
    """Fail where label or driver of a frame could not be known."""
    if reader == "folders" and not root:
        raise _Wrong("labels: reader folders needs `root:`, the folder in the data root that the class folders lie in")
    if reader == "list" and not files:
        raise _Wrong("labels: reader list needs `file:` or `files:`, relative to the data root")
    if reader == "list" and "label" not in said:
        raise _Wrong("labels: nothing says the class of a frame; name a column `label`, or a group of the pattern")
    if "driver" not in said:
        raise _Wrong("labels: nothing says the driver of a frame; name a column `driver`, or a group of the pattern")
    if files and "path" not in said:
        raise _Wrong("labels: columns lacks `path`, which says which frame a line is about")


def _columns(options: Mapping[Any, Any], reader: Reader, header: bool) -> dict[str, int | str]:
    columns = {str(k): v for k, v in _mapping(options.get("columns", _COLUMNS[reader]), "labels: columns").items()}
    for role, column in columns.items():
        if role not in _ROLES[reader]:
            raise _Wrong(f"labels: columns names {shown(role)}; reader {reader} reads {', '.join(_ROLES[reader])}")
        if isinstance(column, bool) or not isinstance(column, int | str) or (isinstance(column, int) and column < 0):
            raise _Wrong(f"labels: column {role} is {shown(column)}; write its name, or its position from 0")
        if isinstance(column, str) and not header:
            raise _Wrong(f"labels: column {role} is called {shown(column)}, but names need `header: true`")
    return columns


def _inside(value: Any, option: str) -> str:
    """Return a path below the data root in POSIX form, empty for the data root itself."""
    path = PurePosixPath(str(value))
    if not isinstance(value, str | int) or path.is_absolute() or ".." in path.parts or "\\" in str(value):
        raise _Wrong(f"labels: {option} is {shown(value)}; write a path below the data root, with / between folders")
    return "" if str(path) == "." else str(path)


def _pattern(value: Any) -> tuple[str, Iterable[str]]:
    """Return a pattern and the names of its groups."""
    if not isinstance(value, str):
        raise _Wrong(f"labels: pattern is {shown(value)}; write a regular expression")
    try:
        groups = re.compile(value).groupindex
    except (re.error, OverflowError, RecursionError) as error:
        raise _Wrong(f"labels: pattern {shown(value)} is no regular expression ({error})") from error
    foreign = sorted(groups.keys() - _GROUPS)
    if value and (foreign or not groups):
        found = f"has a group {shown(foreign[0])}" if foreign else "has no named group"
        raise _Wrong(f"labels: pattern {shown(value)} {found}; groups are (?P<driver>...), label, camera, session")
    return value, groups
