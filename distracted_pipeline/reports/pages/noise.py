"""What the page of noise says: what other drivers and other trainings move, and what it takes to see a change."""

from typing import Any

from markupsafe import Markup

from distracted_pipeline.evaluation import plan_tables
from distracted_pipeline.evaluation.plan_tables import DELTA, POWER, Study
from distracted_pipeline.evaluation.planning import MOST
from distracted_pipeline.evaluation.table_schemas import ClassScore
from distracted_pipeline.figures import dot_plots, formats
from distracted_pipeline.figures import noise as figures
from distracted_pipeline.figures.dot_plots import Axis
from distracted_pipeline.reports.noise import moved, noise_sentence, noisiest, trained_once
from distracted_pipeline.reports.report_data import ReportData
from distracted_pipeline.reports.site import Site


def page(site: Site) -> dict[str, Any]:
    """Return what the page of noise says."""
    report, scope = site.report, site.report.main
    names = [name for name in report.variants if name in scope.classes]
    axis = figures.noise_axis(value for name in names for score in scope.classes[name] for value in _parts(score))
    return {
        "title": "Noise: what another driver, another training moves",
        "noisiest": noisiest(report),
        "once": trained_once(report),
        "signs": {source: figures.sign(source) for source in ("driver", "training", "double")},
        "noise_scale": dot_plots.scale(axis),
        "noises": [
            {
                "variant": name,
                "sentence": noise_sentence(report, name),
                "rows": [(score, _figure(report, score, axis)) for score in scope.classes[name]]
                if moved(scope.classes[name])
                else [],
            }
            for name in names
        ],
        "delta": DELTA,
        "reach": POWER,
        "plans": [_planned(report, found) for found in site.studies.values()],
    }


def _parts(score: ClassScore) -> tuple[float | None, float | None, float | None]:
    return score.sd_drivers, score.sd_training, score.sd_double


def _figure(report: ReportData, score: ClassScore, axis: Axis) -> Markup:
    sources: tuple[figures.Source, ...] = ("driver", "training", "double")
    said = ", ".join(
        f"{words} {formats.proportion(value)}"
        for words, value in zip(("between drivers", "trainings", "driver × training"), _parts(score), strict=True)
    )
    title = f"{report.title(score.variant)}, {report.dataset.class_label(score.class_id)}: {said}"
    return figures.components(list(zip(sources, _parts(score), strict=True)), axis=axis, title=title)


def _planned(report: ReportData, found: Study) -> dict[str, Any]:
    """Return what a variant's plan says: a row for each class, sentences, and a figure of the class in the middle."""
    labels = [report.dataset.class_label(k) for k in report.classes]
    known = found.known
    middle = known[len(known) // 2] if known else None
    return {
        "variant": found.variant,
        "reference": found.reference,
        "questions": found.questions,
        "often": found.often,
        "why_not": plan_tables.why_not(found.obstacle) if found.obstacle else "",
        "seen": sum(found.plans[k].power >= found.reach for k in known),
        "classes": len(known),
        "rows": [(k, plan_tables.cells(found, k)) for k in range(len(found.plans))],
        "sentences": plan_tables.sentences(found, labels),
        "middle": middle,
        "figure": None if middle is None else _by_drivers(found, middle, labels[middle], report.title(found.variant)),
    }


def _by_drivers(found: Study, k: int, label: str, title: str) -> Markup:
    trainings = int(found.sources.replicates[k])
    lines = [
        figures.Reach(f"{trainings} trainings", "up", plan_tables.smallest_by_drivers(found, k)),
        figures.Reach("∞ trainings", "down", plan_tables.smallest_by_drivers(found, k, MOST["replicates"])),
    ]
    return figures.smallest_change(
        lines,
        now=int(found.sources.drivers[k]),
        delta=found.delta,
        title=f"Smallest change of {label} that is seen by number of drivers, {title}, with {trainings} trainings of "
        "each fold and with infinitely many",
    )
