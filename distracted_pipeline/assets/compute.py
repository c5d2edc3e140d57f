"""What an op needs (GPUs, cores, memory), said once, and the options that it takes.

`Compute` becomes the op tags that Kubernetes and Ray executors read; `DeviceConfig`, `ScoringConfig` and
`ImagesConfig` are the op config that a person sets in the launchpad or a YAML file. Which executor runs is
`operations.executors`.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import dagster as dg
from pydantic import Field, ValidationError

from distracted_pipeline.assets.lease import claim_gpu
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.options import RunOptions
from distracted_pipeline.progress import Log
from distracted_pipeline.settings import variable

EXECUTOR = "DISTRACTED_EXECUTOR"
"""Names who runs the steps; `operations.executors` knows what each name means."""

CLUSTERS = ("ray", "k8s")
"""Executors whose steps run on other machines."""

GPU_POOL = "gpu"
"""Runs with a GPU op take a slot of it when they are queued; `dagster.yaml` says how many there are."""


class _UnlessStopped(dg.RetryPolicy):
    """Tries again after a failure, but not after an interruption, which on one machine is a person's.

    Dagster takes an interruption for a failure wherever an op has a policy, and asks it nothing but whether it is
    there. On a cluster an interruption is a machine that goes away, and its step is tried again on another.
    """

    def __bool__(self) -> bool:
        interrupted = isinstance(sys.exception(), KeyboardInterrupt | dg.DagsterExecutionInterruptedError)
        return not interrupted or variable(EXECUTOR) in CLUSTERS


@dataclass(frozen=True)
class Compute:
    """Resources of one op.

    Attributes:
        gpus: Physical GPUs; 0 for ops that never touch one.
        cpus: Cores, more than 0 (Ray schedules an op with 0 cores anywhere, at once).
        memory_gib: Memory limit.
    """

    gpus: int = 0
    cpus: float = 1
    memory_gib: float = 2

    def options(self) -> dict[str, Any]:
        """Return the arguments for `@dg.asset(...)`: op tags, and for a GPU op its pool and one retry.

        Bad input is never retried (`step`), nor what a person stopped; a device that hiccups is.
        """
        if not self.gpus:
            return {"op_tags": self.op_tags()}
        return {"op_tags": self.op_tags(), "pool": GPU_POOL, "retry_policy": _UnlessStopped(max_retries=1, delay=10)}

    def op_tags(self) -> dict[str, Any]:
        """Return the tags for `op_tags=` (`tags=` does not reach executors)."""
        limits: dict[str, str] = {"cpu": f"{self.cpus:g}", "memory": f"{self.memory_gib:g}Gi"}
        ray: dict[str, float] = {"num_cpus": self.cpus, "memory": self.memory_gib * 2**30}
        if self.gpus:
            limits["nvidia.com/gpu"] = str(self.gpus)
            ray["num_gpus"] = self.gpus
        return {
            "dagster-k8s/config": {"container_config": {"resources": {"requests": dict(limits), "limits": limits}}},
            "dagster-ray/config": ray,
        }


LIGHT = Compute(cpus=1, memory_gib=2)
"""Reads tables, writes tables."""

INGEST = Compute(cpus=2, memory_gib=4)
"""Hashes and opens every image once."""

SEGMENT = Compute(gpus=1, cpus=8, memory_gib=16)
"""Panoptic model, decode and post-processing threads."""

TRAIN = Compute(gpus=1, cpus=4, memory_gib=16)
"""Backbone passes and training."""


class ScoringConfig(dg.Config):
    """Device options of an op that only applies a trained network, in fp32; `auto` is right everywhere."""

    device: str = Field(default="auto", description="auto = a GPU where there is one; or cpu, cuda, cuda:1, mps")
    batch_size: int = Field(default=0, ge=0, description="images in the network at once; 0 = automatic")

    def options(self, log: Log) -> RunOptions:
        """Return how the op runs; it claims a GPU for this process alone once a network needs one, and no sooner."""
        return RunOptions(
            device=partial(claim_gpu, self.device, log),
            precision=getattr(self, "precision", "auto"),
            batch_size=self.batch_size,
            log=log,
            deterministic=getattr(self, "deterministic", False),
            compile=getattr(self, "compile", "off"),
        )


class DeviceConfig(ScoringConfig):
    """Device options of an op that makes masks or taps, or trains."""

    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        default="auto", description="auto is bf16 on GPUs that have it and fp32 on a CPU, where bf16 is slower"
    )


class CompilingConfig(DeviceConfig):
    """Device options of an op whose network can be compiled."""

    compile: Literal["auto", "on", "off"] = Field(
        default="auto",
        description="auto records work on a GPU as CUDA graphs, and compiles where images make up for the minutes that "
        "torch.compile takes; on compiles; off does neither",
    )


class TrainingConfig(CompilingConfig):
    """Device options of an op that trains."""

    deterministic: bool = Field(
        default=False,
        description="same weights from run to run on a GPU too, by slower kernels; on a CPU they are the same anyway",
    )


class ImagesConfig(dg.Config):
    """Options of `images`."""

    verify: bool = Field(
        default=False, description="read and hash every image anew, even where size and time of change are as before"
    )


_CONFIGS: dict[str, type[dg.Config]] = {
    "images": ImagesConfig,
    **dict.fromkeys(("subject_masks", "masks"), CompilingConfig),
    "trained_model": TrainingConfig,
    **dict.fromkeys(
        ("predictions", "gradcam", "submission", "counterfactuals", "mask_ablation", "robustness"), ScoringConfig
    ),
    **dict.fromkeys(("leak_premium", "driver_subspace"), ScoringConfig),
}
"""Class of an op's configuration; where it is not listed, `DeviceConfig`."""


OpConfig = Mapping[str, Mapping[str, Any]]
"""Run config by op name, as under `ops:` in a launchpad."""


def read_op_config(path: Path) -> OpConfig:
    """Return the `ops:` part of a YAML file such as those in `configs/`.

    Raises:
        DistractedError: There is no such file, it is no YAML, or it holds anything but options by op.
    """
    import yaml

    from distracted_pipeline.yaml_text import load_yaml

    try:
        content = load_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DistractedError(f"cannot read {path}: {error}. Name a file like those in configs/.") from error
    ops = content.get("ops") if isinstance(content, dict) else None
    if not isinstance(ops, dict) or set(content) != {"ops"}:
        raise DistractedError(f"{path} must hold one mapping, `ops:`, as the files in configs/ do.")
    for name, entry in ops.items():
        kind = _CONFIGS.get(name, DeviceConfig)
        try:
            unknown = set(entry["config"]) - set(kind.model_fields)
            if unknown:
                raise KeyError(f"unknown option {', '.join(sorted(unknown))}")
            kind(**entry["config"])
        except (TypeError, KeyError, ValidationError) as error:
            defaults = ", ".join(f"{key}: {value}" for key, value in kind().model_dump().items())
            raise DistractedError(f"{path}, op {name}: {error}. Write config: {{{defaults}}}.") from error
    return ops
