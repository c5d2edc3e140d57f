"""The Definitions object that Dagster loads; the graph is `assets.graph`, who runs it `operations.executors`."""

from distracted_pipeline.assets.graph import definitions
from distracted_pipeline.operations.console import plain_console
from distracted_pipeline.operations.everything import everything
from distracted_pipeline.operations.executors import executor_from_environment
from distracted_pipeline.operations.hints import explain_bare_commands

explain_bare_commands()
defs = definitions(jobs=[everything], executor=executor_from_environment(), loggers={"console": plain_console})
