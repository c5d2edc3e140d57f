import re
from xml.etree import ElementTree

import numpy as np
from markupsafe import Markup

from distracted_pipeline.reports import figures
from distracted_pipeline.reports.figures import HeatCell


def texts(markup: Markup) -> list[str]:
    """Every text of a figure, tooltips left out; fails if the figure is no XML."""
    root = ElementTree.fromstring(f"<div>{markup}</div>")
    return ["".join(node.itertext()) for node in root.iter("text")]


def heatmap_of(*cells: HeatCell) -> Markup:
    return figures.heatmap(
        [("c0 safe driving", None)], [(f"v{i}", None) for i in range(len(cells))], [cells], title="t"
    )


def test_a_decided_cell_is_told_by_sign_and_frame_not_by_colour_alone() -> None:
    figure = heatmap_of(
        HeatCell(0.12, "improved", ""), HeatCell(-0.12, "worsened", ""), HeatCell(0.12, "undetermined", "")
    )
    assert {"+.12 ▲", "−.12 ▼", "+.12"} <= set(texts(figure))
    assert figure.count("frame") == 2


def test_an_undefined_difference_is_a_dash_and_has_no_colour() -> None:
    figure = heatmap_of(HeatCell(None, "absent", ""))
    assert "–" in texts(figure)
    assert "fill-opacity" not in figure


def test_confusion_rows_are_shares_of_the_true_class_in_order_of_class_ids() -> None:
    matrix = np.zeros((10, 10), int)
    matrix[3, 3], matrix[3, 7] = 3, 1
    found = texts(figures.confusion(matrix, title="t"))
    assert [text for text in found if re.fullmatch(r"c\d", text)] == [f"c{k}" for k in range(10)]
    assert "c3 texting - left" in found
    assert found.count(".75") == found.count(".25") == 1
    assert "n = 4" in found
    assert found.count("–") == 90  # nine absent classes


def test_a_track_without_recall_says_so() -> None:
    assert texts(figures.track(None, None, None, reference=None, verdict="absent", title="t")) == ["–"]


def test_a_track_never_leaves_its_frame() -> None:
    figure = figures.track(1.0, -0.1, 1.2, reference=0.0, verdict="improved", title="t")
    places = [float(x) for x in re.findall(r'x[12]="([-\d.]+)"', figure)]
    assert min(places) >= 0
    assert max(places) <= figures.TRACK[0]


def test_drivers_with_equal_recall_are_all_visible() -> None:
    figure = figures.strip([(f"p{i}", 1.0) for i in range(26)], title="t")
    heights = re.findall(r'cy="([-\d.]+)"', figure)
    assert len(set(heights)) == 26
    assert min(map(float, heights)) >= 3


def test_labels_are_escaped_in_text_and_in_attributes() -> None:
    evil = '"><script>alert(1)</script>'
    figure = figures.heatmap([(evil, evil)], [(evil, evil)], [[HeatCell(0.1, "improved", evil)]], title=evil)
    assert "<script" not in figure
    assert texts(figure)  # still well-formed
