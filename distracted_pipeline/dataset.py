"""A data set as a value: its classes, mask categories, known drivers and splits, and where labels are read from.

State Farm is the shipped default; `dataset.yaml` in a data root describes another (docs/datasets.md). Nothing else in
the package knows how many classes or categories there are, or what they are called. What a folder of images actually
holds is the manifest's business (`images`).

Standard library only, YAML where a file has to be read: every Dagster process loads this.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, get_args

from distracted_pipeline.advice import RUN
from distracted_pipeline.errors import DistractedError

DATASET_FILE: Final = "dataset.yaml"
MASK_NONE: Final = "none"
"""What mask id 0 means, in every data set."""

Colour = tuple[int, int, int]
Part = Literal["train", "dev", "test"]
PARTS: Final[tuple[Part, ...]] = get_args(Part)
Reader = Literal["kaggle", "folders", "list"]

_CLASS_ID: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,15}")
_COLOUR: Final = re.compile(r"#[0-9a-fA-F]{6}")
_OKABE_ITO: Final = ("#0072b2", "#009e73", "#d55e00", "#f0e442", "#cc79a7", "#56b4e9", "#e69f00", "#999999")
"""Colours that colour-blind eyes tell apart too (Okabe and Ito 2008)."""


@dataclass(frozen=True)
class Category:
    """Something that masks tell apart.

    Attributes:
        name: Its name, COCO's where COCO has it.
        colour: RGB, for overlays and legends.
        labels: Further names that a segmentation model may give it.
        expected: Whether most frames should show it; a check warns of drivers whose frames do not.
    """

    name: str
    colour: Colour
    labels: tuple[str, ...] = ()
    expected: bool = False


@dataclass(frozen=True)
class LabelSource:
    """Where the labels of the frames are read from.

    Attributes:
        reader: `kaggle`: `driver_imgs_list.csv` and `imgs/train/<class>/`. `folders`: frames in `<class>/`, drivers in
            a csv. `list`: text files with one frame a line.
        files: `folders`: the csv; `list`: the text files. Relative to the data root.
        columns: `list` and `folders`: which column (position from 0, or name) holds `path` (`img`), `label`, `driver`,
            and, where there are any, `camera` and `session`.
        separator: Between the columns of a text file; a single space stands for any run of blanks.
        header: Whether a text file's first line names its columns.
        label_ids: Class id by what the file says; empty where it says class ids.
    """

    reader: Reader = "kaggle"
    files: tuple[str, ...] = ()
    columns: tuple[tuple[str, int | str], ...] = ()
    separator: str = " "
    header: bool = False
    label_ids: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Dataset:
    """What is known of a data set before any of its files is read.

    Attributes:
        name: How reports call it.
        class_ids: Ids in the order of every table, never sorted by name.
        class_names: What they mean, parallel to `class_ids`.
        categories: Mask categories; the id in a mask is the position plus one, 0 is none.
        drivers: Drivers that are known to belong to it; empty where nobody knows.
        split: Drivers by part of the split that its authors published; empty parts are dealt by hash.
        folds: Drivers by cross-validation fold, where folds are fixed; empty: balanced over the frames there are.
        mirrors: Pairs of class ids that a horizontal flip exchanges.
        labels: Where labels are read from.
        frames: Labelled frames of the whole data set; 0 where nobody knows.
    """

    name: str
    class_ids: tuple[str, ...]
    class_names: tuple[str, ...]
    categories: tuple[Category, ...]
    drivers: tuple[str, ...] = ()
    split: tuple[tuple[Part, tuple[str, ...]], ...] = ()
    folds: tuple[tuple[str, ...], ...] = ()
    mirrors: tuple[tuple[str, str], ...] = ()
    labels: LabelSource = field(default_factory=LabelSource)
    frames: int = 0

    @property
    def category_names(self) -> tuple[str, ...]:
        """Names of the mask categories, without `none`."""
        return tuple(category.name for category in self.categories)

    @property
    def mask_names(self) -> tuple[str, ...]:
        """What each mask id means: `none`, then the categories."""
        return (MASK_NONE, *self.category_names)

    def class_label(self, k: int) -> str:
        """Return id and words of the class at position `k`: `c3 texting - left`."""
        return f"{self.class_ids[k]} {self.class_names[k]}"

    def part_of(self, driver: str) -> Part | None:
        """Return the part of the authors' split that a driver belongs to; None for a driver it does not name."""
        return next((part for part, members in self.split if driver in members), None)

    def share_of_part(self, part: Part) -> float:
        """Return the share of the split's drivers that `part` has; State Farm's 4 of 26 where there is no split."""
        sizes = {name: len(members) for name, members in self.split}
        return sizes.get(part, 0) / sum(sizes.values()) if sum(sizes.values()) else 4 / 26

    @property
    def has_state_farms_classes(self) -> bool:
        """Whether models count the same classes in the same order as State Farm's."""
        return self.class_ids == STATE_FARM.class_ids

    @property
    def has_state_farms_categories(self) -> bool:
        """Whether mask ids mean what they mean in State Farm's masks, by the same names in the models."""
        return [(c.name, c.labels) for c in self.categories] == [(c.name, c.labels) for c in STATE_FARM.categories]


