"""Two variants side by side, as data frames and as text for a terminal or a document.

The second variant is always compared with the first. The numbers are those of `comparison` and `table_rows`; only
their layout is decided here.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from distracted_pipeline.advice import RUN, did_you_mean
from distracted_pipeline.dataset import Dataset
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.evaluation import statistics as st
from distracted_pipeline.evaluation import table_rows as rows
from distracted_pipeline.evaluation.checkpoint_facts import recorded_config
from distracted_pipeline.evaluation.comparison import Difference, difference, sentence
from distracted_pipeline.evaluation.confusion import averaged, fewest_trainings
from distracted_pipeline.evaluation.table_schemas import ClassScore, DriverScore, Move
from distracted_pipeline.evaluation.tables import CONFUSION_FILE, read_class_accuracy
from distracted_pipeline.evaluation.tables_io import to_table
from distracted_pipeline.scopes import FOLDS, SCOPES
from distracted_pipeline.settings import Settings
from distracted_pipeline.variants.config import VariantConfig, load_catalogue
from distracted_pipeline.variants.recipe_diff import Differs, in_words, recipe_diff

if TYPE_CHECKING:
    import pandas as pd

Cells = list[list[str]]

_TOP_CONFUSIONS = 15
_SHORTEST_WORDS = 8
_CLASS_COLUMNS = (
    "class_id", "name", "n", "drivers", "recall_a", "recall_b", "delta", "delta_low", "delta_high",
    "p", "p_holm", "verdict", "obstacle",
)  # fmt: skip


@dataclass(frozen=True)
class Compared:
    """Variant `b` against variant `a` on one scope, on the drivers that both predicted.

    Attributes:
        a: Name of the reference.
        b: Name of the other variant.
        scope: A name of `scopes.SCOPES`.
        change: The comparison.
        drivers: First axis of its counts.
        dataset: What the classes are.
        missing: Sentences on what either of them lacks.
        recipes: What else differs between the two; None where the recipe of one of them is not known.
    """

    a: str
    b: str
    scope: str
    change: Difference
    drivers: tuple[str, ...]
    dataset: Dataset
    missing: list[str]
    recipes: list[Differs] | None


def read_compared(settings: Settings, a: str, b: str, scope: str | None = None) -> Compared:
    """Compare two variants from the evaluation's files.

    Args:
        settings: Gives the evaluation folder and the data set.
        a: The reference.
        b: What is compared with it.
        scope: A name of `scopes.SCOPES`; by default the first that has both.

    Raises:
        DistractedError: There are no tables yet, or none for one of the two.
    """
    result = read_class_accuracy(settings)
    confusion = result.confusion
    known = {s: [v for v in confusion.variants if confusion.of(v, s).any()] for s in SCOPES}
    scope = scope or next((s for s in known if {a, b} <= set(known[s])), "oof")
    for name in (a, b):
        if name not in known[scope]:
            raise DistractedError(
                f"variant {name!r} has no predictions in {settings.evaluation / CONFUSION_FILE}, of "
                f"{SCOPES[scope].words} (those with: {', '.join(known[scope]) or 'none'})."
                f"{did_you_mean(name, known[scope])} Type `{RUN}`, or choose another."
            )
    trained_b, trained_a = (confusion.trainings(name, scope) for name in (b, a))
    change = difference(trained_b, trained_a, confusion.folds[scope], st.swap_signs(confusion.drivers))
    about = tuple(f"{name}{mark}" for name in (a, b) for mark in ":,")
    missing = [line for line in result.missing if line.startswith(about)]
    recipe_a, recipe_b = _recipe(settings, a), _recipe(settings, b)
    differs = recipe_diff(recipe_a, recipe_b) if recipe_a and recipe_b else None
    return Compared(a, b, scope, change, confusion.drivers, settings.dataset, missing, differs)


def _recipe(settings: Settings, name: str) -> VariantConfig | None:
    """Return a variant's recipe: of the catalogue, else of its first checkpoint; None where there is neither."""
    known = (recorded_config(settings, name, fold) for fold in FOLDS)
    return load_catalogue(settings).get(name) or next((config for config in known if config), None)


