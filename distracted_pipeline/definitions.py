"""The Definitions object that Dagster loads; the graph is `assets.graph`, who runs it `operations.executors`."""

from distracted_pipeline.assets.graph import definitions
from distracted_pipeline.operations.console import plain_console
from distracted_pipeline.operations.everything import everything
from distracted_pipeline.operations.executors import executor_from_environment
from distracted_pipeline.operations.hints import explain_bare_commands
from distracted_pipeline.operations.timeline import killed_runs_end

explain_bare_commands()
defs = definitions(
    jobs=[everything],
    sensors=[killed_runs_end],
    executor=executor_from_environment(),
    loggers={"console": plain_console},
)