def _rgb(text: str) -> Colour:
    return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)


STATE_FARM: Final = Dataset(
    name="State Farm Distracted Driver Detection",
    class_ids=tuple(f"c{k}" for k in range(10)),
    class_names=(
        "safe driving",
        "texting - right",
        "talking on the phone - right",
        "texting - left",
        "talking on the phone - left",
        "operating the radio",
        "drinking",
        "reaching behind",
        "hair and makeup",
        "talking to passenger",
    ),
    categories=(
        Category("person", _rgb("#0072b2"), ("human", "people"), expected=True),
        Category("bottle", _rgb("#009e73")),
        Category("cell phone", _rgb("#d55e00"), ("cellphone", "mobile phone")),
        Category("cup", _rgb("#f0e442"), ("mug",)),
        Category("car", _rgb("#cc79a7"), ("automobile",)),
        Category("chair", _rgb("#56b4e9")),
    ),
    drivers=(
        "p002", "p012", "p014", "p015", "p016", "p021", "p022", "p024", "p026", "p035", "p039", "p041", "p042",
        "p045", "p047", "p049", "p050", "p051", "p052", "p056", "p061", "p064", "p066", "p072", "p075", "p081",
    ),
    split=(
        ("train", (
            "p002", "p012", "p015", "p016", "p021", "p022", "p024", "p035", "p039",
            "p042", "p045", "p052", "p056", "p061", "p064", "p072", "p075", "p081",
        )),
        ("dev", ("p026", "p047", "p050", "p051")),
        ("test", ("p014", "p041", "p049", "p066")),
    ),
    folds=(
        ("p002", "p015", "p021", "p047", "p050"),
        ("p014", "p022", "p035", "p039", "p075"),
        ("p024", "p045", "p051", "p056", "p081"),
        ("p026", "p042", "p049", "p052", "p064", "p072"),
        ("p012", "p016", "p041", "p061", "p066"),
    ),
    mirrors=(("c1", "c3"), ("c2", "c4")),
    frames=22_424,
)  # fmt: skip
"""Kaggle's data; the split is that of the original project (github:Ispanicus/Distracted-Drivers, `dataset_loader.py`).

Its folds are what `images.folds.assign_folds` makes of the full list, written down: any part of the frames has them.
"""


def load_dataset(root: Path) -> Dataset:
    """Return the data set that `dataset.yaml` in a data root describes, State Farm where there is no such file.

    Raises:
        DistractedError: The file is no YAML, or an entry of it is wrong; names file, entry, value and what is allowed.
    """
    path = root / DATASET_FILE
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return STATE_FARM
    except (OSError, UnicodeDecodeError) as error:
        raise DistractedError(f"{path} cannot be read ({error}). Correct it, then: {RUN}") from error
    import yaml

    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise DistractedError(f"{path} is not valid YAML: {error}. Correct it, then: {RUN}") from error
    try:
        return _dataset(content)
    except _Wrong as wrong:
        raise DistractedError(f"{path}: {wrong}. docs/datasets.md shows what may stand there; then: {RUN}") from wrong


class _Wrong(Exception):
    """An entry of `dataset.yaml` that is not allowed, in words."""


_LABEL_OPTIONS: Final = frozenset({"reader", "file", "files", "columns", "separator", "header", "label_ids"})
_COLUMN_ROLES: Final = frozenset({"path", "img", "label", "driver", "camera", "session"})
_FIELDS: Final = ("name", "classes", "mirrors", "categories", "labels", "drivers", "splits", "frames")


def _dataset(content: Any) -> Dataset:
    entries = _mapping(content, "the file")
    unknown = sorted(set(map(str, entries)) - set(_FIELDS))
    if unknown:
        raise _Wrong(f"unknown entry {unknown[0]!r}; entries are {', '.join(_FIELDS)}")
    classes = _mapping(entries.get("classes"), "classes")
    ids = tuple(str(name) for name in classes)
    if len(ids) < 2:
        raise _Wrong(f"classes has {len(ids)} entries: write at least two lines, `id: words`")
    for name in ids:
        if not _CLASS_ID.fullmatch(name):
            raise _Wrong(f"class id {name!r}: begin with a letter, then up to 15 letters, digits or _")
    if len({name.lower() for name in ids}) < len(ids):
        raise _Wrong("two class ids differ in case only, which some file systems cannot tell apart")
    split = _split(entries.get("splits"))
    drivers = _names(entries.get("drivers", []), "drivers")
    return Dataset(
        name=str(entries.get("name") or "unnamed data set"),
        class_ids=ids,
        class_names=tuple(str(words or name) for name, words in classes.items()),
        categories=_categories(entries.get("categories")),
        drivers=drivers or tuple(sorted(driver for _, members in split for driver in members)),
        split=split,
        mirrors=_mirrors(entries.get("mirrors", []), ids),
        labels=_labels(entries.get("labels"), ids),
        frames=_count(entries.get("frames", 0)),
    )


