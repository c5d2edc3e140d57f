"""A report on this machine's own browser: static files of one folder, on the loopback address only.

What is in the folder is `build`'s business. Nothing is listed, nothing is written, nothing outside the
folder is reachable, symbolic links included. While there is no report, a page says so and waits for it.
Beside Dagster and MLflow, links to their runs lead to the ports that these have now, whenever a page was written.
"""

import re
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any

from distracted_pipeline.addresses import HOST, Ports, local
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.progress import Log
from distracted_pipeline.reports.folders import LATEST

_NO_REPORT = b"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark"><meta http-equiv="refresh" content="10">
<title>No report yet</title></head>
<body><h1>No report yet</h1>
<p>It appears here after the first two variants, and grows with the others.
Type <code>distracted run</code> in a terminal if nothing runs; this page looks again every ten seconds.</p>
</body></html>
"""

_RUN_LINK = re.compile(rf'href="http://{re.escape(HOST)}:\d+(?P<path>/runs/|/#/)'.encode())
"""A link to a run: Dagster's paths begin with `/runs/`, MLflow's with `/#/`."""

_LOCAL_NAMES = frozenset({"127.0.0.1", "localhost"})


def serve(reports: Path, *, port: int, ports: Ports | None = None, log: Log = print) -> None:
    """Serve a folder of reports until Ctrl-C.

    Args:
        reports: `<data root>/reports`; `/` leads to its latest report.
        port: On the loopback address; 0 takes any free one.
        ports: Those of Dagster and MLflow where they run beside it.
        log: Receives the address.

    Raises:
        DistractedError: The port is taken.
    """
    with make_server(reports, port, ports) as server:
        log(f"report: http://{HOST}:{server.server_address[1]}/{LATEST}/  (Ctrl-C ends it)")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            log("stopped")


def make_server(reports: Path, port: int, ports: Ports | None = None) -> ThreadingHTTPServer:
    """Return a server that is bound but does not serve yet.

    Raises:
        DistractedError: The port is taken.
    """
    handler = partial(_Handler, directory=str(reports.resolve()), ports=ports)
    try:
        return ThreadingHTTPServer((HOST, port), handler)
    except OSError as error:
        raise DistractedError(
            f"port {port} on {HOST} is taken ({error.strerror}). Type `distracted report serve --port {port + 1}`."
        ) from error


class _Handler(SimpleHTTPRequestHandler):
    """GET and HEAD of files below the folder; no listings."""

    server_version = "distracted-report"
    sys_version = ""

    def __init__(self, *args: Any, ports: Ports | None = None, **kwargs: Any) -> None:
        self._ports = ports
        super().__init__(*args, **kwargs)

    def send_head(self) -> Any:
        """Refuse what lies outside the folder or asks for a foreign host name; else as the base class."""
        # A page elsewhere on the web must not reach this server through a name of its own (DNS rebinding).
        host = self.headers.get("Host", "").rsplit(":", 1)[0]
        if host not in _LOCAL_NAMES:
            return self._refuse(HTTPStatus.FORBIDDEN)
        if self.path in ("/", ""):
            self.send_response(HTTPStatus.FOUND)
            self.send_header("Location", f"/{LATEST}/")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return None
        root = Path(self.directory)
        try:
            target = Path(self.translate_path(self.path)).resolve()
        except (OSError, ValueError):  # NUL, names too long
            return self._refuse(HTTPStatus.NOT_FOUND)
        hidden = (
            any(part.startswith(".") for part in target.relative_to(root).parts)
            if target.is_relative_to(root)
            else True
        )
        if hidden:
            return self._refuse(HTTPStatus.NOT_FOUND)
        if target == (root / LATEST).resolve() and not (target / "index.html").is_file():
            return self._page(_NO_REPORT)
        page = target / "index.html" if target.is_dir() and self.path.endswith("/") else target
        if self._ports and page.suffix == ".html" and page.is_file():
            return self._page(_RUN_LINK.sub(self._link, page.read_bytes()))
        return super().send_head()

    def list_directory(self, path: Any) -> None:
        """Refuse to list a folder."""
        self._refuse(HTTPStatus.NOT_FOUND)

    def end_headers(self) -> None:
        """Add what keeps browsers from guessing types and from keeping an old report."""
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Stay quiet: the terminal belongs to the person."""

    def _link(self, found: re.Match[bytes]) -> bytes:
        assert self._ports is not None
        path = found["path"].decode()
        port = self._ports.dagster if path == "/runs/" else self._ports.mlflow
        return f'href="{local(port)}{path}'.encode()

    def _page(self, text: bytes) -> BytesIO:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        return BytesIO(text)

    def _refuse(self, status: HTTPStatus) -> None:
        self.send_error(status)
