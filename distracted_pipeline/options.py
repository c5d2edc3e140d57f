"""How one stage runs: device, precision, batch size, and who hears of it. Nothing here changes what is computed."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from distracted_pipeline.progress import Log


@dataclass(frozen=True)
class RunOptions:
    """What every stage takes beside its data.

    Attributes:
        device: `auto` (a GPU where there is one), `cpu`, `cuda`, `cuda:1`, `mps`; or what returns one of these once a
            device is needed, so that a GPU is claimed no sooner.
        precision: `auto` is bf16 on GPUs that have it, fp16 on others, fp32 elsewhere; or `fp32`, `bf16`, `fp16`.
        batch_size: Images in the network at once; 0 chooses by device.
        log: Receives progress and notes, a line at a time.
        deterministic: A training takes only kernels that give the same numbers in every run; slower on a GPU, where
            others may differ in the last bits. On a CPU all do.
        compile: `auto` records work on a GPU (`recording`), or compiles networks where the number of images makes up
            for it; `on` compiles, `off` does neither.
        kernels: Folder that keeps compiled kernels; None: torch chooses one.
    """

    device: str | Callable[[], str] = "auto"
    precision: str = "auto"
    batch_size: int = 0
    log: Log = print
    deterministic: bool = False
    compile: str = "auto"
    kernels: Path | None = None

    def device_name(self) -> str:
        """Return the device's name, after claiming it where that was left for later."""
        return self.device() if callable(self.device) else self.device
