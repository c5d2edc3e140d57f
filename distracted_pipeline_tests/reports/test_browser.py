import base64
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from distracted_pipeline.reports.build import ReportResult
from distracted_pipeline.reports.serve import make_server
from distracted_pipeline_tests.reports import browser
from distracted_pipeline_tests.reports.browser import Browser
from distracted_pipeline_tests.reports.pages import unpacked

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(browser.find() is None, reason=f"no Chromium on the PATH: none of {', '.join(browser.NAMES)}"),
]


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser.running(tmp_path_factory.mktemp("profile")) as running:
        yield running


@pytest.fixture(scope="module")
def pages(built: ReportResult) -> list[str]:
    """One page of every type, relative to the site."""
    flip = next(iter(unpacked_flips(built)))
    return [
        *("index.html", "summary.html", "compare.html", "pairs.html", "noise.html", "data.html", "images.html"),
        *("variants/fine_tune.html", "classes/c1.html", f"images.html#variant=fine_tune&img={flip}"),
    ]


def unpacked_flips(built: ReportResult) -> list[str]:
    """Images that fine-tuning gained or lost and that have pictures."""
    data = unpacked(built.path.parent / "images.html")
    before, after = (np.frombuffer(base64.b64decode(data["answer"][v]), np.uint8) for v in (0, 1))
    true = np.frombuffer(base64.b64decode(data["true"]), np.uint8)
    return [data["names"][i] for i in data["shown"] if (before[i] == true[i]) != (after[i] == true[i])]


def test_pages_ask_for_nothing_but_themselves_and_complain_about_nothing(
    chromium: Browser, pages: list[str], built: ReportResult
) -> None:
    server = make_server(built.path.parent.parent, 0)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        served = f"http://127.0.0.1:{server.server_address[1]}/{built.report_id}"
        for place, dark in ((built.path.parent.as_uri(), False), (served, True)):
            for page in pages:
                visit = chromium.open(f"{place}/{page}", 1280, dark)
                if page.startswith("images.html"):  # a script makes it
                    chromium.wait("document.querySelector('#shown').textContent")
                    chromium.settle()
                off = [url for url in visit.requests if not url.startswith((place, "data:"))]
                assert not off, (page, off)
                assert not visit.complaints, (page, visit.complaints)
                assert not visit.failed, (page, visit.failed)
                broken = chromium.evaluate("[...document.images].filter(i => !i.naturalWidth).map(i => i.src)")
                assert broken == [], (page, broken)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_the_heatmap_is_whole_on_the_first_screen(chromium: Browser, built: ReportResult) -> None:
    chromium.open(built.path.as_uri(), 1280)
    assert chromium.evaluate("document.querySelector('.wide svg.heatmap').getBoundingClientRect().bottom") <= 900
    assert chromium.evaluate("document.documentElement.scrollWidth") <= 1280
    assert chromium.evaluate("getComputedStyle(document.querySelector('.narrow')).display") == "none"


def test_no_page_is_wider_than_a_phone(chromium: Browser, pages: list[str], built: ReportResult) -> None:
    for page in pages:
        visit = chromium.open(f"{built.path.parent.as_uri()}/{page}", 390)
        chromium.evaluate("document.querySelectorAll('details').forEach(d => {d.open = true})")
        assert chromium.evaluate("document.documentElement.scrollWidth") <= 390, page
        assert not visit.complaints, (page, visit.complaints)


def test_the_policy_stops_what_the_page_did_not_bring(chromium: Browser, built: ReportResult) -> None:
    visit = chromium.open(built.path.as_uri(), 1280)
    outcome = chromium.evaluate(
        "new Promise(done => {document.addEventListener('securitypolicyviolation', e => done(e.effectiveDirective));"
        "document.body.append(Object.assign(new Image(), {src: 'http://127.0.0.1:9/x.png'}));"
        "setTimeout(() => done('nothing'), 3000)})"
    )
    assert outcome == "img-src"
    assert any("Content Security Policy" in words for words in visit.complaints)  # so the browser does tell us


def test_the_keyboard_reaches_the_content_first_and_then_the_pages(chromium: Browser, built: ReportResult) -> None:
    chromium.open(built.path.as_uri(), 1280)
    order = []
    for _ in range(4):
        for kind in ("keyDown", "keyUp"):
            chromium.call("Input.dispatchKeyEvent", type=kind, key="Tab", code="Tab", windowsVirtualKeyCode=9)
        order.append(chromium.evaluate("document.activeElement.textContent.trim()"))
    assert order == ["Skip to the content", "Report", "Compare", "A against B"]
