"""State Farm's facts hold together, and a `dataset.yaml` is read or named with the entry that is wrong."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from distracted_pipeline.dataset import DATASET_FILE, STATE_FARM, Category, Dataset
from distracted_pipeline.dataset_file import load_dataset
from distracted_pipeline.errors import DistractedError
from distracted_pipeline_tests.toy import CATEGORIES, CLASSES, DATASET, DRIVERS

CLASSES_YAML = "classes: {go: going, stop: stopping}\n"
LABELS_BY_PATH = "(?P<label>go|stop)/(?P<driver>d)"


def read(tmp_path: Path, text: str) -> Dataset:
    (tmp_path / DATASET_FILE).write_text(text, encoding="utf-8")
    return load_dataset(tmp_path)


def test_the_original_split_is_18_4_4_of_26_distinct_drivers() -> None:
    split = dict(STATE_FARM.split)
    assert [len(split[part]) for part in ("train", "dev", "test")] == [18, 4, 4]
    assert sorted(driver for members in split.values() for driver in members) == list(STATE_FARM.drivers)
    assert len(set(STATE_FARM.drivers)) == 26


def test_ten_classes_in_kaggles_order_and_six_categories_after_none() -> None:
    assert tuple(f"c{k}" for k in range(10)) == STATE_FARM.class_ids
    assert STATE_FARM.mask_names[0] == "none"
    assert len(STATE_FARM.mask_names) == 7
    assert STATE_FARM.class_label(3) == "c3 texting - left"


def test_the_fixed_folds_hold_every_driver_once() -> None:
    assert sorted(driver for fold in STATE_FARM.folds for driver in fold) == list(STATE_FARM.drivers)


def test_without_a_description_it_is_state_farm(tmp_path: Path) -> None:
    assert load_dataset(tmp_path) is STATE_FARM
    assert load_dataset(tmp_path / "nowhere") is STATE_FARM


def test_a_description_becomes_a_value(tmp_path: Path) -> None:
    dataset = read(tmp_path, DATASET)
    assert (dataset.name, dataset.class_ids, dataset.category_names) == ("Toy Drivers", CLASSES, CATEGORIES)
    assert dataset.categories[0] == Category("driver", (0x33, 0x66, 0x99), ("person",), expected=True)
    assert dataset.drivers == DRIVERS
    assert (dataset.part_of("emil"), dataset.part_of("nobody")) == ("dev", None)
    assert dataset.mirrors == (("phone_l", "phone_r"),)
    assert dict(dataset.labels.label_ids)["3"] == "drink"
    assert (dataset.labels.root, dataset.labels.separator, dataset.labels.header) == ("frames", "\t", True)
    assert not dataset.has_state_farms_classes
    assert not dataset.has_state_farms_categories


def test_what_a_description_leaves_out_is_state_farms_or_empty(tmp_path: Path) -> None:
    dataset = read(tmp_path, CLASSES_YAML)
    assert dataset.categories == STATE_FARM.categories
    assert dataset.has_state_farms_categories
    assert (dataset.drivers, dataset.split, dataset.folds, dataset.frames) == ((), (), (), 0)
    assert dataset.labels == STATE_FARM.labels


def test_categories_without_a_colour_get_one_that_tells_them_apart(tmp_path: Path) -> None:
    dataset = read(tmp_path, CLASSES_YAML + "categories: {hand: , face: {expected: true}}\n")
    assert len({category.colour for category in dataset.categories}) == 2
    assert [category.expected for category in dataset.categories] == [False, True]


def test_readers_have_columns_of_their_own_where_none_are_named(tmp_path: Path) -> None:
    listed = read(tmp_path, CLASSES_YAML + "labels: {reader: list, file: a.txt}\n").labels
    assert (dict(listed.columns), listed.separator, listed.header) == ({"path": 0, "label": 1, "driver": 2}, " ", False)
    folders = read(tmp_path, CLASSES_YAML + "labels: {reader: folders, root: ./frames/, file: who.csv}\n").labels
    assert dict(folders.columns) == {"path": "img", "driver": "driver"}
    assert (folders.separator, folders.header, folders.root) == (",", True, "frames")


def test_the_share_of_a_part_is_the_splits_or_state_farms(tmp_path: Path) -> None:
    split = "splits: {train: [a, b, c], test: [d]}\n"
    dataset = read(tmp_path, CLASSES_YAML + split)
    assert dataset.share_of_part("test") == 1 / 4
    assert dataset.share_of_part("dev") == 4 / 26
    assert dataset.drivers == ("a", "b", "c", "d")


LIST = "labels: {reader: list, file: a.txt"
FOLDERS = "labels: {reader: folders, root: frames"


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ("colour: red", "unknown entry 'colour'. Entries are name, classes"),
        ("classes: [go, stop]", "classes holds ['go', 'stop'] instead of `key: value` lines"),
        ("classes: {go: going}", "classes has 1 entries"),
        ("classes: {1: one, 2: two}", "class id '1': begin with a letter"),
        ("classes: {a/b: one, c: two}", "class id 'a/b'"),
        ("classes: {abcdefghijklmnopq: one, c: two}", "class id 'abcdefghijklmnopq'"),
        ("classes: {Go: one, go: two}", "differ in case only"),
        ("mirrors: [go, stop]", "mirrors holds"),
        ("mirrors: [[go, wait]]", "mirrors holds ['go', 'wait']"),
        ("mirrors: 3", "each entry is a pair of class ids"),
        ("categories: [person]", "categories holds ['person']"),
        ("categories: {}", "categories has 0 entries"),
        ("categories: {none: }", "none of them 'none'"),
        ("categories: {hand: {color: red}}", "category hand: unknown option 'color'"),
        ("categories: {hand: {colour: red}}", "category hand: colour is 'red'; write it as '#0072b2'"),
        ("categories: {hand: {labels: hands}}", "category hand: labels holds 'hands'"),
        ("drivers: anna", "drivers holds 'anna' instead of a list"),
        ("splits: [anna]", "splits holds ['anna']"),
        ("splits: {val: [anna]}", "splits has a part 'val'; parts are train, dev, test"),
        ("splits: {dev: anna}", "splits: dev holds 'anna'"),
        ("splits: {dev: [anna], test: [anna]}", "splits names driver 'anna' twice"),
        ("frames: many", "frames is 'many'"),
        ("frames: -1", "frames is -1"),
        ("frames: true", "frames is True"),
        ("categorys: {}", "unknown entry 'categorys'. Did you mean categories?"),
        ("name: [a]", "name holds ['a'] instead of words"),
        ("classes: {a: [b], c: d}", "class a holds ['b'] instead of words; write them in quotes"),
        ("classes: {" + ", ".join(f"c{k}: x" for k in range(128)) + "}", "classes has 128 entries: at most 127"),
        ("categories: {hand: {expected: 'no'}}", "category hand: expected is 'no'; write true or false"),
        ('categories: {"a\\nb": }', "a category is called"),
        ("drivers: [yes, no]", "drivers holds True instead of words; write them in quotes"),
        ("drivers: [../p002]", "drivers holds the driver '../p002'"),
        ("splits: {dev: [a/b]}", "splits: dev holds the driver 'a/b'"),
        ("labels: {reader: list, fiel: a.txt}", "does not know 'fiel'; it has root, file"),
        ("labels: list", "labels holds 'list'"),
        ("labels: {reader: coco}", "reader is 'coco'; readers are kaggle, folders, list"),
        ("labels: {reader: kaggle, file: a.txt}", "reader kaggle does not know 'file' and has no options"),
        (
            "labels: {reader: folders, root: f, files: [a.csv]}",
            "reader folders does not know 'files'; it has root",
        ),
        ("labels: {reader: list}", "reader list needs `file:`"),
        ("labels: {reader: folders, file: a.csv}", "reader folders needs `root:`"),
        ("labels: {reader: folders, root: ., file: a.csv}", "reader folders needs `root:`"),
        (f"{FOLDERS}}}", "nothing says the driver"),
        (f"{LIST}, root: /data}}", "root is '/data'; write a path below the data root"),
        (f"{LIST}, root: ../other}}", "root is '../other'"),
        ("labels: {reader: list, file: /etc/passwd}", "file is '/etc/passwd'"),
        ("labels: {reader: list, files: [..\\a.txt]}", "file is '..\\\\a.txt'"),
        (f"{LIST}, columns: [0, 1]}}", "columns holds [0, 1]"),
        (f"{LIST}, columns: {{path: 0, label: 1, name: 2}}}}", "columns names 'name'; reader list reads path, label"),
        (
            f"{FOLDERS}, file: a.csv, columns: {{path: 0, label: 1}}}}",
            "columns names 'label'; reader folders reads",
        ),
        (f"{LIST}, columns: {{path: true, label: 1}}}}", "column path is True"),
        (f"{LIST}, columns: {{path: -1, label: 1}}}}", "column path is -1"),
        (f"{LIST}, columns: {{path: img}}}}", "column path is called 'img', but names need `header: true`"),
        (f"{LIST}, columns: {{path: 0, label: 1}}}}", "nothing says the driver"),
        (f"{LIST}, columns: {{path: 0, driver: 1}}}}", "nothing says the class"),
        (f"{LIST}, columns: {{label: 0, driver: 1}}}}", "columns lacks `path`"),
        (f"{LIST}, separator: ', '}}", "separator is ', '; write one character"),
        (f"{LIST}, separator: ''}}", "separator is ''"),
        (f"{LIST}, header: maybe}}", "header is 'maybe'; write true or false"),
        (f"{LIST}, label_ids: {{0: wait}}}}", "label_ids names 'wait', which is no class; classes are go, stop"),
        (f"{LIST}, pattern: '('}}", "pattern '(' is no regular expression"),
        (f"{LIST}, pattern: 3}}", "pattern is 3; write a regular expression"),
        (f"{LIST}, pattern: d.}}", "has no named group"),
        (f"{LIST}, pattern: '(?P<who>d.)'}}", "has a group 'who'; groups are (?P<driver>...)"),
    ],
)
def test_a_wrong_entry_is_named_with_what_is_allowed(tmp_path: Path, entries: str, words: str) -> None:
    text = entries if entries.startswith("classes") else CLASSES_YAML + entries
    with pytest.raises(DistractedError) as error:
        read(tmp_path, text + "\n")
    assert words in str(error.value)
    assert str(tmp_path / DATASET_FILE) in str(error.value)
    assert "distracted run" in str(error.value)


@pytest.mark.parametrize("text", ["classes: [", "\tclasses: 1", "a: b: c"])
def test_what_is_no_yaml_is_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(DistractedError, match=r"dataset\.yaml is not valid YAML"):
        read(tmp_path, text)


@pytest.mark.parametrize("text", ["", "just words", "- a\n- b"])
def test_what_is_no_description_is_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(DistractedError, match="the file holds"):
        read(tmp_path, text)


def test_bytes_that_are_no_text_are_named(tmp_path: Path) -> None:
    (tmp_path / DATASET_FILE).write_bytes(b"name: \xff\xfe")
    with pytest.raises(DistractedError, match=r"dataset\.yaml cannot be read"):
        load_dataset(tmp_path)


def test_a_pattern_may_say_everything_that_no_column_says(tmp_path: Path) -> None:
    text = CLASSES_YAML + f"labels: {{reader: list, file: a.txt, columns: {{path: 0}}, pattern: '{LABELS_BY_PATH}'}}\n"
    assert read(tmp_path, text).labels.pattern == LABELS_BY_PATH


def test_names_and_numbers_are_what_is_written(tmp_path: Path) -> None:
    text = "classes: {no: hands off, yes: hands on}\ndrivers: [001, 010, 19]\n"
    text += "labels: {reader: list, file: a.txt, label_ids: {00: no, 01: yes}}\n"
    dataset = read(tmp_path, text.replace("00: no, 01: yes", "00: 'no', 01: 'yes'"))
    assert dataset.class_ids == ("no", "yes")
    assert dataset.drivers == ("001", "010", "19")
    assert dataset.labels.label_ids == (("00", "no"), ("01", "yes"))


DOCUMENTED = re.findall(
    r"```yaml\n(.*?)```", (Path(__file__).parents[1] / "docs" / "datasets.md").read_text(encoding="utf-8"), re.DOTALL
)


def documented(tmp_path: Path, name: str) -> Dataset:
    """Return the data set of this name as docs/datasets.md describes it."""
    (text,) = [text for text in DOCUMENTED if text.startswith(f"name: {name}")]
    return read(tmp_path, text)


def test_every_description_in_the_documentation_is_read(tmp_path: Path) -> None:
    assert [len(read(tmp_path, text).class_ids) for text in DOCUMENTED] == [10, 10, 22, 16]


def test_the_documented_state_farm_is_the_default(tmp_path: Path) -> None:
    dataset = documented(tmp_path, "State Farm")
    assert replace(dataset, name=STATE_FARM.name, folds=STATE_FARM.folds, frames=STATE_FARM.frames) == STATE_FARM


@pytest.mark.parametrize(
    ("name", "path", "said"),
    [
        (
            "AUC",
            "v2_cam1_cam2_ split_by_driver/Camera 1/train/c0/56.jpg",
            {"camera": "Camera 1", "driver": "train", "label": "c0"},
        ),
        (
            "100-Driver",
            "Day/Cam3/C1_Drive_Safe/P008_V1_S2_020430.jpg",
            {"camera": "Cam3", "label": "C1", "driver": "P008", "session": "V1_S2"},
        ),
        (
            "3MDAD",
            "day/side_view_day_data/RGB1/S31/AC9/RGB1_SUB31ACT9F1.jpg",
            {"camera": "RGB1", "driver": "S31", "label": "AC9"},
        ),
    ],
)
def test_documented_patterns_find_what_the_documented_paths_say(
    tmp_path: Path, name: str, path: str, said: dict[str, str]
) -> None:
    dataset = documented(tmp_path, name)
    found = re.search(dataset.labels.pattern, path)
    assert found is not None
    assert found.groupdict() == said
    assert said["label"] in dataset.class_ids
