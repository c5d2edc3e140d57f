"""The page of images and that of pairs, used as a reader does: links, keys, Back, and the address."""

from collections.abc import Iterator

import pytest

from distracted_pipeline.reports.build import ReportResult
from distracted_pipeline_tests.reports import browser
from distracted_pipeline_tests.reports.browser import Browser

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(browser.find() is None, reason=f"no Chromium on the PATH: none of {', '.join(browser.NAMES)}"),
]

CARDS = "document.querySelectorAll('#list > li').length"
COUNT = "document.querySelector('#shown').textContent"
ONE = "!document.querySelector('#view').hidden && document.querySelector('#view h2')?.textContent"
FORM = "document.querySelector('.filter').elements"


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser.running(tmp_path_factory.mktemp("profile")) as running:
        yield running


@pytest.fixture
def images(built: ReportResult) -> str:
    return f"{built.path.parent.as_uri()}/images.html"


def opened(chromium: Browser, url: str, width: int = 1280) -> None:
    """Open a page and wait until its script has drawn the list."""
    chromium.open(url, width)
    chromium.wait(COUNT)


def choose(chromium: Browser, name: str, value: str) -> None:
    chromium.evaluate(
        f"{FORM}['{name}'].value = '{value}', {FORM}['{name}'].dispatchEvent(new Event('change', {{bubbles: true}}))"
    )
    chromium.wait(f"location.hash.includes('{value}')")


@pytest.mark.parametrize("width", [1280, 390])
def test_from_a_cell_of_the_heatmap_to_both_cams_of_a_flip_in_two_clicks(
    chromium: Browser, built: ReportResult, width: int
) -> None:
    visit = chromium.open(built.path.as_uri(), width)
    place = ".wide" if width > 600 else ".narrow"
    cells = f"[...document.querySelectorAll('{place} svg.heatmap a')].filter(a => a.href.baseVal.includes('class='))"
    click = "dispatchEvent(new MouseEvent('click', {bubbles: true}))"
    chromium.evaluate(f"void setTimeout(() => {cells}.find(a => a.href.baseVal.includes('fine_tune')).{click})")
    chromium.wait(f"location.href.includes('images.html') && document.querySelector('#shown') && {COUNT}")
    assert chromium.wait(CARDS) > 0
    assert chromium.evaluate(f"{FORM}.flip.value + {FORM}.variant.value") == "bothfine_tune"
    chromium.evaluate("document.querySelector('#list a').click()")
    chromium.wait(ONE)
    sides = "[...document.querySelectorAll('.side')].filter(s => s.querySelector('.verdict.right, .verdict.wrong'))"
    assert chromium.evaluate(f"{sides}.map(s => s.querySelector('h3').textContent.trim())") == [
        "Top only (reference)",
        "Fine-tuning",
    ]
    canvases = chromium.evaluate(
        f"{sides}.map(s => [...s.querySelectorAll('canvas')].map(c => c.getAttribute('aria-label')))"
    )
    assert all(labels for labels in canvases), canvases
    wrong = chromium.evaluate(f"{sides}.findIndex(s => s.querySelector('.verdict.wrong'))")
    assert len(canvases[wrong]) == 2, "for the true class, and for the answer"
    assert chromium.evaluate("document.querySelectorAll('.wipe canvas').length") == 2
    assert not visit.complaints


def test_the_border_between_two_cams_can_be_moved(chromium: Browser, images: str) -> None:
    opened(chromium, f"{images}#variant=fine_tune&flip=both")
    chromium.evaluate("document.querySelector('#list a').click()")
    chromium.wait(ONE)
    share = "document.querySelector('.wipe .upper').style.clipPath"
    assert "50%" in chromium.evaluate(share)
    chromium.evaluate("s = document.querySelector('.wipe input'), s.value = 100, s.dispatchEvent(new Event('input'))")
    assert chromium.evaluate(share).startswith("inset(0")
    assert "50%" not in chromium.evaluate(share)


def test_a_link_reproduces_the_view(chromium: Browser, images: str) -> None:
    opened(chromium, images)
    every = chromium.evaluate(COUNT)
    assert every.startswith("80 of 80 images")
    for name, value in (("class", "c1"), ("variant", "fine_tune"), ("answer", "wrong"), ("sort", "loss")):
        choose(chromium, name, value)
    seen = chromium.evaluate("document.querySelector('#list').textContent"), chromium.evaluate(COUNT)
    address = chromium.evaluate("location.href")
    assert address.endswith("#class=c1&variant=fine_tune&answer=wrong&sort=loss")
    opened(chromium, address)
    assert (chromium.evaluate("document.querySelector('#list').textContent"), chromium.evaluate(COUNT)) == seen
    assert chromium.evaluate(f"{FORM}.answer.value") == "wrong"
    told = chromium.evaluate("document.querySelector('#list').textContent.match(/(?<=loss )\\d+\\.\\d\\d/g)")
    losses = [float(loss) for loss in told]
    assert losses == sorted(losses, reverse=True)
    assert losses


