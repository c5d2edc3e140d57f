import http.client
import re
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from distracted_pipeline.addresses import Ports
from distracted_pipeline.errors import DistractedError
from distracted_pipeline.reports.serve import make_server, serve


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """A server over `reports`, beside which lies a secret."""
    site = tmp_path / "reports" / "2026-01-01-abc"
    site.mkdir(parents=True)
    (site / "index.html").write_text("the report")
    (tmp_path / "reports" / ".lock").write_text("hidden")
    (tmp_path / "reports" / "latest").symlink_to(site.name, target_is_directory=True)
    (tmp_path / "secret.txt").write_text("secret")
    (site / "out").symlink_to(tmp_path / "secret.txt")
    server = make_server(tmp_path / "reports", 0)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()
    thread.join()


def get(port: int, path: str, host: str = "127.0.0.1") -> tuple[int, bytes, str | None]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.putrequest("GET", path, skip_host=True)
    connection.putheader("Host", f"{host}:{port}")
    connection.endheaders()
    response = connection.getresponse()
    return response.status, response.read(), response.getheader("Location")


def test_the_root_leads_to_the_latest_report(port: int) -> None:
    assert get(port, "/")[0::2] == (302, "/latest/")
    assert get(port, "/latest/")[:2] == (200, b"the report")


def test_before_the_first_report_a_page_says_so_and_then_gives_way(port: int, tmp_path: Path) -> None:
    latest = tmp_path / "reports" / "latest"
    latest.unlink()
    status, body, _ = get(port, "/latest/")
    assert status == 200
    assert b"distracted run" in body
    assert b'http-equiv="refresh"' in body
    assert get(port, "/latest/data.html")[0] == 404
    latest.symlink_to("2026-01-01-abc", target_is_directory=True)
    assert get(port, "/latest/")[:2] == (200, b"the report")


def test_beside_the_ui_links_to_runs_lead_to_the_ports_that_it_has_now(tmp_path: Path) -> None:
    page = tmp_path / "latest" / "index.html"
    page.parent.mkdir()
    elsewhere = '<a href="https://tracking.example/#/runs/abc">elsewhere</a> http://127.0.0.1:3000/runs/ in a text'
    page.write_text(
        f'<a href="http://127.0.0.1:3000/runs/abc">Dagster</a> <a href="http://127.0.0.1:3001/#/runs/def">MLflow</a>{elsewhere}'
    )
    with make_server(tmp_path, 0, Ports.from_first(13000)) as server:
        thread = threading.Thread(target=lambda: [server.handle_request() for _ in range(2)])
        thread.start()
        for path in ("/latest/", "/latest/index.html"):
            body = get(server.server_address[1], path)[1].decode()
            assert re.findall(r'href="(.*?)"', body) == [
                "http://127.0.0.1:13000/runs/abc", "http://127.0.0.1:13001/#/runs/def",
                "https://tracking.example/#/runs/abc",
            ]  # fmt: skip
            assert body.endswith(elsewhere)
        thread.join()


def test_the_page_before_the_first_report_needs_no_folder_of_reports(tmp_path: Path) -> None:
    with make_server(tmp_path / "none", 0) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        assert get(server.server_address[1], "/latest/")[0] == 200
        thread.join()


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.txt",
        "/%2e%2e/secret.txt",
        "/latest/../../secret.txt",
        "/latest/%2e%2e%2f%2e%2e%2fsecret.txt",
        "/latest/out",
        "/latest/%00",
        "/.lock",
        "/2026-01-01-abc/missing.html",
        "//etc/passwd",
    ],
)
def test_nothing_outside_the_reports_is_served(port: int, path: str) -> None:
    status, body, _ = get(port, path)
    assert status == 404
    assert b"secret" not in body
    assert b"hidden" not in body


def test_folders_are_not_listed(port: int, tmp_path: Path) -> None:
    (tmp_path / "reports" / "empty").mkdir()
    assert get(port, "/empty/")[0] == 404


def test_a_foreign_host_name_is_refused(port: int) -> None:
    assert get(port, "/latest/", host="evil.example")[0] == 403


def test_writing_is_not_offered(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("PUT", "/latest/index.html", body=b"x")
    assert connection.getresponse().status == 501


def test_only_the_loopback_address_is_bound(tmp_path: Path) -> None:
    with make_server(tmp_path, 0) as server:
        assert server.server_address[0] == "127.0.0.1"


def test_a_taken_port_names_the_option(tmp_path: Path) -> None:
    with make_server(tmp_path, 0) as server, pytest.raises(DistractedError, match="--port"):
        make_server(tmp_path, server.server_address[1])


def test_ctrl_c_ends_it_with_a_word_and_frees_the_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: ThreadingHTTPServer) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ThreadingHTTPServer, "serve_forever", interrupted)
    said: list[str] = []
    serve(tmp_path, port=0, log=said.append)
    address = said[0].split("//")[1].split("/")[0]
    assert said[1:] == ["stopped"]
    make_server(tmp_path, int(address.split(":")[1])).server_close()
