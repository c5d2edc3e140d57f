"""A backfill that left partitions unmaterialised has failed, whether a run failed or one came to its end without them.

Dagster before 1.13.21 called the latter a success, or went on for ever: hence the floor in setup.cfg.
"""

import logging
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.test_utils import create_test_daemon_workspace_context
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.load_target import WorkspaceLoadTarget
from dagster._daemon.backfill import execute_backfill_iteration

SUBJECTS = ["p002", "p012", "p014"]

CODE = """
import dagster as dg

@dg.asset(partitions_def=dg.StaticPartitionsDefinition(["p002", "p012", "p014"]), output_required=False)
def subject_masks(context: dg.AssetExecutionContext):
    if context.partition_key != "p012":
        yield dg.Output(None)
    elif {raises}:
        raise dg.Failure("cannot be segmented")

defs = dg.Definitions([subject_masks], executor=dg.in_process_executor)
"""


class InProcess(WorkspaceLoadTarget):
    """One file of definitions, loaded in this process."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def create_origins(self) -> list[InProcessCodeLocationOrigin]:
        return [InProcessCodeLocationOrigin(LoadableTargetOrigin(python_file=str(self.file)), location_name="here")]


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    launcher = {"module": "dagster._core.launcher.sync_in_memory_run_launcher", "class": "SyncInMemoryRunLauncher"}
    coordinator = {"module": "dagster._core.run_coordinator", "class": "DefaultRunCoordinator"}
    overrides = {"run_launcher": launcher, "run_coordinator": coordinator}
    with dg.DagsterInstance.local_temp(str(tmp_path), overrides=overrides) as made:
        yield made


@pytest.mark.parametrize("raises", [True, False])
def test_a_backfill_that_leaves_a_partition_unmaterialised_ends_as_failed(
    instance: dg.DagsterInstance, tmp_path: Path, raises: bool
) -> None:
    file = tmp_path / "code.py"
    file.write_text(CODE.format(raises=raises))
    masks = dg.AssetKey("subject_masks")
    with create_test_daemon_workspace_context(InProcess(file), instance) as workspace:
        graph = workspace.create_request_context().asset_graph
        instance.add_backfill(
            PartitionBackfill.from_asset_partitions(
                backfill_id="night",
                asset_graph=graph,
                partition_names=SUBJECTS,
                asset_selection=[masks],
                backfill_timestamp=0.0,
                tags={},
                dynamic_partitions_store=instance,
                all_partitions=False,
                title=None,
                description=None,
                run_config=None,
            )
        )
        for _ in range(4):  # launched, seen to have ended, ended
            list(execute_backfill_iteration(workspace, logging.getLogger("daemon")))
    found = instance.get_backfill("night")
    assert found is not None
    assert found.status == BulkActionStatus.COMPLETED_FAILED
    assert instance.get_materialized_partitions(masks) == {"p002", "p014"}
