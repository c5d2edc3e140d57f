"""The csv: every way a row can be wrong costs that row and no other."""

import pytest

from distracted_pipeline.dataset import STATE_FARM
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.images.labels import Label, read_labels
from distracted_pipeline.images.problems import Problem

GOOD = "p002,c0,img_1.jpg\np012,c1,img_2.jpg\n"


def read(text: str | bytes) -> tuple[list[Label], list[Problem]]:
    raw = text if isinstance(text, bytes) else text.encode()
    return read_labels([("driver_imgs_list.csv", raw)], STATE_FARM)


def bad_row(line: str | bytes) -> Problem:
    """Read two good rows with `line` between them as row 3; return its problem."""
    first, second = GOOD.splitlines(keepends=True)
    raw = line if isinstance(line, bytes) else line.encode()
    labels, problems = read(f"subject,classname,img\n{first}".encode() + raw + b"\n" + second.encode())
    assert [label.img for label in labels if label.status == "ok"] == ["img_1.jpg", "img_2.jpg"]
    assert len(problems) == 1
    assert (problems[0].where, problems[0].row) == ("driver_imgs_list.csv", 3)
    assert problems[0].remedy
    assert str(problems[0]).isprintable()
    return problems[0]


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("p014,c10,img_3.jpg", "unknown class"),
        ("p014,safe driving,img_3.jpg", "unknown class"),
        ("p014,c0", "incomplete row"),
        ("p014,c0," + "x" * 200_000, "unsafe image name"),
        ("p014,,img_3.jpg", "incomplete row"),
        ("p014", "incomplete row"),
        ("p002,c0,img_1.jpg", "duplicated row"),
        ("p014,c0,../../etc/passwd", "unsafe image name"),
        ("p014,c0,..", "unsafe image name"),
        ("p014,c0,/etc/passwd", "unsafe image name"),
        ("p014,c0,C:img_3.jpg", "unsafe image name"),
        ("p014,c0,..\\img_3.jpg", "unsafe image name"),
        ("p014,c0,img_3.jpg\0.png", "unsafe image name"),
        ("p014,c0,sub/img_3.jpg", "unsafe image name"),
        ("p014,c0," + "x" * 300 + ".jpg", "unsafe image name"),
        (",c0,img_3.jpg", "no subject"),
        ("  ,c0,img_3.jpg", "no subject"),
        ("unknown,c0,img_3.jpg", "no subject"),
        ("NaN,c0,img_3.jpg", "no subject"),
        ("../p014,c0,img_3.jpg", "unsafe subject"),
        ("p014|0,c0,img_3.jpg", "unsafe subject"),
        ("p0...14,c0,img_3.jpg", "unsafe subject"),
        ("p014.,c0,img_3.jpg", "unsafe subject"),
        ("p 014,c0,img_3.jpg", "unsafe subject"),
        ("test-000,c0,img_3.jpg", "unsafe subject"),
        ("P002,c0,img_3.jpg", "unsafe subject"),
        ("p" * 65 + ",c0,img_3.jpg", "unsafe subject"),
        (b"p\xe9,c0,img_3.jpg", "not UTF-8"),
        (b"p014,c0,img_\xff.jpg", "not UTF-8"),
    ],
)
def test_a_bad_row_is_named_and_costs_no_other_row(line: str | bytes, status: str) -> None:
    assert bad_row(line).status == status


def test_an_open_quote_does_not_swallow_the_rows_below() -> None:
    labels, problems = read(f'subject,classname,img\np014,c0,"img_3.jpg\n{GOOD}')
    assert [(label.img, label.row) for label in labels] == [("img_3.jpg", 2), ("img_1.jpg", 3), ("img_2.jpg", 4)]
    assert problems == []


NOTED = "subject,classname,img,note\np002,c0,img_1.jpg,{}\np012,c1,img_2.jpg,fine\n"


