"""Work on a CUDA device recorded once and replayed as a CUDA graph, so that no time goes into launching its kernels.

A step of EfficientNet-B3 launches 4,000 kernels: on an H200, 91 ms, in which the card works 32. Replayed, the same
kernels take 33 ms. Recording takes 0.2 s, and the memory of one more pass.

Belongs here: what every room that records shares. Work is recorded for inputs of one shape, and must leave its results
on the device, wait for nothing, and draw no random numbers: those come in as inputs.
"""

import gc
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from distracted_pipeline.memory import is_out_of_memory
from distracted_pipeline.progress import Log

WARM_UPS = 2
"""Passes before recording, in which libraries allocate what they keep."""

PAYS_FROM = 64
"""Passes from which on recording costs less than launching."""

_Result = TypeVar("_Result")
Given = Mapping[str, Tensor]
Capture = Callable[[Callable[[], _Result], Any], tuple[Callable[[], object], _Result]]


@dataclass
class _Recording(Generic[_Result]):
    """One recorded pass: what it reads, what it leaves, and what does it again."""

    inputs: dict[str, Tensor]
    result: _Result
    replay: Callable[[], object]


class Recorder(Generic[_Result]):
    """Records one kind of work, once for each shape of its inputs, and does it by replaying.

    Args:
        wanted: Whether to record at all.
        log: Hears of a failure; the work is done as it is from then on.
        capture: Records without running; returns what runs it and where its results will be.
    """

    def __init__(self, wanted: bool, log: Log, capture: Capture[_Result] | None = None) -> None:
        self._wanted = wanted
        self._log = log
        self._capture: Capture[_Result] = capture or capture_graph
        self._place: Any = None
        self._recordings: dict[Any, _Recording[_Result]] = {}
        self._warm: dict[Any, int] = {}

    def __bool__(self) -> bool:
        """Whether work is being recorded, or will be."""
        return self._wanted

    def run(self, given: Given, work: Callable[[Given], _Result], kind: Hashable = None) -> _Result:
        """Return `work(given)`, for work without lasting effects.

        The result is overwritten by the next call.

        Args:
            given: What the work reads.
            work: The same function whenever shapes and `kind` are the same.
            kind: What else it depends on.
        """
        if not self._wanted:
            return work(given)
        key = (kind, _key(given))
        if key not in self._recordings:
            constants = _Constants()

            def warmed(inputs: Given) -> _Result:
                with constants:
                    return work(inputs)

            try:
                with aside(_device(given)):
                    for _ in range(WARM_UPS):
                        result = warmed(given)
            except Exception as error:
                if is_out_of_memory(error):
                    self.forget()
                raise
            if not self._record(key, given, warmed):
                return result
        return self._replayed(key, given)

    def step(self, given: Given, work: Callable[[Given], _Result]) -> _Result | None:
        """Return `work(given)` for work that changes something; None where the caller has to do it (see `aside`).

        That is: in the first calls with inputs of these shapes, and wherever nothing can be recorded.
        """
        if not self._wanted:
            return None
        key = _key(given)
        if key not in self._recordings:
            self._warm[key] = self._warm.get(key, 0) + 1
            if self._warm[key] <= WARM_UPS or not self._record(key, given, work):
                return None
        return self._replayed(key, given)

    def forget(self) -> bool:
        """Give back the memory of all recordings, and record nothing any more; tell whether there was any."""
        there = bool(self._recordings)
        self._recordings.clear()
        self._wanted = False
        if there and torch.cuda.is_available():
            torch.cuda.empty_cache()
        return there

    def _replayed(self, key: Any, given: Given) -> _Result:
        recording = self._recordings[key]
        for name, value in given.items():
            recording.inputs[name].copy_(value, non_blocking=True)
        recording.replay()
        return recording.result

    def _record(self, key: Any, given: Given, work: Callable[[Given], _Result]) -> bool:
        """Record the work; where that fails, say so and tell."""
        try:
            inputs = {name: value.clone() for name, value in given.items()}
            if self._place is None and _device(given).type == "cuda":
                # One at a time is replayed, so all can share their memory.
                self._place = torch.cuda.Stream(_device(given)), torch.cuda.graph_pool_handle()
            replay, result = self._capture(lambda: work(inputs), self._place)
        except Exception as error:
            full = is_out_of_memory(error)
            why = "no memory for it" if full else f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        else:
            self._recordings[key] = _Recording(inputs, result, replay)
            return True
        # Only now: as long as the exception lived, its traceback held the tensors of what failed.
        self.forget()
        self._log(f"not recorded as a CUDA graph ({why}): going on without it")
        return False


def capture_graph(work: Callable[[], _Result], place: Any) -> tuple[Callable[[], object], _Result]:
    """Record `work` as a CUDA graph, on a stream and in a memory pool; nothing runs until it is replayed."""
    stream, pool = place
    gc.collect()  # what is freed during a recording would be freed in it
    torch.cuda.empty_cache()
    graph = torch.cuda.CUDAGraph()
    # Other threads may copy images meanwhile, so only this one's calls are checked.
    with torch.cuda.graph(graph, pool, stream, capture_error_mode="thread_local"):
        result = work()
    return graph.replay, result


@contextmanager
def aside(device: torch.device) -> Iterator[None]:
    """Run the block on another stream of a CUDA device, as what is to be recorded must run before."""
    if device.type != "cuda":
        yield
        return
    side, usual = torch.cuda.Stream(device), torch.cuda.current_stream(device)
    side.wait_stream(usual)
    with torch.cuda.stream(side):
        yield
    usual.wait_stream(side)


def _device(given: Given) -> torch.device:
    return next(iter(given.values())).device


class _Constants(TorchFunctionMode):
    """Keeps tensors that a model makes of Python numbers in every pass: while recording nothing can be copied there."""

    def __init__(self) -> None:
        super().__init__()
        self._kept: dict[str, Tensor] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func not in (torch.tensor, torch.as_tensor) or isinstance(args[0] if args else None, Tensor):
            return func(*args, **kwargs)
        key = repr((func.__name__, args, sorted(kwargs.items())))
        if key not in self._kept:
            self._kept[key] = func(*args, **kwargs)
        return self._kept[key]


def _key(given: Given) -> Any:
    return tuple((name, value.shape, value.stride(), value.dtype) for name, value in given.items())
