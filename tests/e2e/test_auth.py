"""Nothing but what is listed answers without the auth string."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import uuid
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from tests.postgres import base_environment
from tests.stack import Stack

pytestmark = pytest.mark.e2e

LIST_ROUTES = """
import json
from fastapi.routing import iter_route_contexts
from prefect.server.api.server import create_app

def walk(routes, prefix=""):
    for each in iter_route_contexts(routes):
        route = each.original_route
        path = prefix + (each.path or getattr(route, "path", ""))
        inside = getattr(route, "routes", None)
        if inside:
            yield from walk(inside, path)
        else:
            yield type(route).__name__, path, sorted(getattr(route, "methods", None) or [])

print(json.dumps(list(walk(create_app().routes))))
"""
OPEN = {
    ("GET", "/api/health"),
    ("GET", "/api/ready"),
    ("GET", "/ui-settings"),
}
"""All that answers without the auth string, besides the UI's own files."""
GONE = {
    (method, path)
    for method in ("GET", "HEAD")
    for path in ("/docs", "/docs/oauth2-redirect", "/openapi.json", "/redoc")
}
"""Prefect's description of the API, which our server does not have."""
WRONG = (None, ("admin", "wrong"), ("admin", ""), ("", ""))


@pytest.fixture(scope="module")
def routes(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, str, list[str]]]:
    """Kind, path and methods of every route of the installed server."""
    folder = tmp_path_factory.mktemp("routes")
    done = subprocess.run(
        [sys.executable, "-c", LIST_ROUTES],
        env=base_environment(folder) | {"PREFECT_UI_STATIC_DIRECTORY": str(folder / "ui")},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return [(kind, path, methods) for kind, path, methods in json.loads(done.stdout)]


def filled(path: str) -> str:
    """A path with every parameter given a plausible value."""
    return re.sub(r"{\w+(:\w+)?}", str(uuid.UUID(int=7)), path)


def test_every_route_but_the_listed_wants_the_auth_string(
    stack: Stack, routes: list[tuple[str, str, list[str]]]
) -> None:
    calls = {(method, path) for _, path, methods in routes for method in methods} | {("GET", "/api/health")}
    assert len(calls) > 180, "the walk over the routes misses some"
    with httpx.Client(base_url=stack.url, trust_env=False, timeout=30) as strangers:
        answers = {call: strangers.request(call[0], filled(call[1])).status_code for call in sorted(calls)}
    assert {call for call, status in answers.items() if status != 401} == OPEN | GONE
    assert {answers[call] for call in GONE} == {404}


@pytest.mark.parametrize("auth", WRONG, ids=str)
def test_a_wrong_auth_string_is_refused(stack: Stack, auth: tuple[str, str] | None) -> None:
    calls = [("GET", "/api/admin/version"), ("POST", "/api/flow_runs/filter"), ("HEAD", "/api/health")]
    with httpx.Client(base_url=stack.url, trust_env=False, timeout=30) as client:
        for method, path in [*calls, ("DELETE", filled("/api/deployments/{id}")), ("GET", "/api/static/x")]:
            assert client.request(method, path, auth=auth).status_code == 401, (method, path)


def test_the_auth_string_opens(stack: Stack) -> None:
    user, _, password = stack.secret("auth-string").partition(":")
    answer = httpx.get(f"{stack.url}/api/admin/version", auth=(user, password), trust_env=False, timeout=30)
    assert (answer.status_code, answer.json()) == (200, "3.8.8")


def test_every_websocket_refuses_a_wrong_token(stack: Stack, routes: list[tuple[str, str, list[str]]]) -> None:
    paths = [filled(path) for kind, path, _ in routes if "WebSocket" in kind]
    assert len(paths) >= 5, "the walk over the routes misses some"
    for path in paths:
        for message in ({"type": "auth", "token": "admin:wrong"}, {"type": "auth"}, {"type": "hello"}):
            assert said(stack, path, message) == "refused", (path, message)


def test_the_websockets_of_clients_take_the_auth_string(stack: Stack) -> None:
    token = {"type": "auth", "token": stack.secret("auth-string")}
    for path in ("/api/events/in", "/api/events/out", "/api/logs/out", "/api/work_pools/default/workers/connect"):
        assert said(stack, path, token) == "auth_success", path


def said(stack: Stack, path: str, message: dict[str, str]) -> str:
    """What a websocket says to a first message; `refused` when it closes."""
    url = stack.url.replace("http", "ws") + path
    try:
        with connect(url, subprotocols=[Subprotocol("prefect")], open_timeout=30, proxy=None) as connection:
            connection.send(json.dumps(message))
            return str(json.loads(connection.recv(timeout=30))["type"])
    except ConnectionClosed:
        return "refused"


def test_the_servers_own_port_wants_the_auth_string_too(stack: Stack) -> None:
    direct = f"http://127.0.0.1:{stack.port + 1}"
    assert httpx.get(f"{direct}/api/admin/version", trust_env=False, timeout=30).status_code == 401


def test_the_database_wants_its_password(stack: Stack, tmp_path: Path) -> None:
    environment = {"PATH": "/usr/bin:/bin", "PGPASSWORD": "wrong", "PGCONNECT_TIMEOUT": "10"}
    for user in ("postgres", "prefect"):
        argv = [str(stack.programs / "psql"), "-h", "127.0.0.1", "-p", str(stack.port + 2), "-U", user, "-l"]
        done = subprocess.run(argv, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 2 and "password authentication failed" in done.stderr
