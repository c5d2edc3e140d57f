"""Data sets that `dataset.yaml` describes: lists of frames, class folders, paths that tell driver and camera."""

from pathlib import Path

import pytest
from PIL import Image

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.images.folds import fold_rows
from distracted_pipeline.images.ingest import IngestResult, ingest
from distracted_pipeline.images.manifest import labelled
from distracted_pipeline.images.problems import Problem
from distracted_pipeline.scopes import CROSS_FOLDS, FOLDS
from distracted_pipeline.settings import load_settings
from distracted_pipeline_tests.toy import CAMERAS, CLASSES, DRIVERS, draw_toy_frame, write_toy_root


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    """A fresh toy data root of 112 listed frames, free to be damaged."""
    return write_toy_root(tmp_path / "toy", backbone=False)


def read(root: Path) -> IngestResult:
    return ingest(load_settings({}, data=root), log=lambda line: None)


def rows(result: IngestResult) -> dict[str, dict]:
    return {row["img"]: row for row in result.table.to_pylist()}


def only_problem(result: IngestResult) -> Problem:
    assert len(result.problems) == 1, [str(p) for p in result.problems]
    return result.problems[0]


def add_line(root: Path, line: str | bytes) -> None:
    """Append a line to the list: line 114 of it."""
    raw = line if isinstance(line, bytes) else line.encode()
    path = root / "frames.txt"
    path.write_bytes(path.read_bytes() + raw + b"\n")


def draw(path: Path, seed: int) -> None:
    """Draw a frame that no other seed draws."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(draw_toy_frame(seed, 0, 0, seed)[0]).save(path)


def describe(root: Path, labels: str, classes: str = "{go: going, stop: stopping}") -> Path:
    """Write a `dataset.yaml` of two classes with these label options."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "dataset.yaml").write_text(f"name: Small\nclasses: {classes}\nlabels:\n{labels}")
    return root


def test_a_list_becomes_a_manifest_with_cameras_and_sessions(toy: Path) -> None:
    result = read(toy)
    assert result.counts["labelled"] == 112
    assert (result.problems, result.notes) == ([], [])
    row = rows(result)["side__gus__3.jpg"]
    assert (row["subject"], row["classname"], row["path"]) == ("gus", "phone_l", "frames/side/gus/3.jpg")
    assert (row["camera"], row["session"], row["split"]) == ("side", "day1", "test")
    assert {r["camera"] for r in rows(result).values()} == set(CAMERAS)
    assert (toy / "subjects.txt").read_text().split() == list(DRIVERS)


def test_frames_of_both_cameras_of_a_driver_are_in_one_fold(toy: Path) -> None:
    table = labelled(read(toy).table)
    by_driver = {(row["subject"], row["fold"]) for row in table.to_pylist()}
    assert len(by_driver) == len(DRIVERS)
    subjects = table["subject"].to_numpy(zero_copy_only=False)
    for fold in FOLDS:
        found = fold_rows(table, fold)
        assert not set(subjects[found.train]) & set(subjects[found.predict])
    held_out = [n for fold in CROSS_FOLDS for n in fold_rows(table, fold).predict]
    assert sorted(held_out) == list(range(112))


