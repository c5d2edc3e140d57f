import base64
import re
from dataclasses import dataclass
from xml.etree import ElementTree

import numpy as np
import pytest
from markupsafe import Markup

from distracted_pipeline.figures import curves, dot_plots, matrices
from distracted_pipeline.figures.matrices import HeatCell
from distracted_pipeline.figures.svg import as_markdown_image, standalone

LABELS = [f"c{k} {word}" for k, word in enumerate(["drive", "text", "call", "drink", "reach"])]


@dataclass(frozen=True)
class Bin:
    n: int
    confidence: float | None = None
    accuracy: float | None = None


def texts(markup: Markup) -> list[str]:
    """Every text of a figure, tooltips left out; fails if the figure is no XML."""
    root = ElementTree.fromstring(f"<div>{markup}</div>")
    return ["".join(node.itertext()) for node in root.iter("text")]


def heatmap_of(*cells: HeatCell) -> Markup:
    return matrices.heatmap(
        [("c0 safe driving", None)], [(f"v{i}", None) for i in range(len(cells))], [cells], title="t"
    )


def test_a_decided_cell_is_told_by_sign_and_frame_not_by_colour_alone() -> None:
    figure = heatmap_of(HeatCell(0.12, "", "▲", True), HeatCell(-0.12, "", "▼", True), HeatCell(0.12, ""))
    assert {"+.12 ▲", "−.12 ▼", "+.12"} <= set(texts(figure))
    assert figure.count("frame") == 2


def test_an_undefined_difference_is_a_dash_and_has_no_colour() -> None:
    figure = heatmap_of(HeatCell(None, ""))
    assert "–" in texts(figure)
    assert "fill-opacity" not in figure


def test_confusion_rows_are_shares_of_the_true_class_in_the_order_of_the_labels() -> None:
    matrix = np.zeros((5, 5), int)
    matrix[3, 3], matrix[3, 2] = 3, 1
    found = texts(matrices.confusion(matrix, LABELS, title="t"))
    assert [text for text in found if re.fullmatch(r"c\d", text)] == [f"c{k}" for k in range(5)]
    assert [text for text in found if text in LABELS] == LABELS
    assert found.count(".75") == found.count(".25") == 1
    assert "n = 4" in found
    assert found.count("–") == 20  # four absent classes


@pytest.mark.parametrize("count", [2, 22])
def test_a_confusion_matrix_has_as_many_classes_as_labels(count: int) -> None:
    matrix = np.eye(count, dtype=int)
    found = texts(matrices.confusion(matrix, [f"class_{k} words" for k in range(count)], title="t"))
    assert found.count("1.00") == count
    assert found.count("·") == count * (count - 1)
    assert [text for text in found if re.fullmatch(r"class_\d+", text)] == [f"class_{k}" for k in range(count)]


def test_a_figure_on_its_own_is_one_svg_with_all_its_parts_beside_each_other() -> None:
    figure = matrices.confusion(np.eye(5, dtype=int), LABELS, title="t")
    document = ElementTree.fromstring(standalone(figure))
    svg = "{http://www.w3.org/2000/svg}"
    assert document.tag == f"{svg}svg"
    rows, body = document.findall(f"{svg}svg")
    assert float(body.get("x", 0)) == float(rows.get("width", 0))
    assert float(document.get("width", 0)) == float(rows.get("width", 0)) + float(body.get("width", 0))
    assert {"c3 drink", "1.00"} <= {"".join(node.itertext()) for node in document.iter(f"{svg}text")}


def test_a_figure_on_its_own_names_a_colour_for_whatever_the_page_colours() -> None:
    style = standalone(curves.courses([curves.Course("loss", "down", [1.0, 0.5])], 1, title="t"))
    for kind in ("field", "line.down", "mark.down", "reference", "quiet", "none", "right", "wrong", "frame"):
        assert f".{kind}" in style.partition("</style>")[0], kind


def test_a_figure_for_markdown_carries_its_whole_document() -> None:
    document = standalone(dot_plots.scale(dot_plots.PROPORTION))
    found = re.fullmatch(r"!\[a scale\]\(data:image/svg\+xml;base64,(\S+)\)", as_markdown_image(document, "a scale"))
    assert found
    assert base64.b64decode(found[1]).decode() == document


