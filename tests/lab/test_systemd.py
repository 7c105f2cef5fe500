"""A stack on a machine where systemd is PID 1 and we are root."""

from __future__ import annotations

import time

import pytest

from tests.lab.conftest import HOME, STACK
from tests.lab.machine import Failed, Machine

pytestmark = pytest.mark.lab

PREFIX = f"selfhost-{STACK}-"
SERVICES = ("agent", "postgres", "server-blue", "nginx", "worker-default", "worker-maintenance")


def units(machine: Machine, state: str = "active") -> set[str]:
    """Names of the stack's units in a state, without what all have in front."""
    told = machine.run("systemctl", "list-units", "--plain", "--no-legend", f"--state={state}", f"{PREFIX}*")
    return {line.split()[0].removeprefix(PREFIX) for line in told.splitlines()}


def answers(machine: Machine, path: str) -> str:
    """What the front door answers, asked with the auth string."""
    login = machine.run("cat", f"{HOME}/secrets/auth-string").strip()
    return machine.run("curl", "--silent", "--fail", "--user", login, f"http://127.0.0.1:4200/api{path}")


def eventually_answers(machine: Machine, path: str, timeout: float) -> float:
    """Seconds until the front door answers."""
    began = time.monotonic()
    while True:
        try:
            answers(machine, path)
            return time.monotonic() - began
        except Failed:
            assert time.monotonic() - began < timeout, f"no answer after {timeout:g} s"
            time.sleep(0.5)


def test_a_machine_has_what_google_s_image_has_and_nothing_of_ours(machine: Machine) -> None:
    assert machine.run("ps", "-o", "comm=", "-p", "1").strip() == "systemd"
    assert machine.run("/usr/bin/python3", "--version").startswith("Python 3.11.2")
    for absent in ("pip", "pip3", "docker", "nginx", "psql", "psql"):
        with pytest.raises(Failed):
            machine.run("sh", "-c", f"command -v {absent}")


def test_a_bootstrap_as_root_chooses_systemd(stack: Machine) -> None:
    assert '"manager": "systemd"' in stack.run("cat", f"{HOME}/agent/config.json")
    wanted = {f"{each}.service" for each in SERVICES}
    assert units(stack) >= wanted | {"server.socket", "server.anchor.service", "workers.slice"}
    assert units(stack, "failed") == set()
    assert stack.run("systemctl", "is-enabled", f"{PREFIX}agent").strip() == "enabled"
    assert answers(stack, "/admin/version") == '"3.8.8"'


def test_its_logs_are_the_journal(stack: Machine) -> None:
    names = stack.selfhost("logs", "--name", STACK).split()
    assert {*SERVICES} <= {*names}
    assert "prefect.server" in stack.selfhost("logs", "server-blue", "--name", STACK)
    assert stack.run("sh", "-c", f"ls {HOME}/logs").split() == []
