"""Figures with two axes as inline SVG: reliability and the course of a training.

Numbers come ready; nothing is estimated here. Figures in table rows are `dot_plots`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from markupsafe import Markup

from distracted_pipeline.figures import formats
from distracted_pipeline.figures.svg import drawing, element, points

SIDE = 250
"""Width and height of the reliability plot's field."""

COURSE = (170, 84)
"""Width and height of the field of one training curve."""

_LEFT, _TOP, _BOTTOM = 38, 12, 34


class Bin(Protocol):
    """Predictions of about one confidence: how sure they were on average, and which share of them was right."""

    @property
    def n(self) -> int:
        """How many."""

    @property
    def confidence(self) -> float | None:
        """Their mean confidence; None where there are none."""

    @property
    def accuracy(self) -> float | None:
        """Which share of them is right."""


@dataclass(frozen=True)
class Course:
    """One quantity over the epochs of a training.

    Attributes:
        words: What it is.
        kind: CSS class of its line: `up`, `down` or `even`.
        values: From the first epoch on; finite.
    """

    words: str
    kind: str
    values: Sequence[float]


def reliability(bins: Sequence[Bin], *, title: str) -> Markup:
    """Return accuracy by confidence: on the diagonal, a variant is right as often as it says.

    The area of a dot follows the number of predictions behind it; bins without any have none.

    Args:
        bins: Rising in confidence.
        title: What the plot shows.
    """
    right, bottom = _LEFT + SIDE, _TOP + SIDE
    parts = [element("rect", x=_LEFT, y=_TOP, width=SIDE, height=SIDE, class_="field")]
    for share, label in ((0.0, "0"), (0.25, ".25"), (0.5, ".5"), (0.75, ".75"), (1.0, "1")):
        x, y = _LEFT + share * SIDE, bottom - share * SIDE
        parts.append(element("text", label, x=x, y=bottom + 16, text_anchor="middle", class_="quiet"))
        parts.append(element("text", label, x=_LEFT - 6, y=y + 4, text_anchor="end", class_="quiet"))
    parts.append(element("line", x1=_LEFT, y1=bottom, x2=right, y2=_TOP, class_="reference"))
    parts.append(element("text", "confidence", x=_LEFT + SIDE / 2, y=bottom + 31, text_anchor="middle", class_="quiet"))
    parts.append(
        element("text", "accuracy", transform=f"translate(10 {_TOP + SIDE / 2:g}) rotate(-90)", text_anchor="middle")
    )
    total = max((found.n for found in bins), default=0)
    places = []
    for found in bins:
        if not found.n or found.confidence is None or found.accuracy is None:
            continue
        x, y = _LEFT + found.confidence * SIDE, bottom - found.accuracy * SIDE
        places.append((x, y))
        said = element(
            "title",
            f"{found.n:,} predictions with confidence {formats.proportion(found.confidence)}: "
            f"{formats.proportion(found.accuracy)} right",
        )
        radius = 2.5 + 6.5 * (found.n / total) ** 0.5
        parts.append(element("circle", said, cx=x, cy=y, r=radius, class_="bin"))
    if places:
        parts.insert(-len(places), element("polyline", points=points(*places), class_="line up"))
    return drawing(right + 14, bottom + _BOTTOM, title, parts, "plot")


def value_range(lines: Iterable[Course]) -> tuple[float, float]:
    """Return the least and the greatest value of some quantities."""
    values = [value for line in lines for value in line.values]
    return min(values), max(values)


def courses(
    lines: Sequence[Course],
    best: int | None,
    *,
    title: str,
    limits: tuple[float, float] | None = None,
    epochs: int | None = None,
) -> Markup:
    """Return quantities over the epochs on one scale, by default from their least to their greatest value.

    Args:
        lines: At least one, all of the same length.
        best: The epoch whose weights were kept, counted from 1.
        title: What the plot shows.
        limits: Ends of the scale, where plots are to be compared; not narrower than the values.
        epochs: Length of the other axis, likewise.
    """
    width, height = COURSE
    least, greatest = limits or value_range(lines)
    span = (greatest - least) or 1.0
    epochs = epochs or max(len(line.values) for line in lines)

    def place(epoch: int, value: float) -> tuple[float, float]:
        x = _LEFT + width * ((epoch - 1) / (epochs - 1) if epochs > 1 else 0.5)
        return x, 6 + height * (1 - (value - least) / span)

    parts = [element("rect", x=_LEFT, y=6, width=width, height=height, class_="field")]
    if best:
        x, _ = place(best, least)
        parts.append(element("line", x1=x, x2=x, y1=6, y2=6 + height, class_="reference"))
    for line in lines:
        places = [place(epoch, value) for epoch, value in enumerate(line.values, start=1)]
        parts.append(element("polyline", points=points(*places), class_=f"line {line.kind}"))
        parts += [element("circle", cx=x, cy=y, r=2, class_=f"mark {line.kind}") for x, y in places]
    for value, y in ((greatest, 14), (least, 6 + height)):
        parts.append(element("text", formats.decimal(value), x=_LEFT - 5, y=y, text_anchor="end", class_="quiet"))
    for epoch in sorted({1, epochs}):
        x, _ = place(epoch, least)
        parts.append(element("text", epoch, x=x, y=height + 21, text_anchor="middle", class_="quiet"))
    return drawing(_LEFT + width + 10, height + 26, title, parts, "plot")
