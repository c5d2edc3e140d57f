import csv
import dataclasses
import json
import os
import re
import shutil
from html import unescape
from pathlib import Path
from urllib.parse import unquote

import pytest

from distracted_pipeline.dataset import STATE_FARM
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.evaluation.tables import class_accuracy
from distracted_pipeline.reports import build, selection
from distracted_pipeline.reports.build import PAGE_BUDGET, SITE_BUDGET, ReportResult, build_report
from distracted_pipeline.reports.image_list import packed
from distracted_pipeline.settings import Settings
from distracted_pipeline.variants.config import load_catalogue
from distracted_pipeline_tests.benchmarks.bench_report import VARIANTS, full_root
from distracted_pipeline_tests.conftest import DRIVERS, write_kaggle_tree
from distracted_pipeline_tests.reports.conftest import evaluate, prepared, quiet
from distracted_pipeline_tests.reports.pages import Tags, links, pages, text, unpacked

LOCAL_RUN = re.compile(r"http://127\.0\.0\.1:300(0/runs|1/#/runs)/[\w%.-]+$")
"""The only links that leave the site: Dagster's and MLflow's page of a run, on this machine."""

SVG = "http://www.w3.org/2000/svg"
"""The name of a format, which nothing is loaded from."""


def test_every_page_type_is_there(built: ReportResult) -> None:
    found = {page.relative_to(built.path.parent).as_posix() for page in pages(built)}
    assert {
        "index.html",
        "compare.html",
        "pairs.html",
        "data.html",
        "images.html",
        "variants/top_only.html",
        "classes/c9.html",
    } <= found
    assert built.pages == len(found)


def test_every_internal_link_and_picture_resolves(built: ReportResult) -> None:
    for page in pages(built):
        anchors = {attributes.get("id") for _, attributes in Tags(page).tags}
        for link in links(page):
            if link.startswith("data:") or LOCAL_RUN.match(link):
                continue
            place, _, anchor = unquote(link).partition("#")
            assert (page.parent / place).resolve().is_file() or not place, (page, link)
            assert place or anchor in anchors, (page, link)


def test_nothing_points_off_the_site(built: ReportResult) -> None:
    for page in pages(built):
        html = re.sub(r'id="data">[^<]*', "", page.read_text(encoding="utf-8"))  # base64, where // means nothing
        html = html.replace("http://127.0.0.1:300", "").replace(SVG, "")
        assert not re.search(r"(?:https?:)?//[a-z0-9]", html), page
        for link in links(page):
            assert not re.match(r"[a-z]+:", link) or link == "data:," or LOCAL_RUN.match(link), (page, link)


def test_the_policy_of_every_page_forbids_everything_but_its_own_pictures(built: ReportResult) -> None:
    for page in pages(built):
        (policy,) = [a["content"] for t, a in Tags(page).tags if t == "meta" and a.get("http-equiv")]
        assert policy is not None
        assert policy.startswith("default-src 'none'; img-src 'self' file: data:; style-src 'sha256-")
        assert "unsafe" not in policy
        assert ("script-src 'none'" in policy) == (page == built.summary), "its own script, known by its hash, or none"
        # Hashes do not cover attributes, so there must be none.
        assert not any("style" in a or any(name.startswith("on") for name in a) for _, a in Tags(page).tags), page


def test_every_picture_has_words_and_every_table_header_a_scope(built: ReportResult) -> None:
    for page in pages(built):
        for tag, attributes in Tags(page).tags:
            if tag == "img":
                assert attributes.get("alt"), page
            if tag == "th":
                assert attributes.get("scope") in ("col", "row"), page
            if tag == "svg":
                assert attributes.get("role") or attributes.get("aria-hidden"), page


