"""Websockets through the front door: which pass, and how a handshake is held while the server is away."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus

from tests.front_door import FrontDoor, front_door, http_server, websocket_server
from tests.postgres import base_environment, free_port

LIST_WEBSOCKETS = """
import json
from fastapi.routing import iter_route_contexts
from prefect.server.api.server import create_app

def walk(routes, prefix=""):
    for each in iter_route_contexts(routes):
        route = each.original_route
        path = prefix + (each.path or getattr(route, "path", ""))
        if "WebSocket" in type(route).__name__:
            yield path
        yield from walk(getattr(route, "routes", None) or [], path)

print(json.dumps(sorted(walk(create_app().routes))))
"""
KNOWN_WEBSOCKETS = {
    "/api/events/in",
    "/api/events/out",
    "/api/logs/out",
    "/api/task_runs/subscriptions/scheduled",
    "/api/work_pools/{work_pool_name}/workers/connect",
}


@pytest.fixture(scope="module")
def echoing() -> Iterator[FrontDoor]:
    """In front of a server that accepts a websocket on any path but /api/forbidden."""
    port = free_port()
    with websocket_server(port), front_door(port, READ_TIMEOUT="300ms") as door:
        yield door


def test_every_websocket_of_the_installed_server_passes(echoing: FrontDoor, tmp_path: Path) -> None:
    listed = subprocess.run(
        [sys.executable, "-c", LIST_WEBSOCKETS],
        env=base_environment(tmp_path),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert listed.returncode == 0, listed.stderr
    routes = json.loads(listed.stdout)
    assert set(routes) >= KNOWN_WEBSOCKETS, "the walk over the routes misses some"
    for route in [*routes, "/api/of/a/later/version"]:
        with echoing.websocket(re.sub(r"{\w+}", "my%20pool", route)) as connection:
            assert connection.subprotocol == "prefect"
            connection.send("hello")
            assert connection.recv(timeout=30) == "hello"


def test_an_idle_websocket_outlives_the_read_timeout_of_calls(echoing: FrontDoor) -> None:
    with echoing.websocket("/api/events/out") as connection:
        with pytest.raises(TimeoutError):
            connection.recv(timeout=0.9)
        connection.send("still here")
        assert connection.recv(timeout=30) == "still here"


def test_the_servers_own_refusal_passes(echoing: FrontDoor) -> None:
    with pytest.raises(InvalidStatus) as refused:
        echoing.websocket("/api/forbidden")
    assert refused.value.response.status_code == 403


def test_a_refused_handshake_is_held_until_the_server_is_back() -> None:
    port, back, done = free_port(), threading.Event(), threading.Event()

    def come_back() -> None:
        with websocket_server(port):
            back.set()
            done.wait(10)

    with front_door(port, WEBSOCKET_HOLD_BRIEFLY="300ms") as door:
        server = threading.Timer(0.5, come_back)
        server.start()
        try:
            with door.websocket("/api/events/in") as connection:
                assert back.is_set()
                assert "www-authenticate" not in connection.response.headers  # type: ignore[union-attr]
                connection.send("kept")
                assert connection.recv(timeout=30) == "kept"
        finally:
            done.set()
            server.join()
        assert "refused" in door.log.read_text()


def test_while_it_is_held_the_clients_own_timeout_ends_it() -> None:
    """Prefect's client tries again after its timeout, but drops the event on any status."""
    with front_door(free_port(), WEBSOCKET_HOLD_BRIEFLY="2s") as door, pytest.raises(TimeoutError):
        door.websocket("/api/events/in", open_timeout=0.5)


def test_the_hold_ends_with_the_maintenance_answer() -> None:
    with front_door(free_port()) as door:
        with pytest.raises(InvalidStatus) as ended:
            door.websocket("/api/events/in")
        assert door.log.read_text().count("refused") == 5
    assert ended.value.response.status_code == 503
    assert ended.value.response.headers["prefect-maintenance"] == "true"


def test_a_handshake_closed_without_an_answer_is_held_too() -> None:
    with http_server() as server, front_door(server.port) as door:
        with pytest.raises(InvalidStatus) as ended:
            door.websocket("/close")
        assert server.seen == ["GET /close"] * 5
    assert ended.value.response.status_code == 503


def test_what_holds_a_handshake_cannot_be_called() -> None:
    with http_server() as server, front_door(server.port) as door, door.client() as client:
        assert client.get("/.refuse").status_code == 404
        assert server.seen == []
