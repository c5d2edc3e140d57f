"""The report's single-file summary in MLflow, and each variant's Grad-CAMs in the variant's run.

The pages stay out of it: MLflow's preview follows no relative link. The store itself is `training.tracking`.
"""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from distracted_pipeline.evaluation.parent_runs import find_parents
from distracted_pipeline.progress import Log
from distracted_pipeline.reports.build import ReportResult
from distracted_pipeline.settings import Settings
from distracted_pipeline.standing import require_standing
from distracted_pipeline.training import tracking

if TYPE_CHECKING:
    from mlflow import MlflowClient

RUN = "report"
"""Name of the run that holds the newest summary."""

SHEET = "gradcam.jpg"
"""Artifact of a variant's run: some of its Grad-CAMs."""


def log_summary(settings: Settings, result: ReportResult, *, log: Log = print) -> str | None:
    """Put the summary into the run `report`, in place of the last one, and Grad-CAMs into the variants' runs.

    Returns the id of the run `report`.

    Where the store does not answer, that is said and None returned: the report lies on disk all the same.
    """
    try:
        client, experiment = tracking.open_client(settings)
        found = client.search_runs([experiment], f"attributes.run_name = '{RUN}'", max_results=1)
        run_id = found[0].info.run_id if found else client.create_run(experiment, run_name=RUN).info.run_id
        client.log_artifact(run_id, str(result.summary))
        for key, value in (("report", result.report_id), ("verdict", result.verdict)):
            client.set_tag(run_id, key, value)
        client.set_terminated(run_id)
        _log_sheets(settings, client, experiment, result.sheets)
    except Exception as error:  # a server, its proxy, a database and a disk fail in ways of their own
        require_standing(settings.data)
        known = isinstance(error, tracking.StoreDownError)
        log(f"{error if known else tracking.down(settings, error)} The report is written; only its copy is missing.")
        return None
    return str(run_id)


def _log_sheets(settings: Settings, client: "MlflowClient", experiment: str, sheets: dict[str, bytes]) -> None:
    parents = find_parents(settings, client, experiment)
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / SHEET
        for variant in sheets.keys() & parents.keys():
            path.write_bytes(sheets[variant])
            client.log_artifact(parents[variant], str(path))
