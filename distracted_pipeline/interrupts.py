"""Where a signal may become an exception: anywhere but within an import.

PyTorch imports Python modules from C++, and an exception there aborts the process. Which signals end a process, when,
and with which exit code is `operations.stopping`; here is only their handler.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

AGAIN_S = 0.1
"""How soon a signal that came within an import is tried again."""

_IMPORT = "<frozen importlib._bootstrap>"

_TERMINALS = {getattr(signal, name) for name in ("SIGINT", "SIGHUP") if hasattr(signal, name)}
"""Signals that a terminal sends to all processes of a command at once."""


def interrupt(number: int, frame: FrameType | None) -> None:
    """Raise `KeyboardInterrupt`, as soon as no import is under way.

    Raises:
        KeyboardInterrupt: Where the signal came, or a little later.
    """
    while frame is not None:
        if frame.f_code.co_filename == _IMPORT:
            again = threading.Timer(AGAIN_S, _send, (number,))
            again.daemon = True
            again.start()
            return
        frame = frame.f_back
    raise KeyboardInterrupt


def _send(number: int) -> None:
    if hasattr(signal, "pthread_kill"):  # wakes the main thread out of a system call, too
        signal.pthread_kill(threading.main_thread().ident or 0, number)
    else:
        signal.raise_signal(number)


@contextmanager
def held() -> Iterator[None]:
    """Hold Ctrl-C and SIGHUP back in the block; a process that is started in it holds them until it calls `let_go`.

    Whoever starts the process ends it, too. Else a terminal's Ctrl-C meets it in its first imports, which print
    tracebacks.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    from multiprocessing import resource_tracker

    before = signal.pthread_sigmask(signal.SIG_BLOCK, _TERMINALS)
    try:
        resource_tracker.ensure_running()  # the first process would start it, which lets SIGINT through
        signal.pthread_sigmask(signal.SIG_BLOCK, _TERMINALS)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def let_go() -> None:
    """Take signals again that came since the `held` block in which this process was started."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _TERMINALS)


@contextmanager
def interruptible() -> Iterator[None]:
    """Have Ctrl-C and SIGTERM handled by `interrupt` in the block; beside the main thread nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
