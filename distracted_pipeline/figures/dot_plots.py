"""One-line figures for table rows: dots, whiskers and drivers on a common axis.

Numbers come ready; nothing is estimated here. Larger figures are `matrices` and `curves`.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup

from distracted_pipeline.figures import formats
from distracted_pipeline.figures.svg import drawing, element, points

TRACK = (168, 22)
"""Width and height of one dot-and-whisker track."""

Kind = Literal["up", "down", "even"]
"""A decided rise, a decided fall, or neither: colour and form of a mark."""

_MARGIN = 9
_LEAST_RATIO = 2.0**-10  # below every axis; an interval may reach 0, which no logarithm does
_SPANS = (0.1, 0.25, 0.5, 1.0)
_OCTAVES = (0.5, 1, 2, 3)


@dataclass(frozen=True)
class Axis:
    """A horizontal scale that the rows of one table share."""

    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]

    def x(self, value: float) -> float:
        """Place a value on a track, with room for the outermost marks."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return _MARGIN + share * (TRACK[0] - 2 * _MARGIN)

    def beyond(self, value: float) -> bool:
        """Tell whether a value lies outside the axis."""
        return not self.low <= value <= self.high


PROPORTION = Axis(0, 1, ((0, "0"), (0.25, ".25"), (0.5, ".5"), (0.75, ".75"), (1, "1")))


def difference_axis(values: Iterable[float | None]) -> Axis:
    """Return an axis around zero, as narrow as the values allow."""
    largest = max((abs(value) for value in values if value is not None and formats.defined(value)), default=0)
    span = next((span for span in _SPANS if largest <= span), _SPANS[-1])
    return Axis(-span, span, tuple((share * span, formats.signed(share * span)) for share in (-1, -0.5, 0, 0.5, 1)))


def ratio_axis(values: Iterable[float | None]) -> Axis:
    """Return an axis of ratios, logarithmic around 1, as narrow as the values allow; for `ratio_track`."""
    known = [value for value in values if value is not None and formats.defined(value) and value > 0]
    largest = max((abs(math.log2(value)) for value in known), default=0)
    span = next((span for span in _OCTAVES if largest <= span), _OCTAVES[-1])
    return Axis(
        -span, span, tuple((share * span, f"{2 ** (share * span):.2g}".lstrip("0")) for share in (-1, -0.5, 0, 0.5, 1))
    )


def scale(axis: Axis) -> Markup:
    """Return the axis that stands in the head of a column of tracks."""
    parts = [element("text", label, x=axis.x(v), y=13, text_anchor="middle") for v, label in axis.ticks]
    return drawing(TRACK[0], 18, f"scale from {axis.ticks[0][1]} to {axis.ticks[-1][1]}", parts, "track")


def track(
    value: float | None,
    low: float | None,
    high: float | None,
    *,
    axis: Axis = PROPORTION,
    reference: float | None,
    kind: Kind,
    title: str,
    corrected: tuple[float, float] | None = None,
    luck: float | None = None,
) -> Markup:
    """Return one dot-and-whisker.

    Args:
        value: Where the dot is; None where there is nothing to show.
        low: Where the whisker begins; None for no whisker.
        high: Where it ends.
        axis: The scale.
        reference: Where a dashed line stands.
        kind: How the dot looks.
        title: What the track shows.
        corrected: Ends of a second, thinner whisker.
        luck: Half the width of a band around the reference.
    """
    width, height = TRACK
    middle = height / 2
    parts = _band(axis, reference, luck, height)
    parts += [element("line", x1=axis.x(axis.low), x2=axis.x(axis.high), y1=middle, y2=middle, class_="axis")]
    parts += [
        element("line", x1=axis.x(v), x2=axis.x(v), y1=middle - 2, y2=middle + 2, class_="axis") for v, _ in axis.ticks
    ]
    if reference is not None and formats.defined(reference):
        parts.append(_reference(axis, reference, height))
    if value is None or not formats.defined(value):
        parts.append(element("text", formats.NONE, x=width / 2, y=middle + 4, text_anchor="middle"))
        return drawing(width, height, title, parts, "track")
    if corrected is not None:
        start, end = (axis.x(edge) for edge in corrected)
        parts.append(element("line", x1=start, x2=end, y1=middle, y2=middle, class_=f"corrected {kind}"))
    if low is not None and high is not None and formats.defined(low) and formats.defined(high):
        parts.append(element("line", x1=axis.x(low), x2=axis.x(high), y1=middle, y2=middle, class_=f"whisker {kind}"))
        # An end beyond the axis has no cap: the whisker goes on.
        parts += [
            element("line", x1=axis.x(end), x2=axis.x(end), y1=middle - 3.5, y2=middle + 3.5, class_=f"whisker {kind}")
            for end in (low, high)
            if not axis.beyond(end)
        ]
    parts.append(_dot(axis.x(value), middle, kind))
    return drawing(width, height, title, parts, "track")


