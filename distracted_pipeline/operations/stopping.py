"""One Ctrl-C, `docker stop` or closed terminal ends a command within two seconds, with the exit code of its signal.

Dagster turns SIGINT and SIGTERM into exceptions, but forgets which of the two it was, drops one that comes between two
steps, calls the run failed, and waits for code that does not return to Python. Whatever handler is installed, Python
also writes the number of every signal to a socket: a thread reads it here, and ends the process where that has not
ended by itself in time. Nothing is lost by that: every file appears whole or not at all.

Belongs here: signals, and what becomes of the Dagster runs that this process executes. Does not belong here: which
failures are tried again (`assets.compute`).
"""

import atexit
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING
from uuid import uuid4

import psutil

from distracted_pipeline.interrupts import interrupt
from distracted_pipeline.training.provenance import PROCESS, is_gone

if TYPE_CHECKING:
    import dagster as dg

GRACE_S = 1.0
"""How long a process may take to end by itself; some masks and a few lines of history are written in that time."""

HISTORY_S = 0.8
"""How long it may then take to note that its runs were canceled."""

MESSAGE = "Stopped. What was finished is kept; the same command goes on from there."

_HANGUP = getattr(signal, "SIGHUP", None)  # Windows has none
_SIGNALS = {number for number in (signal.SIGINT, signal.SIGTERM, _HANGUP) if number is not None}


class _Listener:
    """Knows which signal came first, and ends the process if nobody else does."""

    def __init__(self) -> None:
        self.number: int | None = None
        self.grace: float | None = GRACE_S
        self.runs: dict[str, dg.DagsterInstance] = {}
        self.children_report_to: dg.DagsterInstance | None = None
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        self._before = {number: signal.getsignal(number) for number in _SIGNALS}
        self._wakeup = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM):
            # A shell that starts us in the background turns Ctrl-C off. Dagster's own handlers stay.
            if self._before[number] in (signal.default_int_handler, signal.SIG_DFL, signal.SIG_IGN):
                signal.signal(number, interrupt)
        if _HANGUP is not None and self._before[_HANGUP] is signal.SIG_DFL:  # with nohup, it stays ignored
            signal.signal(_HANGUP, _as_interrupt)
        threading.Thread(target=self._listen, name="stopping", daemon=True).start()

    def close(self) -> None:
        """Stop listening, as if nothing had been; after a signal, go on until the process has ended."""
        if self.number is not None:
            return
        signal.set_wakeup_fd(self._wakeup)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._writer.close()

    def _listen(self) -> None:
        while received := self._reader.recv(1):
            if received[0] not in _SIGNALS or self.number is not None:
                continue
            self.number = received[0]
            if self.grace is not None:
                time.sleep(self.grace)
                self._end()
        self._reader.close()

    def _end(self) -> None:
        """End the process, its children too, wherever its threads are."""
        children = psutil.Process().children(recursive=True)
        for child in children:
            with suppress(psutil.Error):
                child.kill()
        history = threading.Thread(
            target=self._cancel_runs, args=({str(child.pid) for child in children},), daemon=True
        )
        history.start()
        history.join(HISTORY_S)  # the database may be what does not return
        say_stopped()
        os._exit(exit_code())

    def _cancel_runs(self, children: set[str]) -> None:
        import dagster as dg

        from distracted_pipeline.operations.timeline import process_of

        at_work = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
        for run_id, instance in list(self.runs.items()):
            cancel(run_id, instance)
        if self.children_report_to is not None:
            for run in self.children_report_to.get_runs(dg.RunsFilter(statuses=at_work)):
                process = process_of(run)
                if process.get(PROCESS) in children or is_gone(process):
                    cancel(run.run_id, self.children_report_to)


_listener: _Listener | None = None


@contextmanager
def listening() -> Iterator[None]:
    """Let signals end the block with `KeyboardInterrupt`, or with Dagster's own, and the process soon after.

    SIGHUP counts as SIGINT does. Inside another such block, or beside the main thread, nothing changes.
    """
    global _listener
    if _listener is not None or threading.current_thread() is not threading.main_thread():
        yield
        return
    _listener = _Listener()
    try:
        yield
    finally:
        _listener.close()
        if _listener.number is None:
            _listener = None


