"""The report's single-file summary in MLflow, beside the training runs that it reports on.

Only the summary goes there: MLflow's preview follows no relative link. The store itself is `training.tracking`.
"""

from distracted_pipeline.progress import Log
from distracted_pipeline.reports.build import ReportResult
from distracted_pipeline.settings import Settings
from distracted_pipeline.training import tracking

RUN = "report"
"""Name of the run that holds the newest summary."""


def log_summary(settings: Settings, result: ReportResult, *, log: Log = print) -> str | None:
    """Put the summary into the run `report`, in place of the last one, and return the run's id.

    Returns None, and says why, where the store does not answer: the report lies on disk all the same.
    """
    try:
        client, experiment = tracking.open_client(settings)
        found = client.search_runs([experiment], f"attributes.run_name = '{RUN}'", max_results=1)
        run_id = found[0].info.run_id if found else client.create_run(experiment, run_name=RUN).info.run_id
        client.log_artifact(run_id, str(result.summary))
        for key, value in (("report", result.report_id), ("verdict", result.verdict)):
            client.set_tag(run_id, key, value)
        client.set_terminated(run_id)
    except Exception as error:  # a server, its proxy, a database and a disk fail in ways of their own
        known = isinstance(error, tracking.StoreDownError)
        log(f"{error if known else tracking.down(settings, error)} The report is written; only its copy is missing.")
        return None
    return str(run_id)
