"""What was measured on, in words: images, drivers, backbone, masks. For the front page and the summary."""

from pathlib import Path
from typing import Any

from distracted_pipeline.images.decisions import decisions_file, in_words, read_decisions, tally
from distracted_pipeline.images.manifest import read_manifest
from distracted_pipeline.masks.identity import masks_are_given
from distracted_pipeline.reports.report_data import ReportData
from distracted_pipeline.scopes import CROSS_FOLDS
from distracted_pipeline.settings import FOLDER_PREFIX, Settings


def data_card(report: ReportData) -> dict[str, Any]:
    """Return what the data card says beyond what is in the report's data."""
    return {
        "backbone": model_shown(report.settings.backbone),
        "full_set": full_set(report),
        "cross_folds": len(CROSS_FOLDS),
        "reviewed": reviewed(report.settings),
    }


def reviewed(settings: Settings) -> str:
    """Return how many labels people have changed or confirmed, in words; empty where nobody has."""
    return in_words(tally(read_decisions(decisions_file(settings), settings.dataset), read_manifest(settings)))


def full_set(report: ReportData) -> int:
    """Return how many labelled frames the whole data set has; 0 where nobody knows, and where frames are drawn."""
    return 0 if report.settings.synthetic else report.dataset.frames


def masks_from(report: ReportData) -> str:
    """Return where the masks come from, in words."""
    name, synthetic = model_shown(report.settings.segmenter), report.settings.synthetic
    if not masks_are_given(report.settings):
        return f"predicted by {name}"
    drawn = "the exact label maps that the scenes were drawn from" if synthetic else "label maps made elsewhere"
    return f"given, not predicted: {drawn}, read from the folder {name}; no segmentation model ran"


def model_shown(name: str) -> str:
    """Return a hub id, or the last part of a local folder: paths of this machine stay out of reports."""
    bare = name.removeprefix(FOLDER_PREFIX)
    return Path(bare).name if Path(bare).is_absolute() else bare
