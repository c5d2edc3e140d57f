"""What single pages say, beyond that they are there and lead to each other."""

import base64
import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from distracted_pipeline.evaluation.predictions import write_predictions
from distracted_pipeline.evaluation.tables import class_accuracy
from distracted_pipeline.reports.build import PAGE_BUDGET, ReportResult, build_report
from distracted_pipeline.reports.image_list import NOTHING
from distracted_pipeline.reports.read_report_data import read_report_data
from distracted_pipeline.reports.selection import SUSPECTS, select
from distracted_pipeline.reports.verdict import class_rows, compared, headline, leaderboard, verdict_line
from distracted_pipeline.scopes import FOLDS
from distracted_pipeline.settings import Settings
from distracted_pipeline.variants.config import load_catalogue
from distracted_pipeline_tests.conftest import DRIVERS, write_kaggle_tree
from distracted_pipeline_tests.damage import write_unsealed
from distracted_pipeline_tests.reports.conftest import evaluate, prepared, quiet, write_fold
from distracted_pipeline_tests.reports.pages import Tags, links, pages, text, unpacked


def test_compare_shows_differences_flips_both_ways_and_moved_confusions(
    built: ReportResult, evaluated: Settings
) -> None:
    page = built.path.parent / "compare.html"
    said = text(page)
    html = page.read_text(encoding="utf-8")
    compared = len(built.variants) - 1
    assert html.count('class="sheet"') == 2  # for wide and for narrow screens
    assert html.count('class="track"') == 10 * (compared + 1)  # a whisker per class and variant, an axis per class
    for words in ("Gained", "Lost"):
        assert html.count(f"<h4>{words}</h4>") == compared
    moves = pq.read_table(evaluated.evaluation / "confusions.parquet").to_pylist()
    own = [row for row in moves if (row["scope"], row["variant"]) == ("oof", "fine_tune")]
    rarest = min(own, key=lambda row: (row["delta_share"], row["true"], row["predicted"]))
    assert rarest["delta_share"] < 0
    assert f"c{rarest['true']} → c{rarest['predicted']}" in said


def test_a_variant_page_has_calibration_drivers_settings_and_curves(built: ReportResult, evaluated: Settings) -> None:
    said = text(built.path.parent / "variants" / "fine_tune.html")
    assert "Does it know when it is unsure?" in said
    bins = pq.read_table(evaluated.evaluation / "calibration.parquet").to_pylist()
    full = [row for row in bins if (row["scope"], row["variant"]) == ("oof", "fine_tune") and row["n"]]
    assert said.count("predictions with confidence") == len(full)
    assert "body_lr 0.0001" in said
    assert said.count("Macro recall on the validation drivers: Fine-tuning, fold") == 6
    assert "What changed, driver by driver" in said
    assert "Recall of Fine-tuning by driver and class" in said
    assert "What Fine-tuning changed in the recall of c0 safe driving, by driver" in said
    baseline = text(built.path.parent / "variants" / "top_only.html")
    assert "changed in the recall of" not in baseline


def test_a_variant_is_set_beside_its_control_and_the_control_claims_nothing(small: Settings) -> None:
    assert small.variants_file is not None
    with small.variants_file.open("a") as catalogue:
        catalogue.write("plain: {kind: top_only, augment: true, label: Plain}\n")
        catalogue.write("tuned: {kind: fine_tune, body_lr: 0.001, epochs: 10, control: plain}\n")
    evaluate(small, ["top_only", "plain", "tuned"])
    report = read_report_data(small)
    assert [report.reference(name) for name in ("top_only", "plain", "tuned")] == [None, None, "plain"]
    assert compared(report) == ["tuned"]
    assert report.main.verdict("plain") == "a control that others are compared with"
    assert report.also_differs("tuned") == "also differs: augment yes / no"
    assert list(select(report).flips) == ["tuned"]
    rows = {score.variant: reference for score, reference in class_rows(report, 3)}
    assert rows["tuned"] == report.main.classes["plain"][3].recall
    result = build_report(small, log=quiet)
    assert result.verdict.startswith("tuned, compared with Plain: ")
    assert re.search(r"Plain [\d. +–]*.* control ", text(result.path))
    assert "A control that others are compared with." in text(result.path.parent / "variants" / "plain.html")
    tuned = text(result.path.parent / "variants" / "tuned.html")
    assert "Compared with Plain : " in tuned.replace("Plain:", "Plain :")
    assert "Also differs: augment yes / no (Plain / tuned): the difference may come of that as well." in tuned
    said = text(result.path.parent / "compare.html")
    assert "Every variant against its control, Plain, class by class." in said
    assert "tuned Plain also differs: augment yes / no 2" in said