def ratio_track(
    value: float | None, low: float | None, high: float | None, *, axis: Axis, title: str, luck: float | None = None
) -> Markup:
    """Return one dot-and-whisker on a `ratio_axis`, its dashed line at 1; a whisker clear of it points up or down.

    Args:
        value: The ratio.
        low: Where its interval begins.
        high: Where it ends.
        axis: The scale.
        title: What the track shows.
        luck: What luck alone moves in the ratio; the band shows what that is for the dot, on a logarithmic scale.
    """
    known = [None if end is None or not formats.defined(end) else _octave(end) for end in (value, low, high)]
    kind: Kind = "up" if (known[1] or 0) > 0 else "down" if (known[2] or 0) < 0 else "even"
    octaves = luck / (max(value, _LEAST_RATIO) * math.log(2)) if luck is not None and value is not None else None
    return track(*known, axis=axis, reference=0, kind=kind, title=title, luck=octaves)


def strip(
    values: Sequence[tuple[str, float]],
    *,
    axis: Axis = PROPORTION,
    reference: float | None = None,
    title: str,
    luck: float | None = None,
    link: Callable[[str], str] | None = None,
) -> Markup:
    """Return one dot per driver; drivers with about the same value are stacked.

    Args:
        values: Driver and value.
        axis: The scale.
        reference: Where a dashed line stands.
        title: What the strip shows.
        luck: Half the width of a band around the reference.
        link: Where the dot of a driver leads.
    """
    width, height = TRACK[0], 40
    parts = _band(axis, reference, luck, height)
    parts += [element("line", x1=axis.x(axis.low), x2=axis.x(axis.high), y1=height - 5, y2=height - 5, class_="axis")]
    if reference is not None:
        parts.append(_reference(axis, reference, height))
    words = formats.proportion if axis.low >= 0 else formats.difference
    stacks: dict[int, list[tuple[str, float]]] = {}
    for driver, value in values:
        stacks.setdefault(round(axis.x(value) / 6), []).append((driver, value))
    for stack in stacks.values():
        step = min(6.0, (height - 14) / max(len(stack) - 1, 1))
        for level, (driver, value) in enumerate(stack):
            said = element("title", f"{driver}: {words(value)}")
            place = {"cx": axis.x(value), "cy": height - 9 - level * step}
            dot = element("circle", said, **place, r=3, class_="driver")
            parts.append(element("a", dot, href=link(driver)) if link else dot)
    return drawing(width, height, title, parts, "strip" if link else "track")


def _band(axis: Axis, reference: float | None, luck: float | None, height: float) -> list[Markup]:
    """Return what lies behind a track: how far luck alone moves things from the reference."""
    if reference is None or not formats.defined(reference) or not luck or not formats.defined(luck):
        return []
    left, right = axis.x(reference - luck), axis.x(reference + luck)
    return [element("rect", x=left, y=1, width=max(right - left, 1), height=height - 2, class_="luck")]


def _octave(ratio: float) -> float:
    return math.log2(max(ratio, _LEAST_RATIO))


def _reference(axis: Axis, value: float, height: float) -> Markup:
    return element("line", x1=axis.x(value), x2=axis.x(value), y1=2, y2=height - 2, class_="reference")


def _dot(x: float, y: float, kind: str) -> Markup:
    if kind == "up":
        return element("polygon", points=points((x, y - 6), (x - 6, y + 5), (x + 6, y + 5)), class_="dot up")
    if kind == "down":
        return element("polygon", points=points((x, y + 6), (x - 6, y - 5), (x + 6, y - 5)), class_="dot down")
    return element("circle", cx=x, cy=y, r=4.5, class_="dot even")
