"""What people decided about labels changes the manifest, for that picture alone, and while the file is there."""

from pathlib import Path

import pytest

from distracted_pipeline.errors import DistractedError
from distracted_pipeline.images.checks import check_bad_files, check_counts
from distracted_pipeline.images.decisions import accept, decisions_file
from distracted_pipeline.images.ingest import IngestResult, ingest
from distracted_pipeline.images.manifest import data_fingerprint, of_subject
from distracted_pipeline.settings import Settings

HEAD = "img,sha256,decision,classname\n"


def quiet(settings: Settings) -> IngestResult:
    return ingest(settings, log=lambda line: None)


def sha(result: IngestResult, img: str) -> str:
    return next(row["sha256"] for row in result.table.to_pylist() if row["img"] == img)


def row(result: IngestResult, img: str) -> dict:
    return next(row for row in result.table.to_pylist() if row["img"] == img)


def decide(settings: Settings, *lines: str) -> None:
    decisions_file(settings).write_text(HEAD + "".join(f"{line}\n" for line in lines))


def test_relabel_drop_and_keep_are_honoured_counted_and_undone_by_removing_the_file(settings: Settings) -> None:
    before = quiet(settings)
    decide(
        settings,
        f"img_1.jpg,{sha(before, 'img_1.jpg')},relabel,c3",
        f"img_5.jpg,{sha(before, 'img_5.jpg')[:12]},drop,",
        f"img_9.jpg,{sha(before, 'img_9.jpg')},keep,",
    )
    after = quiet(settings)
    assert row(after, "img_1.jpg")["classname"] == "c3"
    assert row(after, "img_5.jpg")["status"] == "dropped by review"
    assert (after.counts["labelled"], after.counts["bad"], after.counts["read"]) == (159, 0, 0)
    assert after.reviewed == {"relabel": 1, "drop": 1, "keep": 1}
    said = "review: 1 labels changed, 1 frames dropped, 1 labels confirmed"
    assert said in after.notes
    assert said in check_counts(after.table, settings.dataset, after.reviewed).description
    assert check_bad_files(after).passed
    assert data_fingerprint(after.table) != data_fingerprint(before.table)
    decisions_file(settings).unlink()
    assert quiet(settings).table.equals(before.table)


def test_a_changed_label_moves_no_frame_so_that_taps_and_masks_stay(settings: Settings) -> None:
    before = quiet(settings)
    decide(settings, f"img_1.jpg,{sha(before, 'img_1.jpg')},relabel,c9")
    rows = [of_subject(result.table, "p002").select(["img", "sha256"]) for result in (before, quiet(settings))]
    assert rows[0].equals(rows[1])


def test_a_decision_never_hits_another_picture_of_the_same_name(settings: Settings) -> None:
    before = quiet(settings)
    decide(settings, f"img_1.jpg,{sha(before, 'img_2.jpg')},relabel,c3")
    after = quiet(settings)
    assert row(after, "img_1.jpg")["classname"] == "c0"
    assert after.reviewed["relabel"] == 0
    problem = next(p for p in after.problems if p.status == "outdated decision")
    assert (problem.row, "img_1.jpg" in problem.what) == (2, True)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("img_1.jpg,{sha},relabel,c10", "line 2: classname is 'c10', none of c0, c1"),
        ("img_1.jpg,{sha},relable,c1", "decision is 'relable', not one of relabel, drop, keep. Did you mean relabel?"),
        ("img_1.jpg,{sha},drop,c1", "line 2: classname is 'c1', yet the decision is drop"),
        ("img_1.jpg,xyz,drop,", "line 2: sha256 of img_1.jpg is 'xyz'"),
        ("img_1000.jpg,{sha},drop,", "line 2: no labelled image is called 'img_1000.jpg'"),
        ("img_1.jpg,{sha},drop,\nimg_1.jpg,{sha},keep,", "line 3: img img_1.jpg is decided in line 2 already"),
    ],
)  # fmt: skip
def test_a_line_that_cannot_be_understood_is_named(settings: Settings, line: str, words: str) -> None:
    decide(settings, line.format(sha="0" * 64))
    with pytest.raises(DistractedError) as error:
        quiet(settings)
    assert words in str(error.value)
    assert "label_decisions.csv" in str(error.value)


def test_a_file_without_its_columns_is_refused(settings: Settings) -> None:
    decisions_file(settings).write_text("img,decision\nimg_1.jpg,drop\n")
    with pytest.raises(DistractedError, match="line 1: no column sha256, classname"):
        quiet(settings)


def test_accepted_decisions_are_merged_the_later_one_counts(settings: Settings, tmp_path: Path) -> None:
    first, second = tmp_path / "first.csv", tmp_path / "second.csv"
    first.write_text(HEAD + f"img_1.jpg,{'a' * 64},drop,\nimg_2.jpg,{'b' * 64},keep,\n")
    second.write_text("note,img,sha256,decision,classname\n" + f"sure,img_1.jpg,{'a' * 64},relabel,c4\n")
    assert accept(settings, first) == (2, 2)
    assert accept(settings, second) == (2, 1)
    assert decisions_file(settings).read_text().splitlines() == [
        HEAD.strip(), f"img_1.jpg,{'a' * 64},relabel,c4", f"img_2.jpg,{'b' * 64},keep,",
    ]  # fmt: skip
    with pytest.raises(DistractedError, match="no file"):
        accept(settings, tmp_path / "third.csv")
