"""The data behind the page of images: every labelled image, what each variant says of it, and its Grad-CAMs."""

import base64
import json
import zlib
from typing import Any

import numpy as np
import pytest

from distracted_pipeline.explanation.flips import flipped
from distracted_pipeline.reports.build import ReportResult
from distracted_pipeline.reports.image_list import LOSS_STEPS, NOTHING, packed
from distracted_pipeline.reports.read_report_data import read_report_data
from distracted_pipeline.reports.report_data import ReportData
from distracted_pipeline.reports.selection import select
from distracted_pipeline.reports.site import images_url
from distracted_pipeline.settings import Settings
from distracted_pipeline_tests.reports.pages import Tags, unpacked


def numbers(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), np.uint8)


@pytest.fixture(scope="module")
def report(evaluated: Settings) -> ReportData:
    return read_report_data(evaluated)


@pytest.fixture(scope="module")
def data(built: ReportResult) -> dict[str, Any]:
    return unpacked(built.path.parent / "images.html")


def test_every_labelled_image_is_listed_with_what_each_variant_says(data: dict[str, Any], report: ReportData) -> None:
    images = list(report.images.values())
    assert data["names"] == [image.img for image in images]
    assert numbers(data["true"]).tolist() == [image.true for image in images]
    drivers = np.frombuffer(base64.b64decode(data["driver"]), "<u2")
    assert [data["drivers"][place] for place in drivers] == [image.subject for image in images]
    probabilities, true = report.predictions.probabilities, numbers(data["true"])
    for v in range(len(report.variants)):
        assert numbers(data["answer"][v]).tolist() == report.predictions.predicted()[v].tolist()
        assert np.abs(numbers(data["sure"][v]) / 100 - probabilities[v].max(-1)).max() <= 0.005 + 1e-6
        loss = -np.log(probabilities[v, np.arange(len(true)), true])
        assert np.abs(numbers(data["loss"][v]) / LOSS_STEPS - loss).max() <= 0.5 / LOSS_STEPS + 1e-3


def test_an_image_without_a_prediction_has_no_numbers(small: Settings) -> None:
    from distracted_pipeline.reports.image_list import _answers

    told = _answers(np.array([[[0.25, 0.75], [np.nan, np.nan]]], np.float32), np.array([0, 1]))
    assert {name: numbers(values[0]).tolist() for name, values in told.items()} == {
        "answer": [1, NOTHING],
        "sure": [75, NOTHING],
        "loss": [round(-np.log(0.25) * LOSS_STEPS), NOTHING],
    }


def test_what_masks_show_of_each_image_is_known(data: dict[str, Any], report: ReportData) -> None:
    masked, *found = (numbers(column).astype(bool) for column in data["found"])
    phone = data["categories"].index("cell phone")
    assert masked.all()
    assert found[phone].tolist() == [image.true in (1, 2, 3, 4) for image in report.images.values()]


def test_every_flip_that_is_shown_has_pictures_and_the_cams_of_both_sides(
    data: dict[str, Any], report: ReportData, built: ReportResult
) -> None:
    shown = {data["names"][image]: place for place, image in enumerate(data["shown"])}
    flips = select(report).flips
    assert flips
    for variant, found in flips.items():
        names = [*found.shown_gained, *found.shown_lost]
        assert names
        for name in (variant, report.reference(variant)):
            assert name is not None
            v = report.variants.index(name)
            rows, predicted = set(data["cams"][v]["rows"]), report.predictions.predicted()[v]
            for img in names:
                place = list(report.images).index(img)
                wanted = {2 * shown[img]} | (
                    {2 * shown[img] + 1} if predicted[place] != report.images[img].true else set()
                )
                assert wanted <= rows, (variant, name, img)
    for img in shown:
        assert (built.path.parent / "pictures" / f"{img}.jpg").is_file()


def test_flips_are_counted_as_the_list_finds_them(data: dict[str, Any], report: ReportData) -> None:
    true = numbers(data["true"]).astype(int)
    for variant, flips in select(report).flips.items():
        reference = report.reference(variant)
        assert reference is not None
        after, before = (
            numbers(data["answer"][report.variants.index(name)]).astype(int) for name in (variant, reference)
        )
        gained, lost = flipped(true, before, after)
        assert np.bincount(true[gained], minlength=10).tolist() == flips.gained.tolist()
        assert np.bincount(true[lost], minlength=10).tolist() == flips.lost.tolist()
        assert len(flips.every) == (gained | lost).sum()


def test_maps_keep_sixteen_levels_of_evidence(data: dict[str, Any], report: ReportData) -> None:
    v = report.variants.index("fine_tune")
    cams, told = report.cams["fine_tune"], data["cams"][v]
    height, width = told["size"]
    assert (height, width) == cams.maps.shape[1:]
    assert len(told["maps"]) == len(told["rows"]) * height * width
    place = data["names"].index(cams.rows[1].img)
    row = 2 * data["shown"].index(place) + (cams.rows[1].target == "true")
    start = told["rows"].index(row) * height * width
    levels = [int(digit, 16) for digit in told["maps"][start : start + height * width]]
    assert np.abs(np.array(levels) * 17 - cams.maps[1].ravel().astype(int)).max() <= 8


def test_no_name_can_be_markup_or_break_out_of_the_page() -> None:
    text = packed({"names": ["</script><script>alert(1)</script>", "ü\ud800"]})
    assert "<" not in text
    assert json.loads(zlib.decompress(base64.b64decode(text)))["names"][0].startswith("</script>")


def test_a_view_of_the_list_is_an_address() -> None:
    assert images_url(variant="a b&c", class_="c1", flip="both", against=None) == (
        "images.html#variant=a%20b%26c&class=c1&flip=both"
    )


def test_every_number_of_a_class_and_a_variant_leads_to_its_images(built: ReportResult) -> None:
    site = built.path.parent

    def views(page: str, part: str) -> list[str]:
        found = [attributes.get("href") or "" for tag, attributes in Tags(site / page).tags if tag == "a"]
        return [link for link in found if "images.html#" in link and part in link]

    compared = len(built.variants) - 1
    for page in ("index.html", "compare.html"):
        assert len(set(views(page, "flip=both"))) >= 11 * compared, page  # each class of each variant, and the means
    assert views("compare.html", "flip=gained")
    assert views("compare.html", "flip=lost")
    assert len(views("variants/fine_tune.html", "called=")) > 10  # the confusion matrix
    assert len(views("variants/fine_tune.html", "driver=")) > 80  # drivers by class, and their changes
    assert len(views("classes/c1.html", "answer=wrong")) > 3
    assert len(views("data.html", "has=cell%20phone")) == 10
