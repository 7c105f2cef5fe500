"""The front door over HTTP: a real nginx from the template, in front of a small real server."""

from __future__ import annotations

import gzip
import os
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from blocks.local import nginx
from tests.front_door import (
    FrontDoor,
    Upstream,
    front_door,
    http_server,
    is_listening,
    nginx_argv,
    wait_for,
    write_configuration,
)
from tests.postgres import free_port

SECURITY_HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "SAMEORIGIN",
    "content-security-policy": "frame-ancestors 'self'",
    "referrer-policy": "strict-origin-when-cross-origin",
}


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with http_server() as server:
        yield server


@pytest.fixture
def door(upstream: Upstream) -> Iterator[FrontDoor]:
    with front_door(upstream.port) as running:
        yield running


@pytest.fixture
def client(door: FrontDoor) -> Iterator[httpx.Client]:
    with door.client() as open_client:
        yield open_client


@pytest.fixture
def away() -> Iterator[httpx.Client]:
    """A client of a front door whose server refuses connections."""
    with front_door(free_port()) as running, running.client() as open_client:
        yield open_client


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that does not answer a connection at all: its backlog is full."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, ExitStack() as stack:
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        yield int(full.getsockname()[1])


def assert_maintenance(answer: httpx.Response) -> None:
    assert answer.status_code == 503
    assert answer.headers["prefect-maintenance"] == "true"
    assert int(answer.headers["retry-after"]) > 0


# ---------------------------------------------------------------- configuration


def test_nginx_accepts_the_production_configuration(tmp_path: Path) -> None:
    conf = write_configuration(tmp_path, nginx.variables("127.0.0.1", free_port(), "127.0.0.1", 4201))
    done = subprocess.run([*nginx_argv(tmp_path, conf), "-t"], capture_output=True, text=True, timeout=10)
    assert done.returncode == 0, done.stderr
    assert "warn" not in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="the other tests run nginx unprivileged already")
def test_nginx_runs_unprivileged(upstream: Upstream) -> None:
    with tempfile.TemporaryDirectory(prefix="front-door-") as name:
        folder, port = Path(name), free_port()
        folder.chmod(0o755)
        binary = shutil.copy(nginx_argv(folder, folder)[0], folder / "nginx")
        write_configuration(folder, nginx.variables("127.0.0.1", port, "127.0.0.1", upstream.port))
        (folder / "run").mkdir()
        shutil.chown(folder / "run", "nobody")
        conf = folder / "nginx.conf"
        conf.write_text(nginx.main_conf(folder / "run", folder / "site.conf"), encoding="utf-8")
        with (folder / "log").open("wb") as log:
            argv = [binary, *nginx_argv(folder / "run", conf)[1:]]
            child = subprocess.Popen(argv, user="nobody", group="nogroup", stderr=log)
        try:
            wait_for(lambda: is_listening(port), folder / "log")
            assert httpx.get(f"http://127.0.0.1:{port}/echo", trust_env=False).status_code == 200
        finally:
            child.terminate()
            child.wait(timeout=10)
        assert (folder / "log").read_text() == ""


# ---------------------------------------------------------------- passing through


def test_the_server_sees_the_clients_host_and_a_kept_connection(door: FrontDoor, client: httpx.Client) -> None:
    first, second = (client.get("/echo?a=%2F", headers={"Accept-Encoding": "gzip"}).json() for _ in range(2))
    assert first["connection"] == second["connection"]
    assert (first["path"], first["version"]) == ("/echo?a=%2F", "HTTP/1.1")
    assert first["headers"]["host"] == f"127.0.0.1:{door.port}"
    assert first["headers"]["x-forwarded-host"] == f"127.0.0.1:{door.port}"
    assert first["headers"]["x-forwarded-for"] == "127.0.0.1"
    assert first["headers"]["x-forwarded-proto"] == "http"
    assert not {"connection", "upgrade", "accept-encoding"} & set(first["headers"])


def test_what_stands_in_front_of_us_is_believed(client: httpx.Client) -> None:
    outer = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "prefect.example.org", "X-Forwarded-For": "192.0.2.7"}
    headers = client.get("/echo", headers=outer).json()["headers"]
    assert headers["x-forwarded-proto"] == "https"
    assert headers["x-forwarded-host"] == "prefect.example.org"
    assert headers["x-forwarded-for"] == "192.0.2.7, 127.0.0.1"


@pytest.mark.parametrize("host", ["127.0.0.1:4200", "prefect.example.org"])
@pytest.mark.parametrize("proto", ["http", "https"])
def test_a_redirect_comes_back_to_the_front_door(client: httpx.Client, host: str, proto: str) -> None:
    answer = client.get("/redirect", headers={"Host": host, "X-Forwarded-Proto": proto})
    assert (answer.status_code, answer.headers["location"]) == (307, "/target")


