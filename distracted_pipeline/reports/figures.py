"""Figures as inline SVG: they follow the page's colours (dark, print) and need no network or script.

Every figure tells its content in text too: numbers in the cells, signs beside colours, a title for each
mark. Numbers come ready; nothing is estimated here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup, escape

from distracted_pipeline.reports import formats
from distracted_pipeline.vocabulary import CLASS_IDS

STRONGEST = 0.30
"""Difference of recall at which a heatmap cell reaches its full colour."""

DEEPEST = 0.5
"""Opacity of the strongest cell: the number on it stays readable (AA) in the light and the dark style."""

TRACK = (168, 22)
"""Width and height of one dot-and-whisker track."""

CELL = (62, 32)
"""Width and height of a heatmap cell."""


@dataclass(frozen=True)
class HeatCell:
    """One difference: its number, verdict, and the sentence that a pointer or a screen reader gets."""

    value: float | None
    verdict: str
    title: str


def element(name: str, *children: object, **attributes: Any) -> Markup:
    """Return one SVG element; text and attributes are escaped, `_` in attribute names is `-`."""
    said = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_short(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    inner = "".join(str(escape(child)) for child in children)
    return Markup(f"<{name}{said}>{inner}</{name}>" if inner else f"<{name}{said}/>")


def heatmap(
    rows: Sequence[tuple[str, str | None]],
    columns: Sequence[tuple[str, str | None]],
    cells: Sequence[Sequence[HeatCell]],
    *,
    title: str,
) -> Markup:
    """Return a table of signed differences, one colour each way, decided cells bold with ▲ or ▼.

    Args:
        rows: Label and link of each row.
        columns: Label and link of each column.
        cells: By row, then column.
        title: What the figure shows, for readers who cannot see it.
    """
    width, height = CELL
    top = 22 + int(5 * max(len(label) for label, _ in columns))
    parts = []
    for j, (label, link) in enumerate(columns):
        x, y = (j + 0.42) * width, top - 8
        parts.append(_linked(element("text", label, transform=f"rotate(-35 {x:g} {y:g})", x=x, y=y), link))
    for i, row in enumerate(cells):
        parts += [_heat_cell(cell, j * width, top + i * height) for j, cell in enumerate(row)]
    slack = int(4.6 * len(columns[-1][0]))
    body = _svg(len(columns) * width + slack, top + len(rows) * height + 4, title, parts, "heatmap")
    return _sheet([(label, link, top + (i + 0.5) * height + 4) for i, (label, link) in enumerate(rows)], body)


def track(
    value: float | None,
    low: float | None,
    high: float | None,
    *,
    reference: float | None,
    verdict: str,
    title: str,
) -> Markup:
    """Return one dot-and-whisker on a scale from 0 to 1, with a tick where the baseline is."""
    width, height = TRACK
    middle = height / 2
    parts = [element("line", x1=_x(0), x2=_x(1), y1=middle, y2=middle, class_="axis")]
    parts += [
        element("line", x1=_x(v), x2=_x(v), y1=middle - 2, y2=middle + 2, class_="axis")
        for v in (0, 0.25, 0.5, 0.75, 1)
    ]
    if reference is not None and formats.defined(reference):
        parts.append(element("line", x1=_x(reference), x2=_x(reference), y1=2, y2=height - 2, class_="reference"))
    if value is None or not formats.defined(value):
        parts.append(element("text", formats.NONE, x=width / 2, y=middle + 4, text_anchor="middle"))
        return _svg(width, height, title, parts, "track")
    kind = {"improved": "up", "worsened": "down"}.get(verdict, "even")
    if low is not None and high is not None and formats.defined(low) and formats.defined(high):
        parts.append(element("line", x1=_x(low), x2=_x(high), y1=middle, y2=middle, class_=f"whisker {kind}"))
        parts += [
            element("line", x1=_x(end), x2=_x(end), y1=middle - 3.5, y2=middle + 3.5, class_=f"whisker {kind}")
            for end in (low, high)
        ]
    if kind == "up":
        points = f"{_x(value):g},{middle - 6} {_x(value) - 6:g},{middle + 5} {_x(value) + 6:g},{middle + 5}"
        parts.append(element("polygon", points=points, class_="dot up"))
    elif kind == "down":
        points = f"{_x(value):g},{middle + 6} {_x(value) - 6:g},{middle - 5} {_x(value) + 6:g},{middle - 5}"
        parts.append(element("polygon", points=points, class_="dot down"))
    else:
        parts.append(element("circle", cx=_x(value), cy=middle, r=4.5, class_="dot even"))
    return _svg(width, height, title, parts, "track")


def scale() -> Markup:
    """Return the axis that stands in the head of a column of tracks."""
    ticks = {0: "0", 0.25: ".25", 0.5: ".5", 0.75: ".75", 1: "1"}
    parts = [element("text", label, x=_x(v), y=13, text_anchor="middle") for v, label in ticks.items()]
    return _svg(TRACK[0], 18, "scale from 0 to 1", parts, "track")


def strip(values: Sequence[tuple[str, float]], *, title: str) -> Markup:
    """Return one dot per driver on a scale from 0 to 1; drivers with about the same value are stacked.

    Args:
        values: Driver and recall.
        title: What the strip shows.
    """
    width, height = TRACK[0], 40
    parts = [element("line", x1=_x(0), x2=_x(1), y1=height - 5, y2=height - 5, class_="axis")]
    stacks: dict[int, list[tuple[str, float]]] = {}
    for driver, value in values:
        stacks.setdefault(round(_x(value) / 6), []).append((driver, value))
    for stack in stacks.values():
        step = min(6.0, (height - 14) / max(len(stack) - 1, 1))
        for level, (driver, value) in enumerate(stack):
            said = element("title", f"{driver}: {formats.proportion(value)}")
            parts.append(element("circle", said, cx=_x(value), cy=height - 9 - level * step, r=3, class_="driver"))
    return _svg(width, height, title, parts, "track")


def confusion(matrix: np.ndarray, *, title: str) -> Markup:
    """Return a confusion matrix by class id: rows are true classes and sum to 1 where the class occurs.

    Args:
        matrix: Counts, int [10, 10], true by predicted.
        title: What the figure shows.
    """
    size, top = 44, 46
    totals = matrix.sum(axis=1)
    parts = [element("text", "predicted", x=5 * size, y=14, text_anchor="middle", class_="quiet")]
    labels = []
    for k, name in enumerate(CLASS_IDS):
        middle = top + (k + 0.5) * size + 4
        labels.append((formats.class_label(k), None, middle))
        parts.append(element("text", name, x=(k + 0.5) * size, y=top - 10, text_anchor="middle"))
        parts.append(element("text", f"n = {totals[k]:,}", x=10 * size + 10, y=middle, class_="quiet"))
        parts += [_confusion_cell(matrix[k, j], totals[k], k, j, j * size, top + k * size, size) for j in range(10)]
    return _sheet(labels, _svg(10 * size + 84, top + 10 * size + 4, title, parts, "confusion"))


def swatch(colour: Sequence[int]) -> Markup:
    """Return a small square of one colour, RGB, for a legend."""
    fill = "#" + "".join(f"{int(part):02x}" for part in colour[:3])
    square = element("rect", x=0.5, y=0.5, width=12, height=12, rx=2, fill=fill, class_="swatch")
    return Markup(f'<svg class="inline" width="13" height="13" viewBox="0 0 13 13" aria-hidden="true">{square}</svg> ')


def _heat_cell(cell: HeatCell, x: float, y: float) -> Markup:
    width, height = CELL
    said = element("title", cell.title)
    ground = {"x": x + 1, "y": y + 1, "width": width - 2, "height": height - 2, "rx": 2}
    middle = {"x": x + width / 2, "y": y + height / 2 + 4, "text_anchor": "middle"}
    if cell.value is None or not formats.defined(cell.value):
        return element("g", said, element("rect", **ground, class_="none"), element("text", formats.NONE, **middle))
    kind = "up" if cell.value > 0 else "down" if cell.value < 0 else "none"
    strength = min(abs(cell.value) / STRONGEST, 1)
    decided = cell.verdict in ("improved", "worsened")
    sign = f" {formats.mark(cell.verdict)}" if decided or cell.verdict == "not testable" else ""
    return element(
        "g",
        said,
        element("rect", **ground, class_=kind, fill_opacity=round(0.06 + (DEEPEST - 0.06) * strength, 3)),
        element("rect", **ground, class_=f"frame {kind}") if decided else Markup(),
        element("text", formats.difference(cell.value) + sign, **middle, class_="decided" if decided else "open"),
    )


def _confusion_cell(value: int, total: int, true: int, predicted: int, x: float, y: float, size: int) -> Markup:
    share = value / total if total else None
    said = element(
        "title",
        f"{value:,} of {total:,} images of {formats.class_label(true)} were called {formats.class_label(predicted)}",
    )
    kind = "right" if true == predicted else "wrong"
    ground = {"x": x + 1, "y": y + 1, "width": size - 2, "height": size - 2, "rx": 2}
    text = formats.NONE if share is None else "·" if value == 0 else formats.proportion(share)
    weight = "decided" if true == predicted and value else "quiet" if not value else None
    return element(
        "g",
        said,
        element("rect", **ground, class_="none"),
        element("rect", **ground, class_=kind, fill_opacity=round(0.08 + (DEEPEST - 0.08) * share, 3))
        if share
        else Markup(),
        element("text", text, x=x + size / 2, y=y + size / 2 + 4, text_anchor="middle", class_=weight),
    )


def _svg(width: float, height: float, title: str, parts: Sequence[Markup], kind: str) -> Markup:
    box = f"0 0 {width:g} {height:g}"
    role = "group" if kind == "heatmap" else "img"  # an img hides the links inside it from screen readers
    inner = Markup("").join(parts)
    size = {"viewBox": box, "width": width, "height": height}
    return element("svg", element("title", title), inner, class_=kind, role=role, **size)


def _sheet(labels: Sequence[tuple[str, str | None, float]], body: Markup) -> Markup:
    """Put row labels (text, link, baseline) beside a figure, in a drawing of their own.

    So they stay in view while a narrow screen scrolls the figure; there the style sheet leaves only their first word.
    """
    texts = []
    for label, link, y in labels:
        first, _, rest = label.partition(" ")
        texts.append(_linked(element("text", first, element("tspan", f" {rest}", class_="name"), x=0, y=y), link))
    width = 12 + 7 * max(len(label) for label, _, _ in labels)
    height = max(y for _, _, y in labels) + 20
    column = element("svg", *texts, class_="labels", role="group", aria_label="Rows", width=width, height=height)
    return element("div", column, body, class_="sheet")


def _linked(inner: Markup, link: str | None) -> Markup:
    return element("a", inner, href=link) if link else inner


def _x(value: float) -> float:
    """Place a proportion on a track, with room for the outermost marks."""
    return 9 + min(max(value, 0.0), 1.0) * (TRACK[0] - 18)


def _short(value: object) -> object:
    return f"{value:.6g}" if isinstance(value, float) else value