def test_the_front_page_says_what_was_found_and_on_what(built: ReportResult, evaluated: Settings) -> None:
    said = text(built.path)
    assert built.verdict.split(": ")[1].rstrip(".") in said
    assert "SYNTHETIC" in said
    assert "given, not predicted" in said
    assert "8 drivers, 80 labelled images" in said
    assert evaluated.notes[0] in said


def test_synthetic_data_is_never_put_beside_the_original_projects_numbers(built: ReportResult, pair: Settings) -> None:
    assert "(quoted)" not in text(built.path)
    assert "cannot be compared with synthetic frames" in text(built.path)
    photographed = text(build_report(pair, log=quiet).path)
    assert photographed.count("(quoted)") == 4
    assert "SYNTHETIC" not in photographed


def test_a_variant_without_results_is_named_and_counted_as_absent(built: ReportResult, evaluated: Settings) -> None:
    last = list(load_catalogue(evaluated))[-1]
    assert built.absent == [last]
    assert any(last in line for line in built.missing)
    assert f"{last}: no predictions yet" in text(built.path)


def test_missing_folds_and_missing_cams_are_said_in_words(pair: Settings) -> None:
    (pair.predictions / "fine_tune" / "3.parquet").unlink()
    class_accuracy(pair, log=quiet)
    result = build_report(pair, log=quiet)
    assert "without fold 3" in text(result.path)
    assert "no Grad-CAMs of Top only and Fine-tuning" in result.missing
    assert "There are no Grad-CAMs of this variant yet" in text(result.path.parent / "variants" / "fine_tune.html")


def test_a_baseline_that_is_missing_leaves_a_report_that_says_so(small: Settings) -> None:
    evaluate(small, ["fine_tune"], cams=False)
    result = build_report(small, log=quiet)
    assert "the baseline, Top only, has no out-of-fold predictions" in text(result.path)
    assert result.verdict.startswith("Nothing can be compared yet")


def test_only_the_original_split_gives_a_report_on_its_test_drivers(pair: Settings) -> None:
    for path in pair.predictions.glob("*/[0-4].parquet"):
        path.unlink()
    class_accuracy(pair, log=quiet)
    said = text(build_report(pair, log=quiet).path)
    assert "the original split's test drivers" in said
    assert "not testable: fewer than 9 drivers" in said  # what one variant's ten classes take
    assert "So few test drivers can decide no class, whatever they show" in said


def test_an_absent_class_is_a_dash_and_is_explained(tmp_path: Path) -> None:
    root = write_kaggle_tree(tmp_path / "data", DRIVERS[:6], frames=1, test_frames=0)
    listed = (root / "driver_imgs_list.csv").read_text().splitlines()
    for line in listed:
        _, classname, img = line.split(",")
        if classname == "c7":
            (root / "imgs" / "train" / "c7" / img).unlink()
    (root / "driver_imgs_list.csv").write_text("\n".join(line for line in listed if ",c7," not in line) + "\n")
    settings = prepared(root)
    evaluate(settings, ["top_only", "fine_tune"])
    result = build_report(settings, log=quiet)
    page = text(result.path.parent / "classes" / "c7.html")
    assert "no image of this class" in page
    assert "absent" in page
    with (result.path.parent / "class_accuracy.csv").open(encoding="utf-8") as handle:
        rows = [row for row in csv.DictReader(handle) if row["class_id"] == "7"]
    assert {(row["n"], row["recall"], row["verdict"]) for row in rows} == {("0", "", "absent")}