def take_your_time() -> None:
    """Let this command end by itself, however long that takes: it has servers to stop."""
    if _listener is not None:
        _listener.grace = None


def received() -> int | None:
    """Return the number of the first signal that asked this process to end; None where none has."""
    return None if _listener is None else _listener.number


def exit_code() -> int:
    """Return what shells expect of a process that a signal ended: 130 after Ctrl-C, 143 after SIGTERM."""
    return 128 + (received() or signal.SIGINT)


@atexit.register
def _end_at_once() -> None:
    """After a signal, leave out what Python tears down at the very end: with torch loaded that takes seconds.

    A command that took its time has ended as it should: servers have no other end.
    """
    if _listener is not None and _listener.number is not None and _listener.grace is not None:
        with suppress(OSError, ValueError):
            sys.stdout.flush()
        os._exit(exit_code())


def say_stopped() -> None:
    """Say on standard error that nothing is lost; there may be no terminal left to read it."""
    with suppress(OSError, ValueError):
        print(f"\n{MESSAGE}", file=sys.stderr, flush=True)


@contextmanager
def stoppable_run(instance: "dg.DagsterInstance") -> Iterator[str]:
    """Yield the id for a new Dagster run that is executed in the block; interrupted, the run counts as canceled.

    Raises:
        KeyboardInterrupt: A signal came, even one that came between two steps and that Dagster has forgotten.
    """
    import dagster as dg

    run_id = str(uuid4())
    instance.add_event_listener(run_id, lambda event: _on_event(instance, event))
    try:
        with executing(instance, run_id):
            yield run_id
        if received():
            raise KeyboardInterrupt
    except (KeyboardInterrupt, dg.DagsterExecutionInterruptedError) as error:
        cancel(run_id, instance)
        raise KeyboardInterrupt from error


@contextmanager
def executing(instance: "dg.DagsterInstance", run_id: str) -> Iterator[None]:
    """Have a run counted as canceled if this process must be ended within the block."""
    if _listener is not None:
        _listener.runs[run_id] = instance
    try:
        yield
    finally:
        if _listener is not None:
            _listener.runs.pop(run_id, None)


@contextmanager
def ending_with_children(instance: "dg.DagsterInstance") -> Iterator[None]:
    """Have the runs of this process's children counted as canceled, too, if all must be ended within the block."""
    if _listener is not None:
        _listener.children_report_to = instance
    try:
        yield
    finally:
        if _listener is not None:
            _listener.children_report_to = None


def request_cancel(run_id: str, instance: "dg.DagsterInstance") -> None:
    """Note that a run is to be canceled: an interruption of such a run is no failure to Dagster."""
    import dagster as dg

    run = instance.get_run_by_id(run_id)
    if run is not None and not run.is_finished and run.status != dg.DagsterRunStatus.CANCELING:
        instance.report_run_canceling(run, message="Stopped by a signal.")


def cancel(run_id: str, instance: "dg.DagsterInstance") -> None:
    """Note that a run was canceled, unless it had succeeded before."""
    import dagster as dg

    run = instance.get_run_by_id(run_id)
    if run is not None and run.status not in (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.CANCELED):
        instance.report_run_canceled(run, message="Stopped by a signal.")


def _on_event(instance: "dg.DagsterInstance", event: "dg.EventLogEntry") -> None:
    # Before Dagster decides whether the run has failed or was canceled, it reports the step that was interrupted.
    if received() and event.dagster_event is not None and event.dagster_event.is_step_failure:
        request_cancel(event.run_id, instance)


def _as_interrupt(number: int, frame: object) -> None:
    """Do what Ctrl-C does at this moment: Dagster installs other handlers as it goes."""
    handler = signal.getsignal(signal.SIGINT)
    if callable(handler):
        handler(number, frame)  # type: ignore[arg-type]
