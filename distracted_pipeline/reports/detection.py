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


def telling_category(report: ReportData, rates: np.ndarray, k: int) -> tuple[int, float, float] | None:
    """Return the category that tells a class most, its rate there and in the other classes; None where none does."""
    others = np.delete(rates, k, 0)
    usual = np.nanmean(others, 0) if np.isfinite(others).any() else np.full(rates.shape[1], np.nan)
    apart = np.nan_to_num(np.abs(rates[k] - usual))
    c = int(apart.argmax())
    return (c, float(rates[k, c]), float(usual[c])) if apart[c] >= TELLING else None


def found_in(report: ReportData, k: int) -> str:
    """Return what the masks of a class show more or less often than others: `cell phone .97 (other classes .31)`."""
    rates = detection_rates(report)
    told = None if rates is None else telling_category(report, rates, k)
    if told is None:
        return ""
    c, here, elsewhere = told
    return f"{report.dataset.category_names[c]} {proportion(here)} (other classes {proportion(elsewhere)})"
