"""Several processes that run steps side by side, each with a GPU of its own, or a share of one.

Belongs here: starting them, handing out steps, and what happens when one is killed. What a step does is `step_runner`;
which steps there are and in which order is `missing` and `run`. A process holds the lease of its GPU until it ends
(`assets.lease`), so the one that hands out the steps runs none that needs a GPU.
"""

import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import connection, get_all_start_methods, get_context, parent_process
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import TYPE_CHECKING, Self

from distracted_pipeline.assets import lease
from distracted_pipeline.images.feeder import cores
from distracted_pipeline.interrupts import held, let_go
from distracted_pipeline.operations.missing import Item, Outcome
from distracted_pipeline.progress import Log
from distracted_pipeline.settings import PER_GPU

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext, SpawnContext

    from distracted_pipeline.assets.compute import OpConfig

THREADS = "OMP_NUM_THREADS"
"""How many threads torch computes with, unless a person says otherwise: the cores, shared out."""

_PRELOADED = (
    "distracted_pipeline.operations.step_runner",
    "distracted_pipeline.masks.models",
    "distracted_pipeline.training.train",
    "distracted_pipeline.evaluation.predict",
    "distracted_pipeline.explanation.explain",
    "mlflow",
)
"""What steps import: some twelve CPU seconds, spent once for all processes where they can be forked."""

_ATTEMPTS = 2
_PATIENCE_S = 2.0
_HEARD_S = 0.4


def default_workers(per_gpu: int = 1) -> int:
    """Return how many processes `distracted run` uses by itself: one for each share of a visible GPU, at least one."""
    return max(1, len(lease.visible_gpus()) * per_gpu)


def worker_count(asked: int, per_gpu: int, log: Log) -> int:
    """Return how many processes run the steps: as many as were asked for, as long as each finds something to do.

    Every one costs a gigabyte of memory. Where they wait for the disk, twice the cores still gain.

    Args:
        asked: The number of `--workers`; 0 leaves it to `default_workers`.
        per_gpu: How many processes share a GPU.
        log: Hears of a number that was cut down.
    """
    by_itself = default_workers(per_gpu)
    most = max(2 * cores(), by_itself)
    if asked > most:
        gpus = len(lease.visible_gpus())
        log(f"--workers {asked}: {most} processes are all that {cores()} cores and {gpus} GPUs are good for")
    return min(asked, most) or by_itself


@dataclass
class _Worker:
    process: BaseProcess
    pipe: "Connection[object, object]"
    item: Item = ()
    done: int = 0
    attempt: int = 1

    @property
    def busy(self) -> bool:
        return self.done < len(self.item)

    def begin(self, item: Item, attempt: int = 1) -> None:
        self.item, self.done, self.attempt = item, 0, attempt
        self.pipe.send(item)


