"""Recall of one class driver by driver, and what a variant changed in it.

Pure functions of the report's data; they return values, never markup.
"""

from distracted_pipeline.reports.report_data import ReportData


def recall_by_driver(report: ReportData, variant: str, k: int) -> list[tuple[str, float]]:
    """Return the recall of one class for every driver that has images of it."""
    rows = report.main.confusion[variant][:, k]
    return [(driver, float(row[k] / row.sum())) for driver, row in zip(report.drivers, rows, strict=True) if row.sum()]


def change_by_driver(report: ReportData, variant: str, k: int) -> list[tuple[str, float]]:
    """Return what a variant changed in the recall of one class, for every driver that both predict.

    Nothing for what is compared with nothing, and for a variant without predictions in the main scope.
    """
    known, reference = report.main.confusion, report.reference(variant)
    if reference is None or variant not in known or reference not in known:
        return []
    before = dict(recall_by_driver(report, reference, k))
    return [
        (driver, after - before[driver]) for driver, after in recall_by_driver(report, variant, k) if driver in before
    ]