@pytest.mark.parametrize("status", [401, 404, 418, 500, 502, 503, 504])
def test_an_error_of_the_servers_own_passes_unchanged(client: httpx.Client, status: int) -> None:
    answer = client.get(f"/status/{status}", headers={"Accept": "text/html"})
    assert answer.status_code == status
    assert answer.json()["path"] == f"/status/{status}"
    assert "prefect-maintenance" not in answer.headers
    assert SECURITY_HEADERS.items() <= dict(answer.headers).items()


def test_headers_tell_no_version(client: httpx.Client, away: httpx.Client) -> None:
    for answer in (client.get("/echo"), away.get("/echo"), away.get("/startup")):
        assert answer.headers.get_list("x-frame-options") == ["SAMEORIGIN"]
        assert SECURITY_HEADERS.items() <= dict(answer.headers).items()
        assert answer.headers["server"] == "nginx"


def test_bodies_up_to_the_bound_pass(client: httpx.Client) -> None:
    assert client.post("/echo", content=bytes(5_000_000)).json()["body"] == 5_000_000
    assert client.post("/echo", content=bytes(33 * 2**20)).status_code == 413


def test_scripts_are_compressed_here(door: FrontDoor) -> None:
    with door.client() as client, client.stream("GET", "/script.js") as answer:
        raw = b"".join(answer.iter_raw())
    assert answer.headers["content-encoding"] == "gzip"
    assert gzip.decompress(raw) == b"let x = 1;" * 1000
    plain = httpx.get(str(answer.url), headers={"Accept-Encoding": "identity"}, trust_env=False)
    assert "content-encoding" not in plain.headers


# ---------------------------------------------------------------- the server is away


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_refused_tells_programs_to_wait(away: httpx.Client, method: str) -> None:
    answer = away.request(method, "/api/flow_runs/", content=b"{}")
    assert_maintenance(answer)
    assert answer.headers["content-type"] == "application/json"
    assert "cannot be reached" in answer.json()["detail"]


def test_refused_shows_people_a_page(away: httpx.Client) -> None:
    answer = away.get("/runs", headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    assert_maintenance(answer)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert '<meta http-equiv="refresh" content="5">' in answer.text


def test_a_silent_host_tells_programs_to_wait(silent_port: int) -> None:
    with front_door(silent_port) as door, door.client() as client:
        assert_maintenance(client.post("/api/logs/", content=b"[]"))
        assert client.get("/startup").status_code == 503
        assert_maintenance(client.get("/health"))


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_closed_without_an_answer_is_said_to_be_safe_where_it_is(client: httpx.Client, method: str) -> None:
    assert_maintenance(client.request(method, "/close"))


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_what_may_have_been_carried_out_is_tried_once(upstream: Upstream, client: httpx.Client, method: str) -> None:
    client.get("/echo")  # so that the next one goes over a kept connection, which nginx would replace
    answer = client.request(method, "/close", content=b"{}")
    assert answer.status_code == 502
    assert "prefect-maintenance" not in answer.headers
    assert upstream.seen.count(f"{method} /close") == 1


def test_no_answer_in_time_is_no_maintenance(upstream: Upstream) -> None:
    with front_door(upstream.port, READ_TIMEOUT="200ms") as door, door.client() as client:
        answer = client.post("/silent", content=b"{}")
    assert answer.status_code == 504
    assert "prefect-maintenance" not in answer.headers


def test_on_a_held_socket_requests_wait() -> None:
    """Nobody accepts at first: the startup probe passes at once, the call is answered when a server comes."""
    with Upstream() as held, front_door(held.port) as door, door.client() as client:
        assert client.get("/startup").status_code == 200
        late = threading.Timer(0.7, held.serve_forever, args=(0.02,))
        late.start()
        assert client.post("/echo", content=b"{}").status_code == 200
        held.shutdown()
        late.join()


# ---------------------------------------------------------------- probes


@pytest.mark.parametrize("health", [200, 401, 404, 500, 503])
def test_startup_passes_on_any_answer(client: httpx.Client, upstream: Upstream, health: int) -> None:
    upstream.health = health
    assert client.get("/startup").status_code == 200
    assert client.get("/health").status_code == health


def test_startup_passes_on_a_refusal_and_health_does_not(away: httpx.Client) -> None:
    assert away.get("/startup").status_code == 200
    assert_maintenance(away.get("/health"))


def test_health_is_the_servers_own_health(client: httpx.Client, upstream: Upstream) -> None:
    assert client.get("/health").json()["path"] == "/api/health"
    assert client.head("/health").status_code == 200
    assert upstream.seen == ["GET /api/health"] * 2