@pytest.mark.parametrize(
    "note", ['"two\nlines"', '"says ""stop""\r\n\r\nand, more, so"', '"one\n""\nthree"', 'stray "quote', '"open']
)
def test_a_quoted_cell_may_hold_line_breaks(note: str) -> None:
    labels, problems = read(NOTED.format(note))
    assert [(label.subject, label.img) for label in labels] == [("p002", "img_1.jpg"), ("p012", "img_2.jpg")]
    assert problems == []
    header = NOTED.replace("note\n", '"a note\nof ours"\n', 1)
    assert [label.img for label in read(header.format("-"))[0]] == ["img_1.jpg", "img_2.jpg"]


def test_rows_after_a_cell_of_several_lines_keep_their_numbers() -> None:
    _, problems = read(NOTED.format('"two\nlines"') + "p012,c99,img_3.jpg,-\n")
    assert [problem.row for problem in problems] == [5]


def test_two_stray_quotes_do_not_swallow_what_lies_between() -> None:
    text = 'subject,classname,img\np002,c0,"img_1.jpg\np012,c1,img_2.jpg\np014,c2,img_3.jpg"\np015,c3,img_4.jpg\n'
    labels, _ = read(text)
    assert [label.img for label in labels if label.status == "ok"][1:] == ["img_2.jpg", 'img_3.jpg"', "img_4.jpg"]


def test_an_image_under_two_classes_belongs_to_neither() -> None:
    labels, problems = read(f"subject,classname,img\n{GOOD}p002,c5,img_1.jpg\n")
    assert {label.img: label.status for label in labels} == {"img_1.jpg": "two labels", "img_2.jpg": "ok"}
    assert [(p.row, p.status) for p in problems] == [(4, "two labels")]
    assert "c5 of p002 here and c0 of p002 in row 2" in problems[0].what


def test_an_image_of_two_drivers_belongs_to_neither() -> None:
    labels, _ = read(f"subject,classname,img\n{GOOD}p014,c0,img_1.jpg\n")
    assert labels[0].status == "two labels"


@pytest.mark.parametrize("first", [True, False])
def test_a_wrong_row_says_nothing_against_a_good_one_for_the_same_image(first: bool) -> None:
    wrong = "p002,c77,img_1.jpg\n"
    labels, problems = read("subject,classname,img\n" + (wrong + GOOD if first else GOOD + wrong))
    assert {label.img: label.status for label in labels} == {"img_1.jpg": "ok", "img_2.jpg": "ok"}
    assert [p.status for p in problems] == ["unknown class"]


@pytest.mark.parametrize("header", ["classname,img", "a,b,c", "", "subject;classname;img"])
def test_a_missing_column_stops_with_the_expected_header(header: str) -> None:
    with pytest.raises(DistractedError, match=r"driver_imgs_list\.csv, row 1: no column .*subject,classname,img"):
        read(f"{header}\n{GOOD}")


def test_an_empty_csv_stops_with_the_expected_header() -> None:
    with pytest.raises(DistractedError, match="found: nothing"):
        read("")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_encodings_and_line_ends_of_spreadsheets_are_read(encoding: str, newline: str) -> None:
    labels, problems = read(f"subject,classname,img\n{GOOD}".replace("\n", newline).encode(encoding))
    assert [(label.subject, label.row) for label in labels] == [("p002", 2), ("p012", 3)]
    assert problems == []


def test_columns_may_come_in_any_order_and_quoted() -> None:
    labels, _ = read('"img","x","Subject ","classname"\n"img_1.jpg","?","p002","c3"\n')
    path = "imgs/train/c3/img_1.jpg"
    assert labels == [Label("p002", "c3", "img_1.jpg", 2, path=path, file="driver_imgs_list.csv")]


def test_cameras_and_sessions_that_somebody_added_to_the_csv_are_kept() -> None:
    labels, problems = read("subject,classname,img,camera,session\np002,c3,img_1.jpg,front,monday\np012,c1,img_2.jpg\n")
    assert [(label.camera, label.session) for label in labels] == [("front", "monday"), ("", "")]
    assert problems == []