def test_what_else_differs_is_said_also_where_nothing_does(small: Settings) -> None:
    assert small.variants_file is not None
    same = load_catalogue(small)["top_only"].model_dump(mode="json", exclude={"name", "label", "description"})
    with small.variants_file.open("a") as catalogue:
        catalogue.write(f"again: {json.dumps(same)}\n")
    evaluate(small, ["top_only", "again"], cams=False)
    site = build_report(small, log=quiet).path.parent
    assert "Nothing else differs between the two recipes." in text(site / "variants" / "again.html")
    assert "again Top only nothing else differs 2" in text(site / "compare.html")


def test_a_variant_with_two_branches_shows_both_maps_and_their_shares(small: Settings) -> None:
    evaluate(small, ["top_only", "masks_fused"])
    report = read_report_data(small)
    cams = report.cams["masks_fused"]
    assert cams.mask_maps is not None
    assert cams.mask_maps.shape == (len(cams.rows), 12, 8)
    assert (cams.image_share, cams.mask_share) == (0.5743, 0.4257)
    assert report.cams["top_only"].mask_maps is None
    site = build_report(small, log=quiet).path.parent
    page = site / "variants" / "masks_fused.html"
    assert "57% of what decides is from the image, 43% from the masks" in text(page)
    of_masks = [link for link in links(page) if link.endswith(".masks.jpg")]
    of_image = [link for link in links(page) if link.endswith((".true.jpg", ".predicted.jpg"))]
    assert len(of_masks) > 5
    assert {link.replace(".masks", "") for link in of_masks} <= set(of_image)
    told = unpacked(site / "images.html")["cams"][report.variants.index("masks_fused")]
    assert (told["masks_size"], len(told["masks_maps"])) == ([12, 8], len(told["rows"]) * 96)
    words = [a["alt"] or "" for tag, a in Tags(page).tags if tag == "img"]
    assert any(alt.endswith("class, from the masks") for alt in words)
    assert any(alt.endswith("class, from the image") for alt in words)
    assert "of what decides" not in text(site / "variants" / "top_only.html")


def test_every_training_of_a_fold_has_a_row_and_the_first_one_curves(built: ReportResult) -> None:
    page = built.path.parent / "variants" / "fine_tune.html"
    said = text(page)
    assert "original, training 1 of 2" in said
    assert "4, training 2 of 2" in said
    assert page.read_text(encoding="utf-8").count("Loss by epoch") == 6


def test_differences_between_drivers_are_described_and_never_tested(built: ReportResult) -> None:
    said = text(built.path.parent / "variants" / "fine_tune.html")
    assert "Described, not tested: the drivers of one fold share one training" in said
    for page in pages(built):
        assert "better than others" not in text(page), page


def test_a_class_page_has_mean_cams_and_says_how_confusions_moved(built: ReportResult) -> None:
    page = built.path.parent / "classes" / "c1.html"
    said = text(page)
    pictures = [a["src"] for tag, a in Tags(page).tags if tag == "img" and "mean.c1" in (a["src"] or "")]
    assert len(pictures) == len(built.variants)
    assert "Mean Grad-CAM of this class over drivers" in said
    assert re.search(r"\(\d+\), Δ [+−±]", said)


def test_one_image_of_each_class_has_the_cams_of_every_variant(built: ReportResult) -> None:
    site = built.path.parent
    section = (site / "compare.html").read_text(encoding="utf-8").split('id="explained"')[1].split('id="flips"')[0]
    imgs = re.findall(r'href="images.html#img=([^"]+)"', section)
    assert len(imgs) == 10
    data = unpacked(site / "images.html")
    place = data["shown"].index(data["names"].index(imgs[5]))
    assert all(2 * place in cams["rows"] for cams in data["cams"])