def _mapping(value: Any, where: str) -> Mapping[Any, Any]:
    if not isinstance(value, dict):
        raise _Wrong(f"{where} holds {value!r} instead of `key: value` lines")
    return value


def _names(value: Any, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(name, str | int) for name in value):
        raise _Wrong(f"{where} holds {value!r} instead of a list of names")
    return tuple(str(name) for name in value)


def _count(value: Any) -> int:
    if not isinstance(value, int) or value < 0:
        raise _Wrong(f"frames is {value!r} instead of a number")
    return value


def _categories(value: Any) -> tuple[Category, ...]:
    if value is None:
        return STATE_FARM.categories
    found = []
    for position, (name, fields) in enumerate(_mapping(value, "categories").items()):
        options = _mapping(fields or {}, f"category {name}")
        unknown = sorted(set(map(str, options)) - {"colour", "labels", "expected"})
        if unknown:
            raise _Wrong(f"category {name}: unknown option {unknown[0]!r}; options are colour, labels, expected")
        colour = str(options.get("colour", _OKABE_ITO[position % len(_OKABE_ITO)]))
        if not _COLOUR.fullmatch(colour):
            raise _Wrong(f"category {name}: colour is {colour!r}; write it as '#0072b2'")
        labels = _names(options.get("labels", []), f"category {name}: labels")
        found.append(Category(str(name), _rgb(colour), labels, bool(options.get("expected", False))))
    if not 0 < len(found) < 256 or MASK_NONE in [category.name for category in found]:
        raise _Wrong(f"categories has {len(found)} entries: name 1 to 255, none of them {MASK_NONE!r}")
    return tuple(found)


def _split(value: Any) -> tuple[tuple[Part, tuple[str, ...]], ...]:
    if value is None:
        return ()
    parts = _mapping(value, "splits")
    unknown = sorted(set(map(str, parts)) - set(PARTS))
    if unknown:
        raise _Wrong(f"splits has a part {unknown[0]!r}; parts are {', '.join(PARTS)}")
    split = tuple((part, _names(parts.get(part, []), f"splits: {part}")) for part in PARTS)
    every = [driver for _, members in split for driver in members]
    twice = next((driver for driver in every if every.count(driver) > 1), None)
    if twice is not None:
        raise _Wrong(f"splits names driver {twice!r} twice: a driver belongs to one part")
    return split


def _mirrors(value: Any, ids: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    pairs = [_names(pair, "mirrors") for pair in value] if isinstance(value, list) else [("",)]
    for pair in pairs:
        if len(pair) != 2 or not set(pair) <= set(ids):
            raise _Wrong(f"mirrors holds {list(pair)}: each entry is a pair of class ids")
    return tuple((first, second) for first, second in pairs)


def _labels(value: Any, ids: tuple[str, ...]) -> LabelSource:
    options = _mapping(value if value is not None else {}, "labels")
    unknown = sorted(
        set(map(str, options)) - {"reader", "file", "files", "columns", "separator", "header", "label_ids"}
    )
    if unknown:
        raise _Wrong(f"labels: unknown option {unknown[0]!r}")
    reader = options.get("reader", "kaggle")
    if reader not in get_args(Reader):
        raise _Wrong(f"labels: reader is {reader!r}; readers are {', '.join(get_args(Reader))}")
    files = _names([options["file"]] if "file" in options else options.get("files", []), "labels: files")
    if reader != "kaggle" and not files:
        raise _Wrong(f"labels: reader {reader} needs `file:` (or `files:`), relative to the data root")
    columns = tuple((str(k), v) for k, v in _mapping(options.get("columns", {}), "labels: columns").items())
    for role, column in columns:
        if role not in _COLUMN_ROLES or not isinstance(column, int | str) or isinstance(column, bool):
            raise _Wrong(
                f"labels: columns holds {role}: {column!r}; write one of {', '.join(sorted(_COLUMN_ROLES))} and a column"
            )
    label_ids = tuple((str(k), str(v)) for k, v in _mapping(options.get("label_ids", {}), "labels: label_ids").items())
    foreign = next((v for _, v in label_ids if v not in ids), None)
    if foreign is not None:
        raise _Wrong(f"labels: label_ids names {foreign!r}, which is no class; classes are {', '.join(ids)}")
    return LabelSource(
        reader, files, columns, str(options.get("separator", " ")), bool(options.get("header", False)), label_ids
    )
