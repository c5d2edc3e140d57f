"""What a fuzzed reader is, and the three things it is held to: a sentence, a bound on memory, a bound on time.

Memory is the peak of what lies in memory (`VmHWM`, which Linux lets a process reset) over what lay there before; what
is asked for and never touched costs no machine anything, but more than `_ADDRESSES` of it is refused all the same.
"""

import resource
import signal
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis.strategies import SearchStrategy

from distracted_pipeline.errors import LONGEST_MESSAGE, DistractedError

_ADDRESSES = 6 * 2**30
_WAITING = 20
"""How much longer than it computes a case may last: others use the machine too, but no reader waits for anything."""


class Finding(AssertionError):
    """A reader did with some bytes what no reader may do."""


@dataclass(frozen=True)
class Reader:
    """One way into the program for bytes from outside.

    Attributes:
        name: Folder of its cases in `corpus`.
        read: Writes bytes where the reader looks for them, below an empty folder, and calls it.
        cases: Damaged and odd bytes.
        valid: Bytes that it takes.
        made: Bytes made to be too much for a reader, by what they are.
        largest: Likewise, of those that take seconds; some are as large as may be, and are taken.
        memory_mib: What it may hold at once, beyond what lay in memory before.
        seconds: What it may take of a core.
    """

    name: str
    read: Callable[[Path, bytes], object]
    cases: Callable[[], SearchStrategy[bytes]]
    valid: Callable[[], Sequence[bytes]]
    memory_mib: int = 128
    seconds: float = 10
    made: Callable[[], Mapping[str, bytes]] = dict
    largest: Callable[[], Mapping[str, bytes]] = dict


def held(reader: Reader, folder: Path, case: bytes) -> int:
    """Return the MiB that reading a case took.

    Raises:
        Finding: An exception that is no sentence, a message that is none, too much memory, or too much time.
    """
    before = _reset_peak()
    try:
        with _bounds(reader.seconds):
            reader.read(folder, case)
    except DistractedError as error:
        if len(str(error)) > LONGEST_MESSAGE:
            raise Finding(f"a message of {len(str(error)):,} characters: {str(error)[:200]}") from error
        if any(isinstance(cause, MemoryError) for cause in _causes(error)):
            raise Finding(f"it asked for more than {_ADDRESSES // 2**20:,} MiB") from error
    except _TooSlow as error:
        raise Finding(f"it took more than {reader.seconds} s") from error
    except BaseException as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        raise Finding(f"{type(error).__name__}: {str(error)[:200]} ({where.filename}:{where.lineno})") from error
    taken = max(0, _status("VmHWM") - before) // 2**10
    if taken > reader.memory_mib:
        raise Finding(f"it took {taken:,} MiB, more than {reader.memory_mib}")
    return taken


class _TooSlow(BaseException):
    pass


@contextmanager
def _bounds(seconds: float) -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise _TooSlow

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    before = {number: signal.signal(number, stop) for number in (signal.SIGPROF, signal.SIGALRM)}
    resource.setrlimit(resource.RLIMIT_AS, (_status("VmSize") * 2**10 + _ADDRESSES, hard))
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.setitimer(signal.ITIMER_REAL, _WAITING * seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        for number, handler in before.items():
            signal.signal(number, handler)


def _reset_peak() -> int:
    """Let the peak begin anew; return what lies in memory now, in KiB."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _status(name: str) -> int:
    text = Path("/proc/self/status").read_text()
    return int(text.partition(f"{name}:")[2].split(maxsplit=1)[0])


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def fresh(folder: Path, names: Sequence[str] = ()) -> Path:
    """Return a folder, emptied of files of these names."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).unlink(missing_ok=True)
    return folder