def test_back_restores_list_controls_and_count_together(chromium: Browser, images: str) -> None:
    opened(chromium, images)
    choose(chromium, "class", "c1")
    of_class = chromium.evaluate(COUNT)
    choose(chromium, "driver", "p002")
    assert chromium.evaluate(COUNT) != of_class
    chromium.evaluate("document.querySelector('#list a').click()")
    chromium.wait(ONE)
    for count, driver in ((None, "p002"), (of_class, "")):
        chromium.evaluate("history.back()")
        chromium.wait(f"{FORM}.driver.value === '{driver}' && document.querySelector('#view').hidden")
        assert count is None or chromium.evaluate(COUNT) == count
        assert chromium.evaluate(f"{FORM}['class'].value") == "c1"
    chromium.evaluate("history.back()")
    chromium.wait(f"{FORM}['class'].value === '' && {COUNT}.startsWith('80 of')")


def test_arrows_walk_the_filtered_list_and_escape_returns_to_it(chromium: Browser, images: str) -> None:
    opened(chromium, f"{images}#class=c1&variant=fine_tune&sort=unsure")
    order = chromium.evaluate("[...document.querySelectorAll('#list figcaption span')].map(s => s.textContent)")
    assert len(order) == 8
    chromium.evaluate("document.querySelector('#list a').click()")
    seen = [chromium.wait(ONE)]
    for _ in order[1:]:
        chromium.press("ArrowRight", 39)
        seen.append(chromium.evaluate(ONE))
    assert seen == order
    chromium.press("ArrowRight", 39)
    assert chromium.evaluate(ONE) == order[-1], "the end is the end"
    chromium.press("ArrowLeft", 37)
    assert chromium.evaluate(ONE) == order[-2]
    assert order[-2] in chromium.evaluate("location.hash"), "and the address follows"
    chromium.press("Escape", 27)
    chromium.wait("document.querySelector('#view').hidden")
    assert chromium.evaluate(COUNT).startswith("8 of 80")


def test_a_view_of_what_the_report_does_not_know_is_empty_not_everything(chromium: Browser, images: str) -> None:
    opened(chromium, f"{images}#class=c99")
    assert chromium.evaluate(COUNT) == "0 of 80 images: this report knows no class “c99”"
    chromium.open(f"{images}#img=no-such.jpg", 1280)
    chromium.wait("!document.querySelector('#view').hidden")
    assert "knows no image no-such.jpg" in chromium.evaluate("document.querySelector('#view').textContent")


def test_an_image_that_no_variant_explained_says_so(chromium: Browser, images: str) -> None:
    opened(chromium, f"{images}#variant=fine_tune")
    every = chromium.evaluate("[...document.querySelectorAll('#list a')].map(a => a.hash)")
    said = []
    for address in every:
        chromium.evaluate(f"location.hash = '{address}'")
        chromium.wait(f"location.hash === '{address}' && {ONE}")
        said.append(chromium.evaluate("document.querySelector('#view').textContent"))
        if "Grad-CAM not computed" in said[-1] or "no picture kept" in said[-1]:
            return
    raise AssertionError("every image is explained by both")


def test_any_two_variants_stand_side_by_side_and_can_change_places(chromium: Browser, built: ReportResult) -> None:
    url = f"{built.path.parent.as_uri()}/pairs.html#a=fine_tune&b=masks_only"
    chromium.open(url, 1280)
    said = "document.querySelector('#pair .lede')?.textContent"
    assert chromium.wait(said).startswith("Masks only against Fine-tuning")
    cell = "document.querySelectorAll('#pair tbody tr')[3].cells[5].textContent"
    delta = chromium.evaluate(cell)
    chromium.evaluate("document.querySelector('#swap').click()")
    chromium.wait(f"{said}.startsWith('Fine-tuning against Masks only')")
    turned = chromium.evaluate(cell)
    assert {delta[0], turned[0]} in ({"+", "−"}, {"±"})
    assert delta[1:] == turned[1:]
    assert chromium.evaluate("location.hash") == "#a=masks_only&b=fine_tune"
    chromium.evaluate("history.back()")
    chromium.wait(f"{said}.startsWith('Masks only')")


def test_tables_and_figures_are_downloaded_without_a_network(chromium: Browser, built: ReportResult) -> None:
    visit = chromium.open(built.path.as_uri(), 1280)
    chromium.wait("document.querySelectorAll('.take button').length")
    chromium.evaluate(
        "window.made = [];"
        "Blob = class extends Blob {constructor(p, a) {super(p, a); made.push([a.type, p[0]])}};"
        "HTMLAnchorElement.prototype.click = function() {};"
        "document.querySelectorAll('.take button').forEach(b => b.click())"
    )
    made = chromium.evaluate("made")
    table = next(text for kind, text in made if kind == "text/csv" and text.startswith("Variant,"))
    assert table.splitlines()[1].startswith("Top only,")
    figure = next(text for kind, text in made if kind == "image/svg+xml")
    assert figure.startswith("<svg xmlns=")
    assert "<a" not in figure
    assert "c1" in figure
    assert not visit.complaints
