"""Headless Chromium over its debugging pipe: visits pages and tells what they asked for and complained about.

No driver library: the protocol is JSON messages ended by NUL on two pipes.
"""

import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-pipe"),
    *("--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-extensions", "--mute-audio", "--no-default-browser-check"),
)
_LIMIT_S = 20


def until(true: Callable[[], object]) -> None:
    """Wait until something is true: what a browser does outside its page."""
    end = time.monotonic() + _LIMIT_S
    while not true():
        if time.monotonic() > end:
            raise TimeoutError("never true")
        time.sleep(0.02)


def find() -> str | None:
    """Return a Chromium, or None."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


@dataclass
class Visit:
    """What happened while a page was open."""

    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


class Browser:
    """One page of a running Chromium."""

    def __init__(self, writer: int, reader: int) -> None:
        self._writer, self._reader, self._rest, self._number = writer, reader, b"", 0
        self._visit = Visit()
        self._loaded = False
        self._session: str | None = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command and return its result."""
        self._number += 1
        number = self._number
        message: dict[str, Any] = {"id": number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._writer, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return dict(answer["result"])

    def open(self, url: str, width: int, dark: bool = False) -> Visit:
        """Load a page to the end, pictures included, and return what it did."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self._load("about:blank")  # else a page that differs behind # alone would not load
        self._visit = Visit()
        self._load(url)
        self.settle()
        return self._visit

    def settle(self) -> None:
        """Wait for all pictures, those below the fold too, which load lazily."""
        self.evaluate(
            "Promise.all([...document.images].map(i => {i.loading = 'eager';"
            "return i.complete || new Promise(done => {i.onload = i.onerror = done})}))"
        )

    def _load(self, url: str) -> None:
        self._loaded = False
        self.call("Page.navigate", url=url)
        while not self._loaded:
            self._read()

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression on the page."""
        result = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in result:
            raise RuntimeError(str(result["exceptionDetails"]))
        return result["result"].get("value")

    def wait(self, expression: str) -> Any:
        """Return the value of an expression as soon as it is true; a page's script runs after the page is loaded."""
        end = time.monotonic() + _LIMIT_S
        while time.monotonic() < end:
            try:
                if value := self.evaluate(expression):
                    return value
            except RuntimeError:  # between two pages there is none to ask
                pass
            time.sleep(0.02)
        raise TimeoutError(f"never true: {expression}")

    def click(self, selector: str) -> None:
        """Click the middle of an element with the mouse."""
        place = self.evaluate(
            f"(e => {{e.scrollIntoView({{block: 'center'}}); const b = e.getBoundingClientRect();"
            f"return [b.x + b.width / 2, b.y + b.height / 2]}})(document.querySelector({json.dumps(selector)}))"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", clickCount=1)

    def press(self, key: str, code: int) -> None:
        """Press and release a key, by its name and its number."""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)

    def _read(self) -> dict[str, Any]:
        end = time.monotonic() + _LIMIT_S
        while b"\0" not in self._rest:
            if not select.select([self._reader], [], [], max(0, end - time.monotonic()))[0]:
                raise TimeoutError(f"no answer from Chromium within {_LIMIT_S} s")
            part = os.read(self._reader, 1 << 16)
            if not part:
                raise RuntimeError("Chromium ended")
            self._rest += part
        line, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        self._note(message.get("method", ""), message.get("params", {}))
        return message

    def _note(self, method: str, params: dict[str, Any]) -> None:
        if method == "Page.loadEventFired":
            self._loaded = True
        elif method == "Network.requestWillBeSent":
            self._visit.requests.append(params["request"]["url"])
        elif method == "Network.loadingFailed":
            self._visit.failed.append(params.get("errorText", ""))
        elif method == "Runtime.exceptionThrown":
            self._visit.complaints.append(params["exceptionDetails"]["text"])
        elif method == "Runtime.consoleAPICalled":
            self._visit.complaints.append(f"console.{params['type']}")
        elif method == "Log.entryAdded":
            self._visit.complaints.append(params["entry"]["text"])


@contextmanager
def running(profile: Path) -> Iterator[Browser]:
    """Run a Chromium with a fresh profile."""
    command = find()
    assert command
    to_child, ours_out = os.pipe()
    ours_in, from_child = os.pipe()

    def wire() -> None:  # Chromium reads on 3 and writes on 4
        reader, writer = os.dup(to_child), os.dup(from_child)
        os.dup2(reader, 3)
        os.dup2(writer, 4)

    child = subprocess.Popen(
        [command, *_FLAGS, f"--user-data-dir={profile}", "about:blank"],
        preexec_fn=wire,
        close_fds=False,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(to_child)
    os.close(from_child)
    try:
        yield Browser(ours_out, ours_in)
    finally:
        child.terminate()
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        os.close(ours_out)
        os.close(ours_in)
