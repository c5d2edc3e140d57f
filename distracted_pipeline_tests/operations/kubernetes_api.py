"""A Kubernetes API server of thirty lines: takes Jobs, remembers them, and says that they failed."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml


@dataclass
class KubernetesApi:
    """Where it listens, what it was asked to run, and what it answers."""

    kubeconfig: Path
    jobs: list[dict[str, Any]] = field(default_factory=list)
    status: int = 200


@contextmanager
def kubernetes_api(folder: Path) -> Iterator[KubernetesApi]:
    api = KubernetesApi(folder / "kubeconfig")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            failed = {"conditions": [{"type": "Failed", "status": "True"}], "failed": 1}
            name = self.path.partition("?")[0].rstrip("/").removesuffix("/status").rpartition("/")[2]
            if name == "jobs":
                self._answer({"kind": "JobList", "apiVersion": "batch/v1", "items": []})
            elif name == "pods":
                self._answer({"kind": "PodList", "apiVersion": "v1", "items": []})
            else:
                job = next((job for job in api.jobs if job["metadata"]["name"] == name), {})
                self._answer(job | {"status": failed})

        def do_POST(self) -> None:
            job = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            api.jobs.append(job | {"path": self.path})
            self._answer(job)

        def _answer(self, body: dict[str, Any]) -> None:
            refused = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": api.status}
            data = json.dumps(body if api.status == 200 else refused).encode()
            self.send_response(api.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    api.kubeconfig.write_text(yaml.safe_dump(_kubeconfig(f"http://127.0.0.1:{server.server_port}")))
    try:
        yield api
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _kubeconfig(server: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "fake", "cluster": {"server": server}}],
        "users": [{"name": "fake", "user": {"token": "fake"}}],
        "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "fake"}}],
        "current-context": "fake",
    }