def test_hostile_names_are_shown_as_text(small: Settings, tmp_path: Path) -> None:
    evil = "<script>alert('\"&ü')<script>"
    catalogue = tmp_path / "variants.yaml"
    catalogue.write_text(
        json.dumps({"top_only": {"label": evil, "description": f"{evil} described"}}), encoding="utf-8"
    )
    settings = Settings(
        data=small.data, segmenter=small.segmenter, variants_file=catalogue, notes=(evil,), backbone=f"hub/{evil}"
    )
    problem = {"where": evil, "row": 3, "what": f"no file {evil}", "remedy": "mend it", "status": "no file"}
    (settings.data / "images_problems.json").write_text(json.dumps([problem]), encoding="utf-8")
    evaluate(settings, ["top_only", "fine_tune"])
    stray = settings.predictions / "x'\"&ü"
    (settings.predictions / "fine_tune").rename(stray)
    class_accuracy(settings, log=quiet)
    result = build_report(settings, log=quiet)
    for page in pages(result):
        html = page.read_text(encoding="utf-8")
        assert evil not in html
        scripts = [tag for tag, _ in Tags(page).tags if tag == "script"]
        with_data = page.name in ("images.html", "pairs.html")
        assert len(scripts) == (0 if page == result.summary else 2 if with_data else 1), page
    assert f"no file {evil}" in unescape((result.path.parent / "data.html").read_text(encoding="utf-8"))
    assert "&lt;script&gt;alert(" in result.path.read_text(encoding="utf-8")


def test_a_site_stays_within_its_budgets(built: ReportResult) -> None:
    for page in pages(built):
        assert page.stat().st_size <= PAGE_BUDGET, page
    assert built.bytes == sum(p.stat().st_size for p in built.path.parent.rglob("*") if p.is_file())
    assert built.bytes <= SITE_BUDGET


@pytest.mark.slow
def test_a_site_of_all_images_and_ten_variants_stays_within_its_budget(tmp_path: Path) -> None:
    # A few of everything at real size, and how many of each there are at most whatever the number of images.
    settings = full_root(tmp_path / "data", images=260, variants=2, scenes=6)
    result = build_report(settings, log=quiet)
    site, data = result.path.parent, unpacked(result.path.parent / "images.html")

    def mean(pattern: str) -> float:
        sizes = [path.stat().st_size for path in site.glob(pattern)]
        return sum(sizes) / len(sizes)

    per_image = 2 * mean("pictures/*.jpg")  # the frame and its mask
    per_variant = (3 * selection.STRIPS + 1) * 10 * mean("pictures/*/*d.jpg")  # right, confused twice; classes' means
    overall = 30 * max(path.stat().st_size for path in (*site.glob("variants/*.html"), *site.glob("*.html")))
    assert selection.MOST * per_image + VARIANTS * per_variant + overall + PAGE_BUDGET <= SITE_BUDGET

    # Of the list: three bytes of each image and variant, what is known of an image, and what its pictures have.
    listed, pictured = len(data["names"]), len(data["shown"])
    of_numbers = sum(len(text) for name in ("answer", "sure", "loss") for text in data[name]) / listed / 2
    of_images = (len(data["driver"]) + len(data["true"]) + len(json.dumps(data["names"])) + 120) / listed
    of_pictures = len(data["p"]) / 2 * VARIANTS / pictured
    cells = data["cams"][0]["size"][0] * data["cams"][0]["size"][1]
    explained = (3 + 4 + 2 * 4) * 10 * VARIANTS + 5 * selection.MOST  # of a flip, all sides that it is a flip for
    whole = STATE_FARM.frames * (VARIANTS * of_numbers + of_images) + selection.MOST * of_pictures + explained * cells
    shell = (site / "images.html").stat().st_size - len(packed(data))
    deflated = len(packed(data)) / len(json.dumps(data, separators=(",", ":")))
    assert whole * deflated + shell <= PAGE_BUDGET