class Workers:
    """Processes that run steps. Leave the `with` block and they are gone, whatever they were doing.

    Args:
        count: How many.
        config: Run config by op.
        per_gpu: How many of them share a GPU.
        log: Hears of a process that was killed.
        serve: What such a process does.
    """

    def __init__(
        self, count: int, config: "OpConfig", per_gpu: int, log: Log, *, serve: Callable[..., None] | None = None
    ) -> None:
        self._serve = serve or serve_steps
        self._count = count
        self._config = config
        self._per_gpu = per_gpu
        self._log = log
        self._workers: list[_Worker] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for worker in self._workers:
            worker.pipe.close()
        if isinstance(error, KeyboardInterrupt):
            # A terminal's Ctrl-C reached them, too; a second signal would come while they note how their runs ended.
            for worker in self._workers:
                worker.process.join(_HEARD_S / len(self._workers))
        for worker in self._workers:
            worker.process.terminate()
        for worker in self._workers:
            worker.process.join(_PATIENCE_S)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()

    def start(self) -> None:
        """Have what the processes need loaded from now on, while this one is at something else."""
        context = self._context()
        if context.get_start_method() == "forkserver":
            from multiprocessing import forkserver

            # A process would be there only once all is loaded, and this one would wait for that.
            with held(), _environment(self._variables()):
                forkserver.ensure_running()
            return
        while len(self._workers) < self._count:
            self._workers.append(self._start())

    def run(self, items: Iterable[Item]) -> Iterator[Outcome]:
        """Yield the outcome of each step as it comes; an item is asked for once there is a process to run it.

        A process that ends in the middle of a step is replaced, and the step begins again, once.
        """
        waiting = iter(items)
        self._hand_out(waiting)
        while any(worker.busy for worker in self._workers):
            busy = {worker.pipe: worker for worker in self._workers if worker.busy}
            outcomes: list[Outcome] = []
            for pipe in connection.wait(list(busy)):
                worker = busy[pipe]  # type: ignore[index]
                try:
                    reason = worker.pipe.recv()
                except (EOFError, OSError):
                    outcomes += self._replace(worker)
                    continue
                outcomes.append((worker.item[worker.done], None if reason is None else str(reason)))
                worker.done += 1
            self._hand_out(waiting)
            yield from outcomes

    def _hand_out(self, waiting: Iterator[Item]) -> None:
        for at in range(self._count):
            if at < len(self._workers) and self._workers[at].busy:
                continue
            item = next(waiting, None)
            if item is None:
                return
            if at == len(self._workers):
                self._workers.append(self._start())
            self._workers[at].begin(item)

    def _start(self) -> _Worker:
        context, variables = self._context(), self._variables()
        ours, theirs = context.Pipe()
        process = context.Process(target=self._serve, args=(theirs, self._config, variables))
        with held(), _environment(variables):
            process.start()
        theirs.close()
        return _Worker(process, ours)

    def _context(self) -> "ForkServerContext | SpawnContext":
        """Return how processes start: forked from one that has imported what they need, unless they may use CUDA.

        Of a process that has loaded CUDA no fork could use it, and nobody promises that no import does that.
        """
        if "forkserver" not in get_all_start_methods() or sys.platform == "darwin" or lease.visible_gpus():
            return get_context("spawn")
        context = get_context("forkserver")
        context.set_forkserver_preload(list(_PRELOADED) if self._serve is serve_steps else [])
        return context

    def _variables(self) -> dict[str, str]:
        threads = max(1, (os.cpu_count() or 1) // self._count)
        return {THREADS: str(threads), **os.environ, PER_GPU: str(self._per_gpu)}

    def _replace(self, worker: _Worker) -> list[Outcome]:
        """Put a new process in the place of one that ended, and have it begin the step again that this one was at.

        Of steps that were one run it is not known which it was at: they begin again one by one.
        """
        worker.process.join()
        worker.pipe.close()
        step, rest, attempt = worker.item[worker.done], worker.item[worker.done :], worker.attempt
        how = f"its process ended with exit code {worker.process.exitcode}"
        fresh = self._start()
        self._workers[self._workers.index(worker)] = fresh
        if step.together and len(rest) > 1:
            self._log(f"{step.label} and {len(rest) - 1} more: {how}; they begin again one by one")
            fresh.begin(tuple(replace(one, together="") for one in rest))
            return []
        if attempt < _ATTEMPTS:
            self._log(f"{step.label}: {how}; it begins again where it was saved")
            fresh.begin(rest, attempt + 1)
            return []
        if rest[1:]:
            fresh.begin(rest[1:])
        return [(step, f"{how}, {_ATTEMPTS} times. Is there too little memory for this many workers (--workers)?")]


def serve_steps(pipe: "Connection[object, object]", config: "OpConfig", variables: dict[str, str]) -> None:
    """Run steps as they come, until there will be no more: what a worker process does."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _adopt(variables)
    from distracted_pipeline.operations.instance import open_instance
    from distracted_pipeline.operations.step_runner import StepRunner
    from distracted_pipeline.operations.stopping import listening
    from distracted_pipeline.operations.timeline import show_in_timeline

    try:
        with listening(), open_instance() as instance:
            let_go()
            show_in_timeline(instance)
            runner = StepRunner(instance, config)
            while True:
                item: Item = pipe.recv()  # type: ignore[assignment]
                for _, reason in runner.run_item(item):
                    pipe.send(reason)
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        return


def _adopt(variables: Mapping[str, str]) -> None:
    """Take over an environment: a forked process has that in which its server was started, perhaps long ago."""
    os.environ.clear()
    os.environ.update(variables)  # before anything loads torch
    if "torch" in sys.modules and variables[THREADS].isdecimal() and int(variables[THREADS]):
        import torch

        torch.set_num_threads(int(variables[THREADS]))


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set variables for what is started in the block."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        for name in variables:
            os.environ.pop(name)
        os.environ.update(before)


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)  # whoever would read what comes of the step is gone; it goes on from what is saved
