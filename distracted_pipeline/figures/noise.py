"""Figures of noise as inline SVG: what drivers and trainings add to a number, and the smallest change that is seen.

Numbers come ready; nothing is estimated here. Values with intervals are `dot_plots`.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup

from distracted_pipeline.figures import formats
from distracted_pipeline.figures.dot_plots import TRACK, Axis
from distracted_pipeline.figures.svg import drawing, element, points

Source = Literal["driver", "training", "double"]
"""Where noise comes from: another driver, another training, what a training does to a single driver."""

FIELD = (300, 150)
"""Width and height of the field of `smallest_change`."""

_KINDS: dict[Source, str] = {"driver": "up", "training": "down", "double": "even"}
_SPANS = (0.05, 0.1, 0.2, 0.3, 0.5, 1.0)
_LEFT, _TOP, _BOTTOM, _RIGHT = 38, 12, 36, 104
_APART = 14
"""Pixels between two lines of text."""


@dataclass(frozen=True)
class Reach:
    """The smallest change that is seen, by number of drivers.

    Attributes:
        words: Which studies it is of.
        kind: CSS class of its line: `up` (solid) or `down` (dashed).
        values: Number of drivers, and the change; None where none is seen.
    """

    words: str
    kind: str
    values: Sequence[tuple[int, float | None]]


def noise_axis(values: Iterable[float | None]) -> Axis:
    """Return an axis from zero, as short as the values allow; for `components`."""
    largest = max((value for value in values if value is not None and formats.defined(value)), default=0)
    span = next((span for span in _SPANS if largest <= span), _SPANS[-1])
    return Axis(0, span, tuple((share * span, formats.signed(share * span).lstrip("+")) for share in (0, 0.5, 1)))


def components(values: Sequence[tuple[Source, float | None]], *, axis: Axis, title: str) -> Markup:
    """Return one bar with a mark at its end for each source of noise, one below the other.

    Args:
        values: Source and standard deviation; None where it is not known.
        axis: The scale, a `noise_axis`.
        title: What the figure shows.
    """
    width, height = TRACK
    zero = axis.x(0)
    parts = [element("line", x1=axis.x(v), x2=axis.x(v), y1=1, y2=height - 1, class_="axis") for v in (0, axis.high)]
    for place, (source, value) in enumerate(values):
        if value is None or not formats.defined(value):
            continue
        y, x, kind = (place + 0.5) * height / len(values), axis.x(value), _KINDS[source]
        parts.append(element("line", x1=zero, x2=x, y1=y, y2=y, class_=f"whisker {kind}"))
        parts.append(_mark(source, x, y))
    return drawing(width, height, title, parts, "track")


def sign(source: Source) -> Markup:
    """Return the mark of a source of noise, for a legend in a line of text."""
    size = {"viewBox": "0 0 12 12", "width": 12, "height": 12}
    return element("svg", _mark(source, 6, 6), **size, class_="inline", aria_hidden="true")


def smallest_change(lines: Sequence[Reach], *, now: int, delta: float, title: str) -> Markup:
    """Return the smallest change that is seen against the number of drivers, on a logarithmic scale.

    Args:
        lines: Over the same numbers of drivers, at least two.
        now: The present number of drivers, where a dashed line stands.
        delta: The change that is planned for, where another one stands.
        title: What the figure shows.
    """
    width, height = FIELD
    drivers = [number for number, _ in lines[0].values]
    seen = [value for line in lines for _, value in line.values if value is not None]
    span = next((span for span in _SPANS if max([delta, *seen]) <= span), _SPANS[-1])
    low, high = math.log2(drivers[0]), math.log2(drivers[-1])

    def place(number: int, change: float) -> tuple[float, float]:
        return _LEFT + width * (math.log2(number) - low) / (high - low), _TOP + height * (1 - change / span)

    bottom = _TOP + height
    parts = [element("rect", x=_LEFT, y=_TOP, width=width, height=height, class_="field")]
    for change in (0, span / 2, span):
        label = formats.signed(change).lstrip("+")
        y = place(drivers[0], change)[1] + 4
        parts.append(element("text", label, x=_LEFT - 6, y=y, text_anchor="end", class_="quiet"))
    x, y = place(now, delta)
    parts.append(element("line", x1=_LEFT, x2=_LEFT + width, y1=y, y2=y, class_="reference"))
    parts.append(element("line", x1=x, x2=x, y1=_TOP, y2=bottom, class_="reference"))
    for number in drivers:
        if (factor := number / now) >= 1 and abs(math.log2(factor) - round(math.log2(factor))) < 0.02:
            label = f"{number:,} now" if number == now else f"{number:,}"
            parts.append(
                element("text", label, x=place(number, 0)[0], y=bottom + 15, text_anchor="middle", class_="quiet")
            )
    parts.append(element("text", "drivers", x=_LEFT + width / 2, y=bottom + 31, text_anchor="middle", class_="quiet"))
    labels = [(delta, f"{formats.proportion(delta)} planned for")]
    for line in lines:
        places = [place(number, value) for number, value in line.values if value is not None]
        if not places:
            continue
        parts.append(element("polyline", points=points(*places), class_=f"line {line.kind}"))
        for number, value in line.values:
            if value is not None:
                cx, cy = place(number, value)
                said = element("title", f"{line.words}, {number:,} drivers: {formats.proportion(value, 3)}")
                parts.append(element("circle", said, cx=cx, cy=cy, r=2.5, class_=f"mark {line.kind}"))
        labels.append((next(value for _, value in reversed(line.values) if value is not None), line.words))
    below = bottom + _APART - 4.0
    for change, words in sorted(labels):
        below = min(place(now, change)[1] + 4, below - _APART)
        parts.append(element("text", words, x=_LEFT + width + 6, y=below, class_="quiet"))
    return drawing(_LEFT + width + _RIGHT, bottom + _BOTTOM, title, parts, "plot")


def _mark(source: Source, x: float, y: float) -> Markup:
    """Return a circle for drivers, a triangle for trainings, a square for both together."""
    if source == "driver":
        return element("circle", cx=x, cy=y, r=3.4, class_="dot up")
    if source == "training":
        return element("polygon", points=points((x, y - 4), (x - 4, y + 3.2), (x + 4, y + 3.2)), class_="dot down")
    return element("rect", x=x - 3, y=y - 3, width=6, height=6, class_="dot even")
