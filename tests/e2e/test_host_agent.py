"""The host agent as it is shipped: a zip under `python -I -S`, a real circusd, real processes."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from blocks.host.agent import processes
from blocks.host.agent.config import AgentConfig, Layout
from blocks.host.agent.files import write_atomically
from blocks.host.agent.spec import (
    File,
    Health,
    HostSpec,
    HostStatus,
    Job,
    Service,
    ServiceStatus,
    Socket,
    from_json,
    to_json,
)
from blocks.host.bundle import build_agent

pytestmark = pytest.mark.e2e

PATIENCE = 20.0
"""Seconds until a wait is given up; nothing is asserted about how long things take."""

SERVER = """
import os, signal, socket
assert os.environ["LISTEN_FDS"] == "1" and os.environ["LISTEN_PID"] == str(os.getpid())
assert os.environ["LISTEN_FDNAMES"] == "web"
listening = socket.socket(fileno=3)
assert not os.get_blocking(3) and sorted(map(int, os.listdir("/proc/self/fd")))[:4] == [0, 1, 2, 3]
assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
listening.setblocking(True)  # Nobody else accepts on it in this test.
while True:
    connection, _ = listening.accept()
    connection.recv(1000)
    body = f"{os.getpid()} {os.environ['GREETING']} {os.environ['TOKEN']} {sorted(os.environ)}"
    connection.sendall(f"HTTP/1.1 200 OK\\r\\nContent-Length: {len(body)}\\r\\n\\r\\n{body}".encode())
    connection.close()
"""

SLEEPER = "import time; print('up', flush=True); time.sleep(10_000)"

RELOADER = """
import signal, sys, pathlib
def load(*_):
    pathlib.Path(sys.argv[2]).write_text(pathlib.Path(sys.argv[1]).read_text())
load()
signal.signal(signal.SIGHUP, load)
while True:
    signal.pause()
"""

WORKER = """
import pathlib, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(10_000)"])
pathlib.Path(sys.argv[1]).write_text(str(child.pid))
child.wait()
time.sleep(10_000)
"""


def python(code: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-I", "-S", "-c", code, *arguments)


def sleeper(name: str, **more: Any) -> Service:
    return Service(name, python(SLEEPER), **more)


def eventually(observe: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        value = observe()
        if value:
            return value
        time.sleep(0.03)
    raise AssertionError(f"waited in vain for {what}")


class Host:
    """One home with an agent, driven from outside as the launcher does."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.layout = Layout(home)
        self.layout.make()
        (home / "secrets").mkdir(mode=0o700)
        self.generation = 0
        write_atomically(self.layout.archive, build_agent(), 0o700)
        config = AgentConfig(str(home), "circus", circus_python=sys.executable)
        write_atomically(self.layout.config, to_json(config).encode(), 0o600)

    def agent(self, command: str, python: str = sys.executable) -> subprocess.CompletedProcess[str]:
        argv = [python, "-I", "-S", str(self.layout.archive), command, "--home", str(self.home)]
        return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)

    def start(self) -> int:
        done = self.agent("start")
        assert done.returncode == 0, done.stderr
        return int(done.stdout)

    def secret(self, name: str, value: str) -> None:
        write_atomically(self.home / "secrets" / name, value.encode(), 0o600)

    def want(self, **parts: Any) -> None:
        self.generation += 1
        spec = HostSpec("test", self.generation, **parts)
        write_atomically(self.layout.spec, to_json(spec).encode(), 0o600)

    def status(self) -> HostStatus:
        try:
            return from_json(HostStatus, self.layout.status.read_text())
        except FileNotFoundError:
            return HostStatus(-1)

    def service(self, name: str) -> ServiceStatus:
        found = [each for each in self.status().services if each.name == name]
        return found[0] if found else ServiceStatus(name, "pending")

    def converged(self) -> HostStatus:
        def look() -> HostStatus | None:
            status = self.status()
            done = {each.type: each.status for each in status.conditions}.get("Converged")
            return status if done and status.observed_generation == self.generation else None

        try:
            return eventually(look, "Converged")
        except AssertionError:
            print(self.layout.status.read_text(), *(each.read_text() for each in self.layout.logs.iterdir()))
            raise

    def condition(self, kind: str) -> Any:
        return next((each for each in self.status().conditions if each.type == kind), None)

    def state(self, name: str, *wanted: str) -> ServiceStatus:
        return eventually(lambda: (s := self.service(name)).state in wanted and s, f"{name} {wanted}")

    def circusd(self) -> int:
        return int(json.loads(self.layout.record("circusd").read_text())["pid"])

    def processes(self) -> list[int]:
        """Every process that has this home in its command line or environment, or is of its services."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                text = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
            except (OSError, ValueError):
                continue
            if entry.name.isdigit() and str(self.home).encode() in text:
                found.append(int(entry.name))
        return found


@pytest.fixture
def host() -> Iterator[Host]:
    # Not tmp_path: its length would leave no room for control sockets.
    with tempfile.TemporaryDirectory(prefix="agent-") as folder:
        host = Host(Path(folder).resolve())
        yield host
        done = host.agent("stop")
        assert done.returncode == 0, done.stderr
        assert host.processes() == []


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def get(port: int, timeout: float = PATIENCE) -> str:
    with socket.create_connection(("127.0.0.1", port), timeout) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
        received = b""
        while block := connection.recv(4096):
            received += block
    return received.partition(b"\r\n\r\n")[2].decode()


def web(port: int, greeting: str = "hello", **more: Any) -> Service:
    return Service(
        "web",
        python(SERVER),
        env={"GREETING": greeting, "HOME_OF_TEST": "x"},
        secrets={"TOKEN": "token"},
        sockets=("web",),
        health=Health("http", port=port, interval=0.1),
        **more,
    )


def test_services_start_in_order_with_sockets_secrets_and_a_clean_environment(host: Host) -> None:
    port = free_port()
    host.secret("token", "s3cret")
    host.want(
        sockets=(Socket("web", "127.0.0.1", port),),
        services=(web(port, after=("first",)), sleeper("first", health=Health(interval=0.1))),
    )
    began = time.monotonic()
    pid = host.start()
    status = host.converged()
    print(f"start until converged: {time.monotonic() - began:.2f} s")
    assert host.start() == pid == status.agent_pid
    answer = get(port)
    assert "hello s3cret" in answer
    assert "PYTHONDONTWRITEBYTECODE" not in answer and "PREFECT" not in answer
    assert int(answer.split()[0]) == host.service("web").pid
    assert (host.layout.log("first").stat().st_mode & 0o777) == 0o600
    assert "up" in host.layout.log("first").read_text()
    command = Path(f"/proc/{host.service('web').pid}/cmdline").read_bytes()
    assert b"s3cret" not in command