@pytest.mark.parametrize(
    ("line", "status", "words"),
    [
        ("front/ann/99.jpg\t9\tann\tfront\tday1", "unknown class", "'9' of front/ann/99.jpg is none of 0, 1, 2, 3"),
        ("front/ann/99.jpg\tdrive\tann\tfront\tday1", "unknown class", "'drive' of front/ann/99.jpg"),
        ("front/ann/99.jpg\t\tann\tfront\tday1", "incomplete row", "has no class"),
        ("\t1\tann\tfront\tday1", "incomplete row", "names no image"),
        ("front/ann/99.jpg\t1", "no subject", "names no driver"),
        ("front/ann/99.jpg\t1\tunknown", "no subject", "names no driver ('unknown')"),
        ("front/ann/99.jpg\t1\tann marie", "unsafe subject", "'ann marie'"),
        ("front/ann/99.jpg\t1\tANN", "unsafe subject", "'ANN' differs from 'ann' in case only"),
        ("/etc/passwd\t1\tann", "unsafe path", "/etc/passwd"),
        ("../../secret.jpg\t1\tann", "unsafe path", "../../secret.jpg"),
        ("front/../../x.jpg\t1\tann", "unsafe path", "front/../../x.jpg"),
        ("front\\ann\\1.jpg\t1\tann", "unsafe path", "front\\ann\\1.jpg"),
        ("a.zip::front/1.jpg\t1\tann", "unsafe path", "a.zip::front/1.jpg"),
        ("front/" + "x" * 300 + "\t1\tann", "unsafe path", "xxx"),
        (b"front/ann/\xff.jpg\t1\tann", "not UTF-8", "not UTF-8"),
        ("front/ann/1.jpg\t0\tann", "duplicated row", "front__ann__1.jpg is listed again as it is in row 2"),
        ("./front//ann/1.jpg\t0\tann", "duplicated row", "row 2"),
        ("front/ann/99.jpg\t1\tann", "no file", "frames/front/ann/99.jpg does not exist"),
        ("front/ann/1.jpg/2.jpg\t1\tann", "no file", "does not exist"),
    ],
)
def test_a_wrong_line_is_named_and_costs_no_other_line(toy: Path, line: str | bytes, status: str, words: str) -> None:
    add_line(toy, line)
    result = read(toy)
    problem = only_problem(result)
    assert (problem.where, problem.row, problem.status) == ("frames.txt", 114, status)
    assert words in problem.what
    assert problem.remedy
    assert str(problem).isprintable()
    assert result.counts["labelled"] == 112


def test_an_image_with_two_labels_belongs_to_neither(toy: Path) -> None:
    add_line(toy, "front/ann/1.jpg\t3\tann")
    result = read(toy)
    assert "drink of ann here and drive of ann in row 2" in only_problem(result).what
    assert rows(result)["front__ann__1.jpg"]["status"] == "two labels"
    assert result.counts["labelled"] == 111


def test_two_paths_that_would_be_known_by_one_name_are_told_apart(toy: Path) -> None:
    draw(toy / "frames" / "front__ann" / "1.jpg", 9)
    add_line(toy, "front__ann/1.jpg\t0\tann")
    problem = only_problem(read(toy))
    assert problem.status == "name used twice"
    assert "frames/front__ann/1.jpg and frames/front/ann/1.jpg are both known as front__ann__1.jpg" in problem.what


def test_a_folder_or_a_broken_link_in_the_place_of_a_frame_costs_one_image(toy: Path) -> None:
    for number, make in ((1, Path.mkdir), (2, lambda path: path.symlink_to("gone.jpg"))):
        path = toy / f"frames/front/ann/{number}.jpg"
        path.unlink()
        make(path)
    result = read(toy)
    assert [(p.where, p.status) for p in result.problems] == [
        ("frames.txt", "no file"),
        ("frames/front/ann/1.jpg", "unreadable"),
    ]
    assert result.counts["labelled"] == 110


def test_a_named_column_that_is_absent_stops_with_what_to_correct(toy: Path) -> None:
    path = toy / "frames.txt"
    path.write_text(path.read_text().replace("activity", "label", 1))
    with pytest.raises(DistractedError, match=r"frames\.txt, row 1: no column activity.*`columns`.*dataset\.yaml"):
        read(toy)


def test_a_list_that_is_absent_stops_with_its_name(toy: Path) -> None:
    (toy / "frames.txt").unlink()
    with pytest.raises(DistractedError, match=r"frames\.txt is missing.*dataset\.yaml"):
        read(toy)


def test_another_description_makes_another_manifest_without_reading_an_image_again(toy: Path) -> None:
    read(toy)
    path = toy / "dataset.yaml"
    path.write_text(path.read_text().replace("3: drink", "3: drive"))
    result = read(toy)
    assert result.counts["read"] == 0
    assert "drink" not in result.table["classname"].to_pylist()


def test_drivers_whom_the_split_does_not_name_are_dealt_and_said(toy: Path) -> None:
    path = toy / "dataset.yaml"
    path.write_text(path.read_text().replace("[finn, gus]", "[finn]"))
    (note,) = read(toy).notes
    assert "Toy Drivers does not say the part of 1 drivers" in note


