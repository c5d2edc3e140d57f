import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from distracted_pipeline.figures import noise


def numbers(markup: str, tag: str, name: str) -> list[float]:
    return [float(node.get(name, "nan")) for node in ElementTree.fromstring(markup).iter(tag)]


def test_each_source_of_noise_has_a_form_of_its_own_and_a_length_by_its_size() -> None:
    axis = noise.noise_axis([0.02, 0.08, None])
    assert (axis.low, axis.high) == (0, 0.1)
    figure = noise.components([("driver", 0.1), ("training", 0.05), ("double", 0.0)], axis=axis, title="c1: much")
    root = ElementTree.fromstring(figure)
    assert root.findtext("title") == "c1: much"
    bars = [line for line in root.iter("line") if "whisker" in line.get("class", "")]
    lengths = [float(bar.get("x2", 0)) - float(bar.get("x1", 0)) for bar in bars]
    assert lengths == pytest.approx([2 * lengths[1], lengths[1], 0])
    assert [len(list(root.iter(tag))) for tag in ("circle", "polygon", "rect")] == [1, 1, 1]
    assert len({float(bar.get("y1", 0)) for bar in bars}) == 3


def test_what_is_not_known_has_no_bar() -> None:
    figure = noise.components([("driver", None), ("training", float("nan"))], axis=noise.noise_axis([]), title="t")
    assert "whisker" not in figure


def test_signs_of_a_legend_are_decoration() -> None:
    assert len({noise.sign(source) for source in ("driver", "training", "double")}) == 3
    assert 'aria-hidden="true"' in noise.sign("driver")


def test_more_drivers_see_less_and_lines_are_told_apart_by_more_than_colour() -> None:
    lines = [
        noise.Reach("3 trainings", "up", [(13, None), (26, 0.2), (52, 0.15), (104, 0.12)]),
        noise.Reach("∞ trainings", "down", [(13, 0.25), (26, 0.15), (52, 0.1), (104, 0.05)]),
    ]
    figure = noise.smallest_change(lines, now=26, delta=0.05, title="Smallest change")
    root = ElementTree.fromstring(figure)
    drawn = [
        [tuple(map(float, pair.split(","))) for pair in (line.get("points") or "").split()]
        for line in root.iter("polyline")
    ]
    assert [len(line) for line in drawn] == [3, 4], "where nothing is seen there is no point"
    for line in drawn:
        assert [y for _, y in line] == sorted(y for _, y in line)
    steps = [b[0] - a[0] for a, b in pairwise(drawn[1])]
    assert steps == pytest.approx([100] * 3, abs=0.1), "logarithmic"
    said = [node.text for node in root.iter("text")]
    assert {"26 now", "52", "104", "3 trainings", "∞ trainings", ".05 planned for"} <= set(said)
    labels = sorted(
        float(node.get("y", 0)) for node in root.iter("text") if re.search("trainings|planned", node.text or "")
    )
    assert min(b - a for a, b in pairwise(labels)) >= 13


def test_a_study_that_sees_nothing_has_an_empty_figure() -> None:
    figure = noise.smallest_change([noise.Reach("3", "up", [(4, None), (8, None)])], now=4, delta=0.05, title="t")
    assert "polyline" not in figure
