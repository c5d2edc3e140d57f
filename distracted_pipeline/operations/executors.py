"""Which executor runs the steps, chosen by `DISTRACTED_EXECUTOR`; the Definitions stay the same.

What an op needs is `assets.compute`, whose op tags Ray and Kubernetes read; this module only picks who grants it.
Where the cluster is, and how to reach it, stands in `$DAGSTER_HOME/dagster.yaml` (examples in `deploy/`); what to do
about a cluster that does not answer, `service_errors` says.
"""

import importlib
import multiprocessing
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster import InitExecutorContext

from distracted_pipeline.assets.compute import CLUSTERS, EXECUTOR
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.operations import stopping
from distracted_pipeline.operations.instance import dagster_home
from distracted_pipeline.operations.service_errors import explained, extra_missing
from distracted_pipeline.settings import VARIABLES, variable

if TYPE_CHECKING:
    from dagster._core.execution.context.system import PlanOrchestrationContext
    from dagster._core.execution.plan.plan import ExecutionPlan
    from dagster._core.execution.retries import RetryMode
    from dagster._core.execution.step_dependency_config import StepDependencyConfig

VARIABLE = EXECUTOR
DEFAULT = "multiprocess"
CHOICES = ("multiprocess", "in_process", *CLUSTERS)
MAX_PROCESSES = 2
"""Steps at once on one machine: each may hold a model, and training uses the cores by itself."""

STEP_VARIABLES = (
    "DAGSTER_HOME",
    *VARIABLES,
    "HF_HOME",
    "HF_HUB_OFFLINE",
    "RAY_API_SERVER_ADDRESS",
)
"""What a step on Ray takes along from the process that launches it; nothing else of its environment arrives.

Secrets are not among them, because Ray shows these to everyone who may see the job: DAGSTER_POSTGRES_URL and the
cluster's token belong in the environment in which each node's `ray start` is typed.
"""


def executor_from_environment() -> dg.ExecutorDefinition:
    """Return the executor that `DISTRACTED_EXECUTOR` names.

    Raises:
        DistractedError: The name is unknown, or its extra is not installed.
    """
    name = variable(VARIABLE) or DEFAULT
    if name == "in_process":
        return _created_by(dg.in_process_executor, _Stoppable.around(dg.in_process_executor))
    if name == "multiprocess":
        several = _created_by(dg.multiprocess_executor, _Stoppable.around(dg.multiprocess_executor))
        return several.configured({"max_concurrent": MAX_PROCESSES, "start_method": _start_method()})
    if name == "ray":
        # No num_cpus, num_gpus, memory or resources here: they would override, or mix into, what the ops' tags say.
        # The address is the run launcher's, or RAY_API_SERVER_ADDRESS.
        ray = _of_extra("ray", "dagster_ray", "ray_executor", also="ray")
        return ray.configured({"ray": {"env_vars": list(STEP_VARIABLES)}})
    if name == "k8s":
        # Image, volumes and environment of the steps are the run launcher's, limits come from the ops' tags.
        return _of_extra("k8s", "dagster_k8s", "k8s_job_executor", also="kubernetes")
    raise DistractedError(f"{VARIABLE}={name}: no such executor. Set it to {', '.join(CHOICES[:-1])} or {CHOICES[-1]}.")


def _start_method() -> dict[str, Any]:
    """A fork server that holds the loaded definitions halves the start of a step; Windows has none."""
    if "forkserver" in multiprocessing.get_all_start_methods():
        return {"forkserver": {"preload_modules": ["distracted_pipeline.definitions"]}}
    return {"spawn": {}}


def _of_extra(extra: str, module: str, attribute: str, also: str) -> dg.ExecutorDefinition:
    """Return an executor from an optional package, made to explain why its cluster cannot be reached."""
    if find_spec(module) is None or find_spec(also) is None:  # the module itself imports the other one lazily
        raise DistractedError(f"{VARIABLE}={extra}: {extra_missing(extra)}")
    theirs: dg.ExecutorDefinition = getattr(importlib.import_module(module), attribute)

    def create(context: InitExecutorContext) -> dg.Executor:
        with explained(dagster_home()):
            return theirs.executor_creation_fn(context)  # type: ignore[misc]

    return _created_by(theirs, create)


def _created_by(
    theirs: dg.ExecutorDefinition, create: Callable[[InitExecutorContext], dg.Executor]
) -> dg.ExecutorDefinition:
    """Return an executor's definition, its name and options unchanged, that makes the executor in another way."""
    return dg.ExecutorDefinition(
        name=theirs.name,
        config_schema=theirs.config_schema,  # type: ignore[arg-type]
        requirements=theirs._requirements_fn,
        executor_creation_fn=create,
        description=theirs.description,
    )


class _Stoppable(dg.Executor):
    """An executor of this machine whose run counts as canceled, not as failed, when a signal ends it.

    The `dagster` command that started the run then exits with the signal's code.
    """

    def __init__(self, theirs: dg.Executor) -> None:
        self._theirs = theirs

    @classmethod
    def around(cls, theirs: dg.ExecutorDefinition) -> Callable[[InitExecutorContext], dg.Executor]:
        return lambda context: cls(theirs.executor_creation_fn(context))  # type: ignore[misc]

    @property
    def retries(self) -> "RetryMode":
        return self._theirs.retries

    @property
    def step_dependency_config(self) -> "StepDependencyConfig":
        return self._theirs.step_dependency_config

    def execute(
        self, plan_context: "PlanOrchestrationContext", execution_plan: "ExecutionPlan"
    ) -> Iterator[dg.DagsterEvent]:
        with stopping.listening(), stopping.executing(plan_context.instance, plan_context.run_id):
            try:
                yield from self._theirs.execute(plan_context, execution_plan)
            except BaseException:
                if stopping.received():
                    stopping.request_cancel(plan_context.run_id, plan_context.instance)
                    stopping.say_stopped()
                raise
