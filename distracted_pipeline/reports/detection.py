"""How often the masks of a class show each category: the reason why masks can help, or cannot.

Pure functions of the report's data; they return values and words, never markup. Shares of images, not a test.
"""

import numpy as np

from distracted_pipeline.figures.formats import proportion
from distracted_pipeline.reports.report_data import ReportData

TELLING = 0.1
"""By how much a category is found more, or less, often than in other classes to be worth a word."""


def detection_rates(report: ReportData) -> np.ndarray | None:
    """Return the share of a class's masked images that show a category, [class, category]; NaN without a masked image.

    None where there are no masks.
    """
    if report.found is None:
        return None
    true = np.array([image.true for image in report.images.values()])
    masked = np.array([(report.found[:, 0] & (true == k)).sum() for k in report.classes], float)[:, None]
    seen = np.array([report.found[true == k, 1:].sum(0) for k in report.classes], float)
    return np.divide(seen, masked, out=np.full(seen.shape, np.nan), where=masked > 0)


def telling_category(rates: np.ndarray, k: int) -> tuple[int, float, float] | None:
    """Return the category that tells a class most, its rate there and in the other classes; None where none does."""
    usual = _in_other_classes(rates)[k]
    apart = np.nan_to_num(np.abs(rates[k] - usual))
    c = int(apart.argmax())
    return (c, float(rates[k, c]), float(usual[c])) if apart[c] >= TELLING else None


def telling_categories(rates: np.ndarray) -> list[int]:
    """Return the categories that tell some class from the others, the one that tells most first."""
    apart = np.nan_to_num(np.abs(rates - _in_other_classes(rates))).max(0)
    return [int(c) for c in np.argsort(-apart, kind="stable") if apart[c] >= TELLING]


def _in_other_classes(rates: np.ndarray) -> np.ndarray:
    """Return the mean rate over all other classes, [class, category]; NaN where none of them has a masked image."""
    known = np.isfinite(rates)
    total, count = np.nan_to_num(rates), known.astype(float)
    sums, counts = total.sum(0) - total, count.sum(0) - count
    return np.divide(sums, counts, out=np.full(rates.shape, np.nan), where=counts > 0)


def found_in(report: ReportData, k: int) -> str:
    """Return what the masks of a class show more or less often than others: `cell phone .97 (other classes .31)`."""
    rates = detection_rates(report)
    told = None if rates is None else telling_category(rates, k)
    if told is None:
        return ""
    c, here, elsewhere = told
    return f"{report.dataset.category_names[c]} {proportion(here)} (other classes {proportion(elsewhere)})"
