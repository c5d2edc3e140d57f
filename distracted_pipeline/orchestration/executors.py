"""Which executor runs the steps, chosen by `DISTRACTED_EXECUTOR`; the Definitions stay the same.

What an op needs is `orchestration.compute`; this module only picks who grants it.
"""

import multiprocessing
import os
from typing import Any

import dagster as dg

from distracted_pipeline.errors import DistractedError

VARIABLE = "DISTRACTED_EXECUTOR"
DEFAULT = "multiprocess"
MAX_PROCESSES = 2
"""Steps at once on one machine: each may hold a model, and training uses the cores by itself."""


def executor_from_environment() -> dg.ExecutorDefinition:
    """Return the executor that `DISTRACTED_EXECUTOR` names.

    Raises:
        DistractedError: The name is unknown.
    """
    name = os.environ.get(VARIABLE, "").strip() or DEFAULT
    if name == "in_process":
        return dg.in_process_executor
    if name == "multiprocess":
        return dg.multiprocess_executor.configured({"max_concurrent": MAX_PROCESSES, "start_method": _start_method()})
    raise DistractedError(f"{VARIABLE}={name}: no such executor. Set it to in_process or multiprocess.")


def _start_method() -> dict[str, Any]:
    """A fork server that holds the loaded definitions halves the start of a step; Windows has none."""
    if "forkserver" in multiprocessing.get_all_start_methods():
        return {"forkserver": {"preload_modules": ["distracted_pipeline.definitions"]}}
    return {"spawn": {}}
