"""What the page of one class says: every variant's scores on it, its confusions, its drivers and its images."""

from typing import Any

from distracted_pipeline.evaluation.comparison import IMPROVED, WORSENED
from distracted_pipeline.figures import dot_plots
from distracted_pipeline.reports.by_driver import recall_by_driver
from distracted_pipeline.reports.confusions import COMMONEST, confused
from distracted_pipeline.reports.detection import found_in
from distracted_pipeline.reports.noise import luck_of_driver
from distracted_pipeline.reports.report_data import ReportData
from distracted_pipeline.reports.site import Site, images_url
from distracted_pipeline.reports.verdict import class_rows


def page(site: Site, k: int) -> dict[str, Any]:
    """Return what the page of a class says."""
    report, scope = site.report, site.report.main
    names = [name for name in report.variants if name in scope.confusion]
    rows = class_rows(report, k)
    improved, worsened = (
        [report.title(score.variant) for score, _ in rows if score.verdict == word] for word in (IMPROVED, WORSENED)
    )
    found = [image for image in report.images.values() if image.true == k]
    return {
        "title": report.dataset.class_label(k),
        "k": k,
        "n": len(found),
        "found": found_in(report, k),
        "class_drivers": len({image.subject for image in found}),
        "rows": rows,
        "improved": improved,
        "worsened": worsened,
        "commonest": COMMONEST,
        "confusions": [(name, *confused(scope.confusion[name].sum(0), k)) for name in names],
        "moved": scope.moves,
        "strips": [row for name in names if (row := _strip(report, name, k)) is not None],
        "means": [
            (name, site.pictures.means[name, k], int(drivers[k]))
            for name in report.variants
            if (name, k) in site.pictures.means and (drivers := report.cams[name].drivers) is not None
        ],
        "hardest": [site.shown[img] for img in site.selection.hardest[k] if img in site.shown],
        "suspects": [(site.shown[suspect.img], suspect) for suspect in site.selection.suspects[k]],
        "evidence": site.evidence_of(k) if found else [],
        "samples": [site.shown[img] for img in site.selection.masks[k] if img in site.pictures.masks],
    }


def _strip(report: ReportData, name: str, k: int) -> dict[str, Any] | None:
    values = recall_by_driver(report, name, k)
    if not values:
        return None
    class_id = report.dataset.class_ids[k]
    title = f"Recall of {report.dataset.class_label(k)} by driver, {report.title(name)}"
    return {
        "variant": name,
        "figure": dot_plots.strip(
            values,
            title=title,
            reference=report.main.classes[name][k].recall,
            luck=luck_of_driver(report, name, k),
            link=lambda driver: "../" + images_url(variant=name, class_=class_id, driver=driver),
        ),
        "lowest": min(values, key=lambda pair: pair[1]),
        "below": sum(value < 0.5 for _, value in values),
        "drivers": len(values),
    }
