import re
from xml.etree import ElementTree

import numpy as np
from markupsafe import Markup

from distracted_pipeline.figures import curves, dot_plots, matrices
from distracted_pipeline.figures.matrices import HeatCell
from distracted_pipeline.reports.findings import Bin


def texts(markup: Markup) -> list[str]:
    """Every text of a figure, tooltips left out; fails if the figure is no XML."""
    root = ElementTree.fromstring(f"<div>{markup}</div>")
    return ["".join(node.itertext()) for node in root.iter("text")]


def heatmap_of(*cells: HeatCell) -> Markup:
    return matrices.heatmap(
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
    found = texts(matrices.confusion(matrix, title="t"))
    assert [text for text in found if re.fullmatch(r"c\d", text)] == [f"c{k}" for k in range(10)]
    assert "c3 texting - left" in found
    assert found.count(".75") == found.count(".25") == 1
    assert "n = 4" in found
    assert found.count("–") == 90  # nine absent classes


def test_a_track_without_recall_says_so() -> None:
    assert texts(dot_plots.track(None, None, None, reference=None, verdict="absent", title="t")) == ["–"]


def test_a_track_never_leaves_its_frame() -> None:
    figure = dot_plots.track(1.0, -0.1, 1.2, reference=0.0, verdict="improved", title="t")
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


def test_a_whisker_beyond_the_axis_has_no_cap() -> None:
    axis = dot_plots.difference_axis([0.1])
    inside = dot_plots.track(0, -0.05, 0.05, axis=axis, reference=0, verdict="undetermined", title="t")
    beyond = dot_plots.track(0, -0.05, 0.5, axis=axis, reference=0, verdict="undetermined", title="t")
    assert inside.count("whisker") == 3
    assert beyond.count("whisker") == 2


def test_an_empty_bin_of_confidence_has_no_dot_and_larger_bins_larger_ones() -> None:
    bins = [Bin(0, 0.5, 0), Bin(0.5, 0.75, 10, 0.6, 0.4), Bin(0.75, 1, 90, 0.9, 0.95)]
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
    figure = matrices.heatmap([(evil, evil)], [(evil, evil)], [[HeatCell(0.1, "improved", evil)]], title=evil)
    assert "<script" not in figure
    assert texts(figure)  # still well-formed
