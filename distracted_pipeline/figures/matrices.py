"""Figures as inline SVG: they follow the page's colours (dark, print) and need no network or script.

Every figure tells its content in text too: numbers in the cells, signs beside colours, a title for each
mark. Numbers come ready; nothing is estimated here.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from distracted_pipeline.figures import formats
from distracted_pipeline.figures.svg import drawing, element
from distracted_pipeline.vocabulary import CLASS_IDS

STRONGEST = 0.30
"""Difference of recall at which a heatmap cell reaches its full colour."""

DEEPEST = 0.5
"""Opacity of the strongest cell: the number on it stays readable (AA) in the light and the dark style."""

CELL = (62, 32)
"""Width and height of a heatmap cell."""


@dataclass(frozen=True)
class HeatCell:
    """One difference: its number, verdict, and the sentence that a pointer or a screen reader gets."""

    value: float | None
    verdict: str
    title: str


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
        parts.append(_linked(element("text", label, transform=f"rotate(-35 {x:.1f} {y:.1f})", x=x, y=y), link))
    for i, row in enumerate(cells):
        parts += [_heat_cell(cell, j * width, top + i * height) for j, cell in enumerate(row)]
    slack = int(4.6 * len(columns[-1][0]))
    body = drawing(len(columns) * width + slack, top + len(rows) * height + 4, title, parts, "heatmap")
    return _sheet([(label, link, top + (i + 0.5) * height + 4) for i, (label, link) in enumerate(rows)], body)


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
    return _sheet(labels, drawing(10 * size + 84, top + 10 * size + 4, title, parts, "confusion"))


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
        element("rect", **ground, class_=kind, fill_opacity=0.06 + (DEEPEST - 0.06) * strength),
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
        element("rect", **ground, class_=kind, fill_opacity=0.08 + (DEEPEST - 0.08) * share) if share else Markup(),
        element("text", text, x=x + size / 2, y=y + size / 2 + 4, text_anchor="middle", class_=weight),
    )


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
