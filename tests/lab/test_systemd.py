"""A stack on a machine where systemd is PID 1 and we are root: all that holds elsewhere holds under it.

The tests follow each other on one stack: it is made with the oldest Prefect, and removed by the last.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.lab.conftest import HOME, STACK
from tests.lab.machine import CHECKOUT, Failed, Machine
from tests.stack import eventually

pytestmark = pytest.mark.lab

PREFIX = f"selfhost-{STACK}-"
SERVICES = ("agent", "postgres", "server-blue", "nginx", "worker-default", "worker-maintenance")
SELFHOST = f"{HOME}/bin/selfhost"
URL = "http://127.0.0.1:4200"
SECRET = f"{HOME}/secrets/auth-string"
MOST_EXPOSED = {"server-blue": 3.0, "nginx": 3.0, "postgres": 3.0, "agent": 3.0, "worker-default": 5.0}
"""By `systemd-analyze security`, of 10. The maintenance worker is not among them: it changes the stack."""
RESTARTED = 60.0


def units(machine: Machine, state: str = "active") -> set[str]:
    """Names of the stack's units in a state, without what all have in front."""
    told = machine.run("systemctl", "list-units", "--plain", "--no-legend", f"--state={state}", f"{PREFIX}*")
    return {line.split()[0].removeprefix(PREFIX) for line in told.splitlines()}


def properties(machine: Machine, unit: str, *names: str) -> dict[str, str]:
    told = machine.run("systemctl", "show", f"--property={','.join(names)}", PREFIX + unit)
    return dict(line.split("=", 1) for line in told.splitlines())


def main_pid(machine: Machine, service: str) -> int:
    return int(properties(machine, f"{service}.service", "MainPID")["MainPID"])


def selfhost(machine: Machine, *arguments: str, timeout: float = 900.0) -> str:
    return machine.run(SELFHOST, *arguments, timeout=timeout)


def call(machine: Machine, method: str, path: str, body: object = None) -> Any:
    """What the front door answers, asked with the auth string."""
    login = machine.run("cat", SECRET).strip()
    data = ("--json", json.dumps(body)) if body is not None else ()
    command = ("curl", "--silent", "--show-error", "--fail", "--request", method, *data, "--user", login)
    return json.loads(machine.run(*command, f"{URL}/api{path}"))


def version(machine: Machine) -> str:
    return str(call(machine, "GET", "/admin/version"))


def states(machine: Machine) -> set[str]:
    """Of all services, as the agent that runs now has reported them; empty before it has."""
    status = json.loads(machine.run("cat", f"{HOME}/agent/status.json"))
    is_new = status["agent_pid"] == main_pid(machine, "agent")
    return {each["state"] for each in status["services"]} if is_new else set()


def eventually_well(machine: Machine) -> None:
    eventually(lambda: states(machine) == {"ready"}, "all services ready", 180)


@contextmanager
def served(machine: Machine) -> Iterator[None]:
    """Clients without retries meanwhile, none of whose calls fails."""
    command = ["docker", "exec", "-i", "-w", CHECKOUT, machine.name, "python3", "-m", "tests.lab.load", URL, SECRET]
    load = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert load.stdout is not None and load.stdout.readline() == "calling\n"
    yield
    seen = json.loads(load.communicate(timeout=120)[0])
    print(f"{seen['calls']} calls, {len(seen['faults'])} failed")
    assert seen["calls"] > 0 and seen["faults"] == []


def test_a_machine_has_what_google_s_image_has_and_nothing_of_ours(machine: Machine) -> None:
    assert machine.run("ps", "-o", "comm=", "-p", "1").strip() == "systemd"
    assert machine.run("/usr/bin/python3", "--version").startswith("Python 3.11.2")
    for absent in ("pip", "pip3", "docker", "nginx", "psql"):
        with pytest.raises(Failed):
            machine.run("sh", "-c", f"command -v {absent}")


def test_a_bootstrap_as_root_chooses_systemd(stack: Machine) -> None:
    assert '"manager": "systemd"' in stack.run("cat", f"{HOME}/agent/config.json")
    wanted = {f"{each}.service" for each in SERVICES}
    assert units(stack) >= wanted | {"server.socket", "server.anchor.service", "workers.slice"}
    assert units(stack, "failed") == set()
    assert stack.run("systemctl", "is-enabled", f"{PREFIX}agent").strip() == "enabled"
    assert version(stack) == "3.8.3"