def test_an_interval_that_does_not_exist_is_a_dash(alone: Settings) -> None:
    for path in (alone.predictions / "top_only").glob("*.parquet"):
        first = pq.read_table(path)
        first = first.slice(0, first.num_rows // 2).drop_columns(["replicate"])
        alike = pa.concat_tables([first.append_column("replicate", pa.array([r] * first.num_rows)) for r in (0, 1)])
        for name in ("top_only", "fine_tune"):
            write_predictions(alone, name, path.stem, alike)
    class_accuracy(alone, log=quiet)
    page = build_report(alone, log=quiet).path.parent / "variants" / "fine_tune.html"
    assert page.read_text(encoding="utf-8").count('class="interval">–<') == 3 * 10
    assert 'class="interval"><' not in page.read_text(encoding="utf-8")


def test_an_image_that_the_variants_agree_against_is_perhaps_mislabelled(pair: Settings) -> None:
    report = read_report_data(pair)
    images = list(report.images.values())
    p = report.predictions.probabilities
    p[:] = 0.02
    p[:, np.arange(len(images)), [image.true for image in images]] = 0.82
    wrong = next(i for i, image in enumerate(images) if image.true == 3)
    p[:, wrong, 3], p[:, wrong, 6] = 0.02, 0.82
    suspects = select(report).suspects
    assert [suspect.img for found in suspects for suspect in found] == [images[wrong].img]
    assert (suspects[3][0].seen, round(suspects[3][0].p_seen, 2)) == (6, 0.82)
    p[:] = np.nan
    assert not any(select(report).suspects)
    assert SUSPECTS * 10 < 100


def test_the_summary_stands_alone(built: ReportResult) -> None:
    html = built.summary.read_text(encoding="utf-8")
    assert len(html.encode()) <= PAGE_BUDGET
    alone = html.replace('href="data:,"', "")  # an empty icon, so that no browser asks for one
    for forbidden in ("<a ", "<a>", "href", "<script", "src=", "url(", "localStorage", "sessionStorage", "://"):
        assert forbidden not in alone, forbidden
    said = text(built.summary)
    for part in (
        built.verdict.split(": ")[1].rstrip("."),
        "Leaderboard",
        "Data card",
        "SYNTHETIC",
        "c9 talking to passenger",
    ):
        assert part in said
    assert 'class="sheet"' in html


def test_an_older_evaluation_gives_a_report_that_says_what_it_lacks(small: Settings) -> None:
    evaluate(small, ["top_only", "fine_tune"])
    for name in ("calibration.parquet", "confusions.parquet", "drivers.parquet"):
        (small.evaluation / name).unlink(missing_ok=True)
    for name in ("driver_means.npz", "lift.parquet"):
        for path in small.evaluation.glob(f"gradcam/*/{name}"):
            path.unlink()
    for name in ("class_accuracy.parquet", "variants.parquet"):
        table = pq.read_table(small.evaluation / name)
        older = [c for c in table.column_names if c not in _NEWER]
        assert len(older) < len(table.column_names)
        write_unsealed(small.evaluation / name, table.select(older))
    result = build_report(small, log=quiet)
    assert "no reliability table yet" in text(result.path.parent / "variants" / "fine_tune.html")
    assert "no table of confusions yet" in text(result.path.parent / "compare.html")
    assert "no mean Grad-CAMs of this class yet" in text(result.path.parent / "classes" / "c1.html")


_NEWER = {
    *(f"delta_{score}{end}" for score in ("precision", "f1") for end in ("", "_low", "_high")),
    *("driver_delta_low", "driver_delta_high", "i2", "p_own", "macro_p_holm", "macro_low", "macro_high"),
    *("baseline", "trainings", "obstacle", "df", "training_alone"),
    *(f"{of}sd_{part}" for of in ("", "delta_") for part in ("drivers", "training", "double")),
}


def test_trainings_that_an_earlier_version_wrote_for_the_original_fold_are_shown(pair: Settings) -> None:
    folder = pair.models / "fine_tune"
    (folder / "original").rename(folder / "seed")  # what the fold was called
    assert list(read_report_data(pair).runs["fine_tune"]) == ["original", "0", "1", "2", "3", "4"]


def test_hostile_drivers_and_image_names_are_text_everywhere(tmp_path: Path) -> None:
    drivers = ["<script>alert(1)", *DRIVERS[:6]]
    root = write_kaggle_tree(tmp_path / "data", drivers, frames=1, test_frames=0)
    listed = (root / "driver_imgs_list.csv").read_text(encoding="utf-8")
    for number, name in ((11, "<img onerror='x'>#ü?.jpg"), (12, 'img "two" & %2e.jpg')):
        (path,) = root.glob(f"imgs/train/*/img_{number}.jpg")
        path.rename(path.with_name(name))
        listed = listed.replace(f",img_{number}.jpg", ',"' + name.replace('"', '""') + '"')
    (root / "driver_imgs_list.csv").write_text(listed, encoding="utf-8")
    settings = prepared(root)
    evaluate(settings, ["top_only", "fine_tune"])
    result = build_report(settings, log=quiet)
    known = {tag for page in pages(result) for tag, _ in Tags(page).tags}
    assert "script" in known  # the filter's own
    for page in pages(result):
        html = page.read_text(encoding="utf-8")
        assert "<script>alert" not in html
        assert "onerror='x'" not in html
        for link in links(page):
            place = link.partition("#")[0]
            assert link.startswith(("data:", "http://127.0.0.1:300")) or (page.parent / place).is_file() or not place
    assert drivers[0] in text(result.path.parent / "data.html")  # refused, and said so
    data = unpacked(result.path.parent / "images.html")
    assert any("%2e" in data["names"][image] for image in data["shown"])
    assert len(data["slugs"]) >= 2  # and have plain names in addresses and on disk


def test_missing_folds_are_named_where_the_variant_is_judged(small: Settings) -> None:
    evaluate(small, ["top_only", "fine_tune"])
    for fold in ("0", "1", "2", "3"):
        (small.predictions / "fine_tune" / f"{fold}.parquet").unlink()
    class_accuracy(small, log=quiet)
    result = build_report(small, log=quiet)
    said = text(result.path.parent / "variants" / "fine_tune.html")
    assert "missing: 0, 1, 2 and 3" in said
    assert "not testable" in said
    answers = base64.b64decode(unpacked(result.path.parent / "images.html")["answer"][1])
    assert NOTHING in answers
    assert set(answers) != {NOTHING}


def test_a_variant_that_lacks_folds_is_listed_last_and_never_the_headline(small: Settings) -> None:
    evaluate(small, ["top_only", "fine_tune", "linear_probe"], cams=False)
    for fold in FOLDS:
        write_fold(small, "masks_only", fold, skill=1.0)
    (small.predictions / "masks_only" / "3.parquet").unlink()
    class_accuracy(small, log=quiet)
    report = read_report_data(small)
    scores = report.main.variants
    assert max(scores, key=lambda name: scores[name].macro_recall or 0) == "masks_only"
    assert [score.variant for score in leaderboard(report)][-1] == "masks_only"
    assert headline(report) in ("fine_tune", "linear_probe")
    result = build_report(small, log=quiet)
    assert not result.verdict.startswith("Masks only")
    assert result.table.splitlines()[-1].startswith("| Masks only (without fold 3) |")
    assert "A variant that lacks folds has no rank among the others" in text(result.path)
    assert "Masks only –" in text(result.path).partition("Leaderboard")[2]
    for name in ("fine_tune", "linear_probe"):
        (small.predictions / name / "2.parquet").unlink()
    class_accuracy(small, log=quiet)
    assert "(without fold " in verdict_line(read_report_data(small))  # none is complete: said where one leads


def test_the_report_grows_with_the_variants(small: Settings) -> None:
    variants = ["top_only", "fine_tune"]
    for count in (1, 2):
        evaluate(small, variants[:count], cams=False)
        result = build_report(small, log=quiet)
        assert result.variants == variants[:count]
        assert ("Nothing can be compared yet" in result.verdict) == (count == 1)
        assert text(result.path).count("This report is partial") == 1
