"""A host agent as it is shipped, in a home of its own, driven from outside as the launcher does."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from blocks.agent.config import AgentConfig, Layout
from blocks.agent.files import write_atomically
from blocks.agent.spec import HostSpec, HostStatus, Service, ServiceStatus, from_json, to_json
from blocks.host import service_manager
from blocks.host.bundle import build_agent

PATIENCE = 60.0
"""Seconds until a wait is given up; nothing is asserted about how long things take."""

SYSTEMD = service_manager.BOOTED.is_dir() and os.geteuid() == 0
"""Whether the services of these tests are units: in a machine of the lab. Elsewhere Circus runs them."""

over_circus = pytest.mark.skipif(SYSTEMD, reason="of Circus, and systemd runs the services here")

SLEEPER = "import time; print('up', flush=True); time.sleep(10_000)"


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
        (home / "store" / "sha256").mkdir(parents=True)
        self.generation = 0
        write_atomically(self.layout.archive, build_agent(), 0o700)
        manager: Any = "systemd" if SYSTEMD else "circus"
        config = AgentConfig(str(home), manager, circus_python=sys.executable, units=f"selfhost-{home.name}-")
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
        mark = {"TEST_HOME": str(self.home)}
        for kind in ("services", "jobs"):
            each = parts.get(kind, ())
            parts[kind] = tuple(dataclasses.replace(one, env={**one.env, **mark}) for one in each)
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

    def log(self, name: str) -> str:
        """What a service, or the agent, has said."""
        if not SYSTEMD:
            return self.layout.log(name).read_text()
        unit = f"_SYSTEMD_UNIT=selfhost-{self.home.name}-{name}.service"
        command = ["journalctl", unit, "--output=cat", "--quiet"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def circusd(self) -> int:
        return int(json.loads(self.layout.record("circusd").read_text())["pid"])

    def processes(self) -> list[int]:
        """Every process that has this home in its command line or environment: all services have."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                text = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
            except (OSError, ValueError):
                continue
            if entry.name.isdigit() and str(self.home).encode() in text:
                found.append(int(entry.name))
        return found
