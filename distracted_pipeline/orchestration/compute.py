"""What an op needs (GPUs, cores, memory), said once, and how it uses its device.

`Compute` becomes the op tags that Kubernetes and Ray executors read; `DeviceConfig` is the op config
a person sets in the launchpad or a YAML file. Which executor runs is `orchestration.executors`.
"""

from dataclasses import dataclass
from typing import Any, Literal

import dagster as dg
from pydantic import Field


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


class DeviceConfig(dg.Config):
    """Device options of an op; `auto` is right on a laptop and on a GPU machine."""

    device: str = Field(default="auto", description="auto (a GPU where there is one), cpu, cuda, cuda:1, mps")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        default="auto", description="auto is bf16 on GPUs that have it and fp32 on a CPU, where bf16 is slower"
    )
    batch_size: int = Field(default=0, ge=0, description="images per device batch; 0 chooses by device and memory")