def test_its_logs_are_the_journal(stack: Machine) -> None:
    assert {*SERVICES} <= {*selfhost(stack, "logs").split()}
    assert "prefect.server" in selfhost(stack, "logs", "server-blue")
    assert stack.run("ls", f"{HOME}/logs").split() == []


def test_services_are_confined_as_far_as_each_allows(stack: Machine) -> None:
    told = {each: stack.run("systemd-analyze", "security", "--no-pager", f"{PREFIX}{each}") for each in MOST_EXPOSED}
    found = {name: float(re.findall(r"exposure level for .*: ([\d.]+)", text)[0]) for name, text in told.items()}
    print(found)
    assert {name: figure for name, figure in found.items() if figure > MOST_EXPOSED[name]} == {}
    assert properties(stack, "worker-default.service", "Slice", "OOMPolicy") == {
        "Slice": f"{PREFIX}workers.slice",
        "OOMPolicy": "continue",
    }
    assert properties(stack, "workers.slice", "MemoryMax")["MemoryMax"].isdigit()


def test_what_ends_or_is_stopped_by_hand_comes_back(stack: Machine) -> None:
    before = {name: main_pid(stack, name) for name in SERVICES}
    stack.run("systemctl", "stop", f"{PREFIX}worker-default")
    stack.run("kill", "-9", str(before["agent"]))
    stack.run("kill", "-9", str(before["nginx"]))
    for name in ("agent", "nginx", "worker-default"):
        eventually(lambda name=name: main_pid(stack, name) not in (0, before[name]), f"another {name}", RESTARTED)
    eventually_well(stack)
    after = {name: main_pid(stack, name) for name in SERVICES}
    assert {name for name in SERVICES if after[name] != before[name]} == {"agent", "nginx", "worker-default"}
    assert version(stack) == "3.8.3"


def test_a_reboot_brings_it_back_by_itself(stack: Machine) -> None:
    call(stack, "POST", "/variables/", {"name": "before_the_reboot", "value": 1})
    print(f"booted in {stack.reboot():.1f} s")
    began = time.monotonic()
    eventually_well(stack)
    print(f"all services ready {time.monotonic() - began:.1f} s later")
    assert units(stack, "failed") == set()
    assert call(stack, "GET", "/variables/name/before_the_reboot")["value"] == 1


def test_an_upgrade_under_load_loses_no_call(stack: Machine) -> None:
    with served(stack):
        selfhost(stack, "upgrade", "--to", "3.8.8", timeout=1800)
    assert version(stack) == "3.8.8"
    eventually_well(stack)
    assert units(stack) >= {"server-green.service", "server.socket"} and "server-blue.service" not in units(stack)


def test_a_restore_keeps_its_callers_waiting_on_the_held_socket(stack: Machine) -> None:
    call(stack, "POST", "/variables/", {"name": "in_the_backup", "value": 1})
    selfhost(stack, "backup")
    call(stack, "POST", "/variables/", {"name": "after_the_backup", "value": 1})
    with served(stack):
        selfhost(stack, "restore", "latest", "--yes", "--now")
    assert call(stack, "GET", "/variables/name/in_the_backup")["value"] == 1
    with pytest.raises(Failed):
        call(stack, "GET", "/variables/name/after_the_backup")
    assert units(stack, "failed") == set()


def test_a_rotation_loses_no_call_and_a_worker_comes_and_goes(stack: Machine) -> None:
    with served(stack):
        selfhost(stack, "rotate", "database")
    selfhost(stack, "workers", "add", "reports")
    assert "worker-reports.service" in units(stack)
    selfhost(stack, "workers", "remove", "reports")
    assert "worker-reports.service" not in units(stack)
    assert selfhost(stack, "status").count("✗") == 0


def test_destroy_leaves_no_unit_and_no_user(stack: Machine) -> None:
    stack.selfhost("destroy", "--name", STACK, "--yes")
    assert stack.run("systemctl", "list-units", "--all", "--plain", "--no-legend", f"{PREFIX}*") == ""
    assert stack.run("find", "/etc/systemd/system", "-name", "selfhost-*") == ""
    assert stack.run("sh", "-c", "getent passwd | grep selfhost- || true") == ""
    assert stack.run("sh", "-c", f"test -e {HOME} && echo there || true") == ""