def compare(settings: Settings, a: str, b: str, *, scope: str | None = None) -> "pd.DataFrame":
    """Return what variant `b` changed against variant `a`, one row per class; as `read_compared`, then `classes`."""
    return classes(read_compared(settings, a, b, scope))


def classes(compared: Compared) -> "pd.DataFrame":
    """Return one row per class.

    Columns: class_id, name, n, drivers, recall_a, recall_b, delta (b minus a), delta_low, delta_high, p, p_holm,
    verdict, obstacle, delta, low and high of precision and F1, and what the standard error of delta is made of; all of
    them on the drivers that both predicted, averaged over trainings.
    """
    change, names = compared.change, compared.dataset.class_names
    scores = rows.class_rows(compared.scope, compared.b, change.variant, change.folds, compared.a, change)
    frame = _frame(ClassScore, scores).rename(
        columns={"recall": "recall_b", "delta_recall": "delta", "drivers_compared": "drivers"}
    )
    frame["name"], frame["recall_a"] = list(names), change.reference_recall
    further = [f"delta_{name}{end}" for name in ("precision", "f1") for end in ("", "_low", "_high")]
    spread = [f"delta_sd_{name}" for name in ("drivers", "training", "double")]
    return frame[[*_CLASS_COLUMNS, *further, *spread, "df"]]


def confusions(compared: Compared) -> "pd.DataFrame":
    """Return rows of `Move`, one per pair of classes that either confuses, `b`'s commonest first."""
    change = compared.change
    return _frame(Move, rows.confusion_rows(compared.scope, compared.b, averaged(change.variant), change))


def by_driver(compared: Compared) -> "pd.DataFrame":
    """Return rows of `DriverScore`, one per class and driver, the baseline being `a`."""
    change = compared.change
    counts = averaged(change.variant)
    return _frame(DriverScore, rows.driver_rows(compared.scope, compared.b, counts, compared.drivers, change))


def verdict_lines(compared: Compared) -> list[str]:
    """Return the result in words: the verdict, and what it rests on."""
    change = compared.change
    counts = averaged(change.variant)
    trained = " and ".join(str(fewest_trainings(x)) for x in (change.reference, change.variant))
    before, delta = st.mean_present(change.reference_recall), float(change.macro.delta)
    p = "" if math.isnan(change.macro_p) else f", p {_p(change.macro_p)}"
    return [
        f"{compared.b} against {compared.a}: {sentence(change.verdicts, change.obstacles)}",
        f"macro recall {_bare(f'{before:.3f}')} -> {_bare(f'{before + delta:.3f}')} ({_bare(f'{delta:+.3f}')}{p}) "
        f"on {change.macro_drivers} drivers, {round(counts.sum()):,} images",
        f"counted on {SCOPES[compared.scope].words}; trainings of each fold: {trained}",
    ]


def recipe_line(compared: Compared) -> str:
    """Return what else differs between the two recipes, in words: `A's / B's` of each field."""
    if compared.recipes is None:
        return "what else differs between the two is not known: one of them has no recipe here"
    return in_words(compared.recipes)


def class_text(compared: Compared) -> tuple[Cells, list[str]]:
    """Return header and rows of the classes, and what their columns mean."""
    cells = [["class", "n", "A", "B", "B - A", "95% interval", "p", "verdict"]]
    for row in classes(compared).to_dict("records"):
        cells.append(
            [
                compared.dataset.class_label(row["class_id"]),
                f"{row['n']:,}",
                *_change(row, "recall_a", "recall_b", "delta"),
                _p(row["p_holm"]),
                row["verdict"],
            ]
        )
    return cells, [
        f"A = {compared.a}, B = {compared.b}: recall of each class, on the drivers that both predicted. "
        "Recall is averaged over trainings; interval and p are for other drivers and other trainings. "
        "What decides is p, corrected (Holm) for the classes of these two variants alone: the report asks "
        "about all variants, and corrects for all. An interval is the t interval of one class alone, - where "
        "nothing varied and with one training only. undetermined: these drivers and trainings cannot tell, "
        "not that nothing changed.",
        recipe_line(compared),
    ]