def test_a_site_beyond_its_budget_is_refused_and_the_last_one_stays(
    pair: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = build_report(pair, log=quiet)
    monkeypatch.setattr(build, "SITE_BUDGET", 1000)
    with pytest.raises(DistractedError, match="too large"):
        build_report(pair, log=quiet)
    assert before.path.is_file()
    assert sorted(p.name for p in pair.reports.iterdir()) == sorted([".lock", before.report_id, "latest"])


def test_latest_leads_to_the_newest_report(alone: Settings) -> None:
    first = build_report(alone, log=quiet)
    again = build_report(alone, log=quiet)
    assert again.report_id == first.report_id  # same results, same day: replaced, not piled up
    evaluate(alone, ["top_only", "fine_tune"], cams=False)
    second = build_report(alone, log=quiet)
    assert second.report_id != first.report_id
    assert (alone.reports / "latest" / "index.html").read_bytes() == second.path.read_bytes()
    assert first.path.is_file()


def test_without_links_latest_is_a_page_that_forwards(alone: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no links on this file system")

    first = build_report(alone, log=quiet)
    monkeypatch.setattr(Path, "symlink_to", refuse)
    evaluate(alone, ["top_only", "fine_tune"], cams=False)
    for _ in range(2):  # over a link, then over a folder
        second = build_report(alone, log=quiet)
        page = alone.reports / "latest" / "index.html"
        assert f'href="../{second.report_id}/index.html"' in page.read_text()
        assert (page.parent / f"../{second.report_id}/index.html").is_file()
    assert "http-equiv" in first.path.read_text()  # the older report was not written through the link
    assert f"../{second.report_id}" not in first.path.read_text()


def test_a_killed_build_leaves_nothing_that_the_next_one_keeps(alone: Settings) -> None:
    stale = alone.reports / ".2020-01-01-abc.1.part"
    stale.mkdir(parents=True)
    (stale / "index.html").write_text("half")
    build_report(alone, log=quiet)
    assert not stale.exists()


def test_nothing_evaluated_names_the_next_command(small: Settings) -> None:
    with pytest.raises(DistractedError, match="distracted run"):
        build_report(small, log=quiet)


def test_a_report_without_masks_says_why(alone: Settings) -> None:
    settings = Settings(data=alone.data, segmenter="folder:nowhere")
    result = build_report(settings, log=quiet)
    assert any("no cached masks" in line and "nowhere" in line for line in result.missing)
    data = unpacked(result.path.parent / "images.html")
    assert data["found"] is None
    assert not any(data["masked"])


def test_a_cam_that_is_zero_everywhere_is_said_not_drawn(built: ReportResult) -> None:
    assert "all zero: nothing speaks for the class" in text(built.path.parent / "variants" / "top_only.html")


def test_the_variant_page_leads_to_its_runs_and_says_when_that_works(built: ReportResult) -> None:
    page = built.path.parent / "variants" / "top_only.html"
    found = set(links(page))
    assert any(re.match(r"http://127\.0\.0\.1:3001/#/(.*/)?runs/run0oftop_only", link) for link in found)
    assert "http://127.0.0.1:3000/runs/%3Cdagster%3E%2F0" in found
    assert "The links work while distracted ui runs on this machine" in text(page)


def test_old_reports_make_room_and_what_is_not_a_report_stays(alone: Settings) -> None:
    first = build_report(alone, log=quiet).path.parent
    old = [first.with_name(f"2020-01-{day:02d}-{'a' * 8}") for day in range(1, 8)]
    for age, folder in enumerate(reversed(old)):
        shutil.copytree(first, folder)
        os.utime(folder / "index.html", (1e9 - age, 1e9 - age))
    renamed = first.with_name("2020-01-08-kept")
    shutil.copytree(first, renamed)
    empty = first.with_name(f"2020-01-09-{'b' * 8}")
    empty.mkdir()
    (empty / "notes.txt").write_text("mine")
    said: list[str] = []
    newest = build_report(dataclasses.replace(alone, synthetic=True), log=said.append).path.parent
    assert newest != first
    present = {path.name for path in first.parent.iterdir() if path.is_dir() and not path.is_symlink()}
    assert present == {path.name for path in (newest, first, *old[-3:], renamed, empty)}
    assert (empty / "notes.txt").is_file()
    assert sum("removed the old report" in line for line in said) == 4
    assert (first.parent / "latest").resolve() == newest