def test_lists_like_those_of_100_driver_are_read_as_they_are(tmp_path: Path) -> None:
    root = describe(
        tmp_path / "data",
        "  reader: list\n  root: Day/Cam3\n  files: [splits/D3_train.txt, splits/D3_val.txt]\n"
        '  separator: "\\t"\n  columns: {path: 1}\n'
        "  pattern: (?P<camera>Cam\\d)/(?P<label>C\\d+)_\\w+/(?P<driver>P\\d+)_(?P<session>V\\d_S\\d)_\n",
        "{C1: drive safe, C2: sleep}",
    )
    (root / "splits").mkdir()
    for part, drivers in (("train", (8, 9)), ("val", (10,))):
        lines = []
        for driver in drivers:
            for k, folder in enumerate(("C1_Drive_Safe", "C2_Sleep")):
                path = f"{folder}/P{driver:03d}_V1_S2_020430.jpg"
                draw(root / "Day/Cam3" / path, 10 * driver + k)
                lines.append(f"{len(lines)}\t{path}\t{k}")
        (root / "splits" / f"D3_{part}.txt").write_text("\n".join(lines) + "\n")
    result = read(root)
    assert result.problems == []
    row = rows(result)["C2_Sleep__P008_V1_S2_020430.jpg"]
    assert (row["subject"], row["classname"], row["camera"], row["session"]) == ("P008", "C2", "Cam3", "V1_S2")
    assert row["path"] == "Day/Cam3/C2_Sleep/P008_V1_S2_020430.jpg"
    assert result.counts["drivers"] == 3


def test_one_image_in_two_lists_is_said_with_both_lists(tmp_path: Path) -> None:
    root = describe(tmp_path / "data", "  reader: list\n  files: [a.txt, b.txt]\n")
    for driver in ("d1", "d2", "d3"):
        draw(root / f"{driver}.jpg", int(driver[1]))
    (root / "a.txt").write_text("d1.jpg go d1\nd2.jpg  stop d2\n")
    (root / "b.txt").write_text("d1.jpg stop d1\nd3.jpg stop d3\n")
    problem = only_problem(read(root))
    assert (problem.where, problem.row, problem.status) == ("b.txt", 1, "two labels")
    assert "go of d1 in a.txt, row 1" in problem.what


def test_a_path_that_the_pattern_does_not_match_is_named(tmp_path: Path) -> None:
    root = describe(
        tmp_path / "data",
        "  reader: list\n  file: a.txt\n  columns: {path: 0, label: 1}\n  pattern: (?P<driver>d\\d)/\n",
    )
    for name in ("d1/a.jpg", "d2/a.jpg", "x/a.jpg"):
        draw(root / name, ord(name[1]))
    (root / "a.txt").write_text("d1/a.jpg go\nd2/a.jpg stop\nx/a.jpg stop\n")
    problem = only_problem(result := read(root))
    assert (problem.where, problem.row, problem.status) == ("a.txt", 3, "pattern")
    assert "x/a.jpg does not match" in problem.what
    assert "dataset.yaml" in problem.remedy
    assert rows(result)["x__a.jpg"]["status"] == "pattern"


def write_folders(root: Path) -> None:
    """Draw `frames/<class>/<driver>/1.jpg`: three drivers, two classes, and the same file name everywhere."""
    for d, driver in enumerate(("a", "b", "c")):
        for k, folder in enumerate(("go", "stop")):
            draw(root / "frames" / folder / driver / "1.jpg", 10 * d + k)


def test_class_folders_with_drivers_in_the_path_need_no_file(tmp_path: Path) -> None:
    root = describe(tmp_path / "data", "  reader: folders\n  root: frames\n  pattern: frames/\\w+/(?P<driver>\\w+)/\n")
    write_folders(root)
    result = read(root)
    assert result.problems == []
    assert result.counts["labelled"] == 6
    row = rows(result)["stop__b__1.jpg"]
    assert (row["classname"], row["subject"], row["path"]) == ("stop", "b", "frames/stop/b/1.jpg")


