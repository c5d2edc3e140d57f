"""The sections of the page "Why", in the order in which they stand there, and what identifies all that they show."""

from distracted_pipeline.reports.why import (
    counterfactuals,
    driver_subspace,
    label_errors,
    leak_premium,
    mask_ablation,
    robustness,
)
from distracted_pipeline.reports.why.section import Section
from distracted_pipeline.settings import Settings

SECTIONS: tuple[Section, ...] = (
    counterfactuals.SECTION,
    mask_ablation.SECTION,
    robustness.SECTION,
    leak_premium.SECTION,
    label_errors.SECTION,
    driver_subspace.SECTION,
)
"""A file of this folder each, which ends in its `SECTION`."""


def shown_evidence(settings: Settings) -> dict[str, dict[str, str]]:
    """Return by section and result what identifies it, empty where it is out of date: part of a report's inputs."""
    return {section.name: dict(section.results(settings)) for section in SECTIONS}