def confusion_text(compared: Compared) -> tuple[Cells, list[str]]:
    """Return header and rows of the commonest confusions, and what their columns mean."""
    cells = [["true class", "taken for", "n (B)", "A", "B", "B - A", "95% interval"]]
    for row in confusions(compared).head(_TOP_CONFUSIONS).to_dict("records"):
        named = [compared.dataset.class_label(row[key]) for key in ("true", "predicted")]
        images = f"{row['n']:,.1f}".removesuffix(".0")
        cells.append([*named, images, *_change(row, "baseline_share", "share", "delta_share")])
    return cells, [
        f"A = {compared.a}, B = {compared.b}: share of the true class's images that are taken for the other; "
        f"the {_TOP_CONFUSIONS} commonest of either, averaged over trainings. Intervals are for other drivers "
        "and other trainings, not adjusted for the many pairs.",
    ]


def driver_text(compared: Compared) -> tuple[Cells, list[str]]:
    """Return header and rows of the drivers, and what their columns mean."""
    table = by_driver(compared).pivot(index="driver", columns="class_id", values="delta")
    cells = [["driver", *compared.dataset.class_ids, "mean"]]
    for driver, values in zip(table.index, table.to_numpy(), strict=True):
        cells.append([str(driver), *(_signed(v) for v in values), _signed(st.mean_present(values))])
    return cells, [
        f"Recall of {compared.b} minus recall of {compared.a}. Differences between drivers are not tested: drivers of "
        "one fold share a training, and one that went better looks like a variant that suits them.",
    ]


def as_text(cells: Cells, width: int | None = None) -> str:
    """Return a header and rows in aligned columns; words to the left, numbers (and a word for one) to the right.

    Args:
        cells: The header, then the rows.
        width: Of the terminal; where the columns are wider together, the widest words are cut until they fit.
    """
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    columns = [[row[i] for row in cells[1:]] for i in range(len(widths))]
    words = [any(cell[:1].isalpha() for cell in column) and not any(map(_number, column)) for column in columns]
    while width and sum(widths) + 2 * (len(widths) - 1) > width:
        widest = max((size, i) for i, size in enumerate(widths) if words[i] or not i)
        if widest[0] <= _SHORTEST_WORDS:
            break
        widths[widest[1]] -= 1
    cells = [[_cut(cell, size) for cell, size in zip(row, widths, strict=True)] for row in cells]
    lines = [
        "  ".join(
            cell.ljust(width) if word else cell.rjust(width)
            for cell, width, word in zip(row, widths, words, strict=True)
        )
        for row in cells
    ]
    return "\n".join(line.rstrip() for line in lines)


def as_markdown(cells: Cells) -> str:
    """Return a header and rows as a Markdown table."""
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in cells]
    return "\n".join([lines[0], "|" + " --- |" * len(cells[0]), *lines[1:]])


def _frame(kind: type, found: Iterable[Any]) -> "pd.DataFrame":
    return to_table(kind, found).to_pandas()


def _change(row: dict[Any, Any], before: str, after: str, delta: str) -> list[str]:
    low, high = row["delta_low"], row["delta_high"]
    interval = "-" if math.isnan(low) else f"{_signed(low)} to {_signed(high)}"
    return [_plain(row[before]), _plain(row[after]), _signed(row[delta]), interval]


def _number(cell: str) -> bool:
    return cell.replace(",", "").replace(".", "", 1).isdigit()


def _plain(value: float) -> str:
    return "-" if math.isnan(value) else _bare(f"{value:.2f}")


def _signed(value: float) -> str:
    if math.isnan(value):
        return "-"
    text = _bare(f"{value:+.2f}")
    return ".00" if text in ("+.00", "-.00") else text


def _bare(number: str) -> str:
    """Return a number without the zero before its point, as reports write it."""
    return number.replace("0.", ".", 1) if number.lstrip("+-").startswith("0.") else number


def _cut(cell: str, width: int) -> str:
    """Return a cell cut in its middle: names often differ at their end, `phone - left` and `phone - right`."""
    if len(cell) <= width:
        return cell
    tail = min((width - 1) // 3, 6)
    return f"{cell[: width - 1 - tail]}…{cell[len(cell) - tail :]}"


def _p(value: float) -> str:
    if math.isnan(value):
        return "-"
    return "<.001" if value < 0.001 else _bare(f"{value:.3f}")