def test_folders_may_have_other_names_and_any_order_of_class_and_driver(tmp_path: Path) -> None:
    root = describe(
        tmp_path / "data",
        "  reader: folders\n  root: RGB1\n  pattern: (?P<camera>RGB\\d)/(?P<driver>S\\d)/(?P<label>AC\\d)/\n"
        "  label_ids: {AC1: go, AC2: stop}\n",
    )
    for d in range(3):
        for k in (1, 2):
            draw(root / f"RGB1/S{d}/AC{k}/frame1.jpg", 10 * d + k)
    result = read(root)
    assert result.problems == []
    row = rows(result)["S2__AC1__frame1.jpg"]
    assert (row["classname"], row["subject"], row["camera"]) == ("go", "S2", "RGB1")


def test_class_folders_with_a_csv_of_drivers_name_what_does_not_fit(tmp_path: Path) -> None:
    root = describe(tmp_path / "data", "  reader: folders\n  root: frames\n  file: drivers.csv\n")
    write_folders(root)
    lines = ["img,driver"]
    for driver in ("a", "b", "c"):
        lines += [f"{folder}/{driver}/1.jpg,{driver}" for folder in ("go", "stop")]
    (root / "drivers.csv").write_text("\n".join([*lines[:-1], "go/a/2.jpg,a"]) + "\n")
    result = read(root)
    assert [(p.where, p.row, p.status) for p in result.problems] == [
        ("drivers.csv", 7, "no file"),
        ("frames/stop/c/1.jpg", None, "no csv row"),
    ]
    assert result.counts["labelled"] == 5


def test_a_driver_whom_path_and_csv_name_has_both_names(tmp_path: Path) -> None:
    root = describe(
        tmp_path / "data",
        "  reader: list\n  file: ids.csv\n  separator: ','\n  header: true\n"
        "  columns: {path: Image Path, driver: Driver ID}\n  pattern: /(?P<driver>train|test)/(?P<label>\\w+)/\n",
    )
    lines = ["Image Path,Driver ID"]
    for part, number in (("train", 1), ("train", 2), ("test", 1)):
        for k, folder in enumerate(("go", "stop")):
            path = f"v2_ split/Camera 1/{part}/{folder}/{number}.jpg"
            draw(root / path, 10 * len(lines) + k)
            lines.append(f"{path},{number}")
    (root / "ids.csv").write_text("\n".join(lines) + "\n")
    result = read(root)
    assert result.problems == []
    assert sorted(set(result.table["subject"].to_pylist())) == ["test_1", "train_1", "train_2"]


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("frames/wait/a/1.jpg", "unknown class", "'wait' of wait/a/1.jpg is none of go, stop"),
        ("frames/1.jpg", "pattern", "does not match"),
        ("frames/go/1.jpg", "pattern", "does not match"),
        ("frames/go/none/1.jpg", "no subject", "names no driver"),
        ("frames/go/a/notes.txt", "not a JPEG", "not a JPEG"),
        ("frames/go/a/x:1.jpg", "unsafe image name", "plain file name"),
    ],
)
def test_a_file_that_does_not_fit_the_folders_is_named(tmp_path: Path, path: str, status: str, words: str) -> None:
    root = describe(tmp_path / "data", "  reader: folders\n  root: frames\n  pattern: frames/\\w+/(?P<driver>\\w+)/\n")
    write_folders(root)
    if path.endswith(".txt"):
        (root / path).write_text("not an image")
    else:
        draw(root / path, 77)
    problem = only_problem(result := read(root))
    assert (problem.where, problem.row, problem.status) == (path, None, status)
    assert words in problem.what
    assert result.counts["labelled"] == 6


def test_folders_without_a_frame_say_where_frames_are_expected(tmp_path: Path) -> None:
    root = describe(tmp_path / "data", "  reader: folders\n  root: frames\n  pattern: frames/\\w+/(?P<driver>\\w+)/\n")
    with pytest.raises(DistractedError, match=r"data/frames holds no images.*`root` in dataset\.yaml"):
        read(root)


def test_a_missing_root_of_another_data_set_does_not_point_to_kaggle(tmp_path: Path) -> None:
    settings = load_settings({}, data=write_toy_root(tmp_path / "toy", backbone=False))
    (tmp_path / "toy").rename(tmp_path / "moved")
    with pytest.raises(DistractedError, match="does not exist") as error:
        ingest(settings, log=lambda line: None)
    assert "kaggle" not in str(error.value)


def test_the_classes_of_the_toy_are_all_there(toy: Path) -> None:
    assert set(read(toy).table["classname"].to_pylist()) == set(CLASSES)
