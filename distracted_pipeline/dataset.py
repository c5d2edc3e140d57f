"""A data set as a value: its classes, mask categories, known drivers and splits, and where labels are read from.

State Farm is the shipped default; `dataset_file` reads the description of another. Nothing else in the package knows
how many classes or categories there are, or what they are called. What a folder of images actually holds is the
manifest's business (`images`).

Standard library only: every Dagster process loads this.
"""

import re
from dataclasses import dataclass, field
from typing import Final, Literal, get_args

DATASET_FILE: Final = "dataset.yaml"
MASK_NONE: Final = "none"
"""What mask id 0 means, in every data set."""
TEST_PREFIX: Final = "test-"
"""Subjects with this prefix are shards of unlabelled images."""
SUBJECT_RULE: Final = (
    "Rename the driver: up to 64 letters, digits, '.', '_' and '-', beginning with a letter or digit; 'test-…' is "
    "taken, and case alone tells no two drivers apart."
)
_SUBJECT: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]|\.(?!\.|$)){0,63}")

Colour = tuple[int, int, int]
Part = Literal["train", "dev", "test"]
PARTS: Final[tuple[Part, ...]] = get_args(Part)
Reader = Literal["kaggle", "folders", "list"]


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
        reader: `kaggle`: `driver_imgs_list.csv` and `imgs/train/<class>/`. `folders`: frames in `<root>/<class>/`,
            drivers from a csv or from the path. `list`: text files with one frame a line.
        files: `folders`: the csv, if there is one; `list`: the text files. Relative to the data root.
        columns: Which column (position from 0, or name) of these files holds `path`, `label`, `driver`, `camera` and
            `session`.
        separator: Between the columns; a single space stands for any run of blanks.
        header: Whether the first line of a file names its columns.
        label_ids: Class id by what the files, the folders or the pattern say; empty where they say class ids.
        root: Folder that the paths count from, relative to the data root; empty is the data root itself.
        pattern: Regular expression searched in a frame's path (relative to the data root); its named groups `label`,
            `driver`, `camera` and `session` say what no column says. A driver named by both is called
            `<group>_<column>`.
    """

    reader: Reader = "kaggle"
    files: tuple[str, ...] = ()
    columns: tuple[tuple[str, int | str], ...] = ()
    separator: str = " "
    header: bool = False
    label_ids: tuple[tuple[str, str], ...] = ()
    root: str = ""
    pattern: str = ""


@dataclass(frozen=True)
class Dataset:
    """What is known of a data set before any of its files is read.

    Attributes:
        name: How reports call it.
        class_ids: Ids in the order of every table, never sorted by name.
        class_names: What they mean, parallel to `class_ids`.
        categories: Mask categories; the id in a mask is the position plus one, 0 is none.
        drivers: Drivers that are known to belong to it; empty where nobody knows.
        split: Drivers by part of the split that its authors published; drivers for an empty part are dealt by hash.
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
        """Return the share of the split's drivers that `part` has; State Farm's 4 of 26 where it names none."""
        sizes = {name: len(members) for name, members in self.split}
        return sizes[part] / sum(sizes.values()) if sizes.get(part) else 4 / 26

    @property
    def has_state_farms_classes(self) -> bool:
        """Whether models count the same classes in the same order as State Farm's."""
        return self.class_ids == STATE_FARM.class_ids

    @property
    def has_state_farms_categories(self) -> bool:
        """Whether mask ids mean what they mean in State Farm's masks, by the same names in the models."""
        return [(c.name, c.labels) for c in self.categories] == [(c.name, c.labels) for c in STATE_FARM.categories]


def is_subject_name(name: str) -> bool:
    """Tell whether a driver's name can also name a folder and a Dagster partition."""
    return _SUBJECT.fullmatch(name) is not None and not name.lower().startswith(TEST_PREFIX)


def rgb(text: str) -> Colour:
    """Return the colour that `#0072b2` names."""
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
        Category("person", rgb("#0072b2"), ("human", "people"), expected=True),
        Category("bottle", rgb("#009e73")),
        Category("cell phone", rgb("#d55e00"), ("cellphone", "mobile phone")),
        Category("cup", rgb("#f0e442"), ("mug",)),
        Category("car", rgb("#cc79a7"), ("automobile",)),
        Category("chair", rgb("#56b4e9")),
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