def test_a_track_without_recall_says_so() -> None:
    assert texts(dot_plots.track(None, None, None, reference=None, kind="even", title="t")) == ["–"]


def test_a_track_never_leaves_its_frame() -> None:
    figure = dot_plots.track(1.0, -0.1, 1.2, reference=0.0, kind="up", title="t")
    places = [float(x) for x in re.findall(r'x[12]="([-\d.]+)"', figure)]
    assert min(places) >= 0
    assert max(places) <= dot_plots.TRACK[0]


def test_drivers_with_equal_recall_are_all_visible() -> None:
    figure = dot_plots.strip([(f"p{i}", 1.0) for i in range(26)], title="t")
    heights = re.findall(r'cy="([-\d.]+)"', figure)
    assert len(set(heights)) == 26
    assert min(map(float, heights)) >= 3


def test_an_axis_of_differences_is_as_narrow_as_the_values_allow_and_has_zero_in_the_middle() -> None:
    axis = dot_plots.difference_axis([0.02, None, -0.2, float("nan")])
    assert (axis.low, axis.high) == (-0.25, 0.25)
    assert [label for _, label in axis.ticks] == ["−.25", "−.125", "0", "+.125", "+.25"]
    assert axis.x(0) == dot_plots.TRACK[0] / 2
    assert dot_plots.difference_axis([]).high == 0.1
    assert dot_plots.difference_axis([3]).high == 1


def test_ratios_are_on_a_logarithmic_axis_with_one_in_the_middle() -> None:
    axis = dot_plots.ratio_axis([0.5, 1.9, None, 0.0])
    assert [label for _, label in axis.ticks] == [".5", ".71", "1", "1.4", "2"]
    assert axis.x(0) == dot_plots.TRACK[0] / 2
    assert next(label for _, label in dot_plots.ratio_axis([7.0]).ticks) == ".12"
    assert dot_plots.ratio_axis([]).high == 0.5


def test_a_ratio_points_up_or_down_only_where_its_whisker_is_clear_of_one() -> None:
    axis = dot_plots.ratio_axis([2.0])

    def figure(low: float | None, value: float, high: float | None) -> Markup:
        return dot_plots.ratio_track(value, low, high, axis=axis, title="t")

    assert "dot up" in figure(1.1, 1.5, 1.9)
    assert "dot down" in figure(0.6, 0.7, 0.9)
    for spread in (figure(0.9, 1.2, 1.6), figure(None, 1.9, None), figure(0.0, 0.4, 1.6)):
        assert "dot even" in spread
    assert figure(0.0, 0.6, 0.9).count("whisker") == 2  # no cap at a ratio of nothing


def test_a_whisker_beyond_the_axis_has_no_cap() -> None:
    axis = dot_plots.difference_axis([0.1])
    inside = dot_plots.track(0, -0.05, 0.05, axis=axis, reference=0, kind="even", title="t")
    beyond = dot_plots.track(0, -0.05, 0.5, axis=axis, reference=0, kind="even", title="t")
    assert inside.count("whisker") == 3
    assert beyond.count("whisker") == 2


def test_an_empty_bin_of_confidence_has_no_dot_and_larger_bins_larger_ones() -> None:
    bins = [Bin(0), Bin(10, 0.6, 0.4), Bin(90, 0.9, 0.95)]
    figure = curves.reliability(bins, title="t")
    radii = [float(r) for r in re.findall(r' r="([\d.]+)"', figure)]
    assert len(radii) == 2
    assert radii[0] < radii[1]
    assert "90 predictions with confidence .90: .95 right" in figure


def test_a_training_of_one_epoch_and_a_loss_that_never_moves_have_a_curve() -> None:
    for values in ([0.7], [0.7, 0.7, 0.7]):
        figure = curves.courses([curves.Course("training", "even", values)], 1, title="t")
        assert figure.count("<circle") == len(values)
        assert "nan" not in figure


def test_labels_are_escaped_in_text_and_in_attributes() -> None:
    evil = '"><script>alert(1)</script>'
    figure = matrices.heatmap([(evil, evil)], [(evil, evil)], [[HeatCell(0.1, evil, evil, True)]], title=evil)
    assert "<script" not in figure
    assert texts(figure)  # still well-formed
