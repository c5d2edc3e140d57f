"""Steps in this process: their assets, materialised as Dagster runs of the persistent instance.

Belongs here: running a step, or several as one run. Which steps there are is `missing`; in which order, and what is
said about it, is `run`; several processes that run them are `workers`.
"""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import dagster as dg
from dagster._core.errors import DagsterAssetCheckFailedError, DagsterMaxRetriesExceededError
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG

from distracted_pipeline.assets import graph
from distracted_pipeline.assets.compute import OpConfig
from distracted_pipeline.assets.step import failed_checks
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.operations.console import plain_console
from distracted_pipeline.operations.missing import Item, Outcome, Step
from distracted_pipeline.operations.stopping import stoppable_run
from distracted_pipeline.operations.timeline import run_tags

_LOGGERS: dict[str, Any] = {"console": plain_console}
_TRACEBACK = "`distracted ui` shows the traceback in the run's log"
_CONSOLE: dict[str, Any] = {"loggers": {"console": {}}}


class StepRunner:
    """Runs steps of the whole graph, whose partitions are read from files now, once `images` has written them.

    The data root is that of the environment, where the assets read it.

    Args:
        instance: Keeps the history.
        config: Run config by op.
        defs: Another graph than the whole one.
    """

    def __init__(self, instance: dg.DagsterInstance, config: OpConfig, defs: dg.Definitions | None = None) -> None:
        self._defs = defs or graph.definitions(loggers=_LOGGERS)
        self._instance = instance
        self._config = config

    @property
    def ops(self) -> set[str]:
        """Names of the ops that can be configured."""
        return {key.to_user_string() for key in self._defs.resolve_all_asset_keys()}

    def run_item(self, item: Item) -> Iterator[Outcome]:
        """Run steps in their order: those that belong together as one Dagster run, if their partitions are a range.

        Where something in such a run fails, its steps run again one by one, which tells what and why; what was
        finished is found on disk.
        """
        if self._are_a_range(item) and self._run_together(item):
            yield from ((step, None) for step in item)
            return
        for step in item:
            yield step, self.run(step)

    def run(self, step: Step) -> str | None:
        """Run a step and return why it failed, or None.

        Raises:
            DistractedError: Its assets share no partitions.
        """
        return execute(self._job(step), step, self._instance, self._config)

    def _run_together(self, item: Sequence[Step]) -> bool:
        """Run an asset for all steps, then the next asset; tell whether all went well."""
        first, last = str(item[0].partition), str(item[-1].partition)
        tags = {ASSET_PARTITION_RANGE_START_TAG: first, ASSET_PARTITION_RANGE_END_TAG: last}
        for asset in item[0].assets:
            # A run for each asset: one that records its partitions one by one has no output that the next could await.
            several = Step((asset,), item[0].label)
            if execute(self._job(item[0]), several, self._instance, self._config, tags):
                return False
        return True

    def _are_a_range(self, item: Sequence[Step]) -> bool:
        """Tell whether steps belong together, and their partitions are all from the first to the last."""
        first, keys = item[0], [step.partition for step in item]
        alike = all(step.together == first.together and step.assets == first.assets for step in item)
        if len(item) == 1 or not first.together or not alike:
            return False
        partitions = self._defs.resolve_assets_def(first.assets[0]).partitions_def
        if partitions is None:
            return False
        ends = [str(keys[0]), str(keys[-1])]
        if isinstance(partitions, dg.MultiPartitionsDefinition):
            ends = [partitions.get_partition_key_from_str(end) for end in ends]
        return keys == list(partitions.get_partition_keys_in_range(dg.PartitionKeyRange(*ends)))

    def _job(self, step: Step) -> dg.JobDefinition:
        job = self._defs.resolve_implicit_job_def_def_for_assets([dg.AssetKey(name) for name in step.assets])
        if job is None:
            raise DistractedError(f"{', '.join(step.assets)} share no partitions; run `dagster definitions validate`.")
        return job


def run_images(instance: dg.DagsterInstance, config: OpConfig) -> str | None:
    """Run `images`, which needs no partitions and writes the file that the others' are read from."""
    job = graph.images_only(loggers=_LOGGERS).resolve_implicit_global_asset_job_def()
    return execute(job, Step(("images",), "images"), instance, config)


def execute(
    job: dg.JobDefinition,
    step: Step,
    instance: dg.DagsterInstance,
    config: OpConfig,
    tags: Mapping[str, str] = MappingProxyType({}),
) -> str | None:
    """Run one step of a job; return why it failed, or None.

    Args:
        job: Holds the step's assets.
        step: What to run.
        instance: Keeps the history.
        config: Run config by op.
        tags: Further tags of the run, such as a range of partitions.
    """
    try:
        with stoppable_run(instance) as run_id:
            job.execute_in_process(
                instance=instance,
                asset_selection=[dg.AssetKey(name) for name in step.assets],
                partition_key=step.partition,
                run_config={**_CONSOLE, "ops": {name: config[name] for name in step.assets if name in config}},
                tags={**run_tags(), **tags},
                run_id=run_id,
            )
    except DagsterAssetCheckFailedError:
        found = failed_checks(instance, run_id)
        return "; ".join(f"check {check.check_name}: {check.description}" for check in found)
    except dg.Failure as failure:
        return failure.description or "failed without a reason"
    except DagsterMaxRetriesExceededError as error:
        info = error.user_code_process_error_infos[-1]
        while info.cause:
            info = info.cause
        return f"{info.message.strip()} ({_TRACEBACK})"
    except Exception as error:
        return f"{type(error).__name__}: {error} ({_TRACEBACK})"
    return None
