"""Matrices as inline SVG: they follow the page's colours (dark, print) and need no network or script.

Every figure tells its content in text too: numbers in the cells, signs beside colours, a title for each mark. Numbers
and labels come ready; nothing is estimated here, and no data set is known. One-line figures are `dot_plots`, figures
with two axes `curves`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from distracted_pipeline.figures import formats
from distracted_pipeline.figures.svg import drawing, element

FADED = 0.4
"""What is left of the colour of a cell that decides nothing."""

DEEPEST = 0.5
"""Opacity of the strongest cell: the number on it stays readable (AA) in the light and the dark style."""

CELL = (62, 32)
"""Width and height of a heatmap cell."""

SHARE = (46, 26)
"""Width and height of a cell of `shares`."""

_UPRIGHT = 5
"""Characters of a class id that still fit above a column of the confusion matrix."""


@dataclass(frozen=True)
class HeatCell:
    """One difference.

    Attributes:
        value: Its number; None where there is none.
        title: The sentence that a pointer or a screen reader gets.
        mark: A sign beside the number.
        decided: Whether the number is bold and the cell framed.
        link: Where the cell leads.
    """

    value: float | None
    title: str
    mark: str = ""
    decided: bool = False
    link: str | None = None


@dataclass(frozen=True)
class Facts:
    """A column beside the differences that is none itself.

    Attributes:
        label: Its head.
        values: What stands in each row.
        links: Where each row's value leads; empty where none leads anywhere.
        quiet: Whether values stand back behind the differences, even where they lead somewhere.
    """

    label: str
    values: Sequence[str]
    links: Sequence[str | None] = ()
    quiet: bool = True


def heatmap(
    rows: Sequence[tuple[str, str | None]],
    columns: Sequence[tuple[str, str | None]],
    cells: Sequence[Sequence[HeatCell]],
    *,
    title: str,
    before: Sequence[Facts] = (),
    after: Sequence[Facts] = (),
    strongest: float | None = None,
) -> Markup:
    """Return a table of signed differences, one colour each way, decided cells bold and framed, all others faded.

    Args:
        rows: Label and link of each row; narrow screens show the label's first word only.
        columns: Label and link of each column.
        cells: By row, then column.
        title: What the figure shows, for readers who cannot see it.
        before: Columns on the left of the differences.
        after: Columns on their right.
        strongest: Difference that has full colour; by default the largest one.
    """
    width, height = CELL
    heads = [*((facts.label, None) for facts in before), *columns, *((facts.label, None) for facts in after)]
    top = _room([label for label, _ in heads])
    full = strongest or largest_difference(cells)
    parts = [_slanted(label, (j + 0.42) * width, top - 8, link) for j, (label, link) in enumerate(heads)]
    for i, row in enumerate(cells):
        y = top + i * height
        beside = [*enumerate(before), *enumerate(after, start=len(before) + len(columns))]
        parts += [_fact(facts, i, (j + 0.5) * width, y + height / 2 + 4) for j, facts in beside]
        parts += [_heat_cell(cell, j * width, y, full) for j, cell in enumerate(row, start=len(before))]
    # Labels rise to the right, and any of them may reach furthest.
    reach = max((j + 0.42) * width + 6.4 * len(label) for j, (label, _) in enumerate(heads))
    body = drawing(max(len(heads) * width, int(reach)) + 4, top + len(rows) * height + 4, title, parts, "heatmap")
    return _sheet([(label, link, top + (i + 0.5) * height + 4) for i, (label, link) in enumerate(rows)], body)


def largest_difference(cells: Sequence[Sequence[HeatCell]]) -> float:
    """Return the size of the largest difference, rounded up to a tenth: what has full colour."""
    known = [abs(cell.value) for row in cells for cell in row if cell.value is not None and formats.defined(cell.value)]
    return max(math.ceil(round(max(known, default=0) * 10, 6)) / 10, 0.1)


def shares(
    rows: Sequence[tuple[str, str | None]],
    columns: Sequence[str],
    values: np.ndarray,
    *,
    title: str,
    say: Callable[[int, int], str],
    link: Callable[[int, int], str | None] = lambda i, j: None,
) -> Markup:
    """Return a table of shares from 0 to 1, the darker the larger.

    Args:
        rows: Label and link of each row; narrow screens show the label's first word only.
        columns: Labels.
        values: [row, column]; NaN where there is none.
        title: What the figure shows, for readers who cannot see it.
        say: The sentence that a pointer gets at row and column.
        link: Where a cell leads, if anywhere.
    """
    width, height = SHARE
    slanted = max(map(len, columns)) > _UPRIGHT
    top = _room(columns) if slanted else 24
    parts = []
    for j, label in enumerate(columns):
        upright = {"x": (j + 0.5) * width, "y": top - 8, "text_anchor": "middle"}
        parts.append(_slanted(label, (j + 0.42) * width, top - 8) if slanted else element("text", label, **upright))
    for i, j in np.ndindex(values.shape):
        x, y, share = j * width, top + i * height, float(values[i, j])
        known = formats.defined(share)
        ground: dict[str, Any] = {"x": x + 1, "y": y + 1, "width": width - 2, "height": height - 2}
        tint = {"class_": "up", "fill_opacity": DEEPEST * share} if known and share else {"class_": "none"}
        text = element("text", formats.proportion(share), x=x + width / 2, y=y + height / 2 + 4, class_="n")
        inner = (element("title", say(i, j)), element("rect", **ground, **tint), text)
        href = link(i, j) if known else None
        parts.append(element("a", *inner, href=href) if href else element("g", *inner))
    reach = max((j + 0.42) * width + 6.4 * len(label) for j, label in enumerate(columns)) if slanted else 0
    body = drawing(max(len(columns) * width, int(reach)) + 4, top + len(rows) * height + 4, title, parts, "shares")
    return _sheet([(label, to, top + (i + 0.5) * height + 4) for i, (label, to) in enumerate(rows)], body)


def confusion(
    matrix: np.ndarray,
    labels: Sequence[str],
    *,
    title: str,
    link: Callable[[int, int], str | None] = lambda i, j: None,
) -> Markup:
    """Return a confusion matrix: rows are true classes and sum to 1 where the class occurs.

    Args:
        matrix: Counts [class, class], true by predicted.
        labels: Of the classes, `c3 texting - left`; columns and narrow screens show the first word only.
        title: What the figure shows.
        link: Where the cell of a true and a predicted class leads, if anywhere.
    """
    count, size = len(labels), 44
    short = [label.partition(" ")[0] for label in labels]
    slanted = max(map(len, short)) > _UPRIGHT
    top = 24 + (_room(short) if slanted else 22)
    width = count * size
    totals = matrix.sum(axis=1)
    parts = [element("text", "predicted", x=width / 2, y=14, text_anchor="middle", class_="quiet")]
    rows = []
    for k, label in enumerate(labels):
        middle = top + (k + 0.5) * size + 4
        rows.append((label, None, middle))
        x = (k + 0.5) * size
        upright = {"x": x, "y": top - 10, "text_anchor": "middle"}
        parts.append(_slanted(short[k], x - 4, top - 8) if slanted else element("text", short[k], **upright))
        parts.append(element("text", f"n = {totals[k]:,.0f}", x=width + 10, y=middle, class_="quiet"))
        for j in range(count):
            said = f"{matrix[k, j]:,.0f} of {totals[k]:,.0f} images of {label} were called {labels[j]}"
            share = matrix[k, j] / totals[k] if totals[k] else None
            cell = _confusion_cell(share, k == j, said, j * size, top + k * size, size)
            parts.append(_linked(cell, link(k, j) if share else None))
    return _sheet(rows, drawing(width + 84, top + count * size + 4, title, parts, "confusion"))


def swatch(colour: Sequence[int]) -> Markup:
    """Return a small square of one colour, RGB, for a legend."""
    fill = "#" + "".join(f"{int(part):02x}" for part in colour[:3])
    square = element("rect", x=0.5, y=0.5, width=12, height=12, rx=2, fill=fill, class_="swatch")
    return Markup(f'<svg class="inline" width="13" height="13" viewBox="0 0 13 13" aria-hidden="true">{square}</svg> ')


def _heat_cell(cell: HeatCell, x: float, y: float, full: float) -> Markup:
    width, height = CELL
    said = element("title", cell.title)
    ground = {"x": x + 1, "y": y + 1, "width": width - 2, "height": height - 2, "rx": 2}
    middle = {"x": x + width / 2, "y": y + height / 2 + 4, "text_anchor": "middle"}
    if cell.value is None or not formats.defined(cell.value):
        return element("g", said, element("rect", **ground, class_="none"), element("text", formats.NONE, **middle))
    kind = "up" if cell.value > 0 else "down" if cell.value < 0 else "none"
    strength = min(abs(cell.value) / full, 1) * (1 if cell.decided else FADED)
    number = f"{formats.difference(cell.value)} {cell.mark}".rstrip()
    drawn = element(
        "g",
        said,
        element("rect", **ground, class_=kind, fill_opacity=0.04 + (DEEPEST - 0.04) * strength),
        element("rect", **ground, class_=f"frame {kind}") if cell.decided else Markup(),
        element("text", number, **middle, class_="decided" if cell.decided else "open"),
    )
    return _linked(drawn, cell.link)


def _fact(facts: Facts, i: int, x: float, y: float) -> Markup:
    style = "fact" if facts.quiet else None
    text = element("text", facts.values[i], x=x, y=y, text_anchor="middle", class_=style)
    return _linked(text, facts.links[i] if facts.links else None)


def _confusion_cell(share: float | None, right: bool, said: str, x: float, y: float, size: int) -> Markup:
    ground: dict[str, Any] = {"x": x + 1, "y": y + 1, "width": size - 2, "height": size - 2}
    text = formats.NONE if share is None else "·" if share == 0 else formats.proportion(share)
    weight = "quiet n" if not share else "decided n" if right else "n"
    kind = "right" if right else "wrong"
    tint = {"class_": kind, "fill_opacity": 0.08 + (DEEPEST - 0.08) * share} if share else {"class_": "none"}
    return element(
        "g",
        element("title", said),
        element("rect", **ground, **tint),
        element("text", text, x=x + size / 2, y=y + size / 2 + 4, class_=weight),
    )


def _sheet(labels: Sequence[tuple[str, str | None, float]], body: Markup) -> Markup:
    """Put row labels (text, link, baseline) beside a figure, in a drawing of their own.

    So they stay in view while a narrow screen scrolls the figure; there the style sheet leaves only their first word.
    """
    texts = []
    for label, link, y in labels:
        first, _, rest = label.partition(" ")
        texts.append(_linked(element("text", first, element("tspan", f" {rest}", class_="name"), x=0, y=y), link))
    width = 8 + 6.7 * max(len(label) for label, _, _ in labels)
    height = max(y for _, _, y in labels) + 20
    column = element("svg", *texts, class_="labels", role="group", aria_label="Rows", width=width, height=height)
    return element("div", column, body, class_="sheet")


def _room(labels: Sequence[str]) -> int:
    """Return the height that slanted labels above a matrix take."""
    return 22 + int(5 * max(len(label) for label in labels))


def _slanted(label: str, x: float, y: float, link: str | None = None) -> Markup:
    return _linked(element("text", label, transform=f"rotate(-35 {x:.1f} {y:.1f})", x=x, y=y), link)


def _linked(inner: Markup, link: str | None) -> Markup:
    return element("a", inner, href=link) if link else inner
