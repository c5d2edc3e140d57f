"""One step in this process: its assets, materialised as a Dagster run of the persistent instance.

Belongs here: running a step. Which steps there are is `missing`; in which order, and what is said about it, is `run`;
several processes that run them are `workers`.
"""

from typing import Any

import dagster as dg
from dagster._core.errors import DagsterAssetCheckFailedError

from distracted_pipeline.assets import graph
from distracted_pipeline.assets.compute import OpConfig
from distracted_pipeline.assets.step import failed_checks
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.operations.console import plain_console
from distracted_pipeline.operations.missing import Step
from distracted_pipeline.operations.stopping import stoppable_run
from distracted_pipeline.operations.timeline import RUN_TAGS

_LOGGERS: dict[str, Any] = {"console": plain_console}
_CONSOLE: dict[str, Any] = {"loggers": {"console": {}}}


class StepRunner:
    """Runs steps of the whole graph, whose partitions are read from files now, once `images` has written them.

    The data root is that of the environment, where the assets read it.

    Args:
        instance: Keeps the history.
        config: Run config by op.
    """

    def __init__(self, instance: dg.DagsterInstance, config: OpConfig) -> None:
        self._defs = graph.definitions(loggers=_LOGGERS)
        self._instance = instance
        self._config = config

    @property
    def ops(self) -> set[str]:
        """Names of the ops that can be configured."""
        return {key.to_user_string() for key in self._defs.resolve_all_asset_keys()}

    def run(self, step: Step) -> str | None:
        """Run a step and return why it failed, or None.

        Raises:
            DistractedError: Its assets share no partitions.
        """
        job = self._defs.resolve_implicit_job_def_def_for_assets([dg.AssetKey(name) for name in step.assets])
        if job is None:
            raise DistractedError(f"{', '.join(step.assets)} share no partitions; run `dagster definitions validate`.")
        return execute(job, step, self._instance, self._config)


def run_images(instance: dg.DagsterInstance, config: OpConfig) -> str | None:
    """Run `images`, which needs no partitions and writes the file that the others' are read from."""
    job = graph.images_only(loggers=_LOGGERS).resolve_implicit_global_asset_job_def()
    return execute(job, Step(("images",), "images"), instance, config)


def execute(job: dg.JobDefinition, step: Step, instance: dg.DagsterInstance, config: OpConfig) -> str | None:
    """Run one step of a job; return why it failed, or None."""
    try:
        with stoppable_run(instance) as run_id:
            job.execute_in_process(
                instance=instance,
                asset_selection=[dg.AssetKey(name) for name in step.assets],
                partition_key=step.partition,
                run_config={**_CONSOLE, "ops": {name: config[name] for name in step.assets if name in config}},
                tags=RUN_TAGS,
                run_id=run_id,
            )
    except DagsterAssetCheckFailedError:
        found = failed_checks(instance, run_id)
        return "; ".join(f"check {check.check_name}: {check.description}" for check in found)
    except dg.Failure as failure:
        return failure.description or "failed without a reason"
    except Exception as error:
        return f"{type(error).__name__}: {error} (`distracted ui` shows the traceback in the run's log)"
    return None
