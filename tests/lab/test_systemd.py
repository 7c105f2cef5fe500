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

from tests.agent import over_circus
from tests.lab.conftest import HOME, STACK
from tests.lab.machine import CHECKOUT, Failed, Machine
from tests.stack import eventually

pytestmark = [pytest.mark.lab, pytest.mark.rare]

PREFIX = f"selfhost-{STACK}-"
SERVICES = ("agent", "postgres", "server-blue", "nginx", "worker-default", "worker-maintenance")
SELFHOST = f"{HOME}/bin/selfhost"
URL = "http://127.0.0.1:4200"
SECRET = f"{HOME}/secrets/auth-string"
MOST_EXPOSED = {"server-blue": 3.0, "nginx": 3.0, "postgres": 3.0, "agent": 3.0, "worker-default": 5.0}
"""By `systemd-analyze security`, of 10. The maintenance worker is not among them: it changes the stack."""
WORKERS = f"selfhost_{STACK}_workers.slice"
ROTATED = [f"{HOME}/secrets/{each}" for each in ("database-login", "auth-string", "encryption-key")]
OF_CIRCUS = over_circus.kwargs["reason"]
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


def is_well(machine: Machine) -> bool:
    """Whether `status` finds nothing amiss."""
    try:
        return "✗" not in selfhost(machine, "status")
    except Failed:
        return False


@contextmanager
def opened(machine: Machine, *argv: str) -> Iterator[subprocess.Popen[str]]:
    """A command that runs in the machine until its standard input ends, as it does with the block."""
    command = ["docker", "exec", "--interactive", "--workdir", CHECKOUT, machine.name, *argv]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process


def line_with(process: subprocess.Popen[str], text: str) -> str:
    """The next line it prints with that text."""
    assert process.stdout is not None
    found = next((line for line in process.stdout if text in line), None)
    assert found is not None, f"it ended without {text!r}"
    return found


@contextmanager
def served(machine: Machine) -> Iterator[None]:
    """Clients without retries meanwhile, none of whose calls fails; the held socket is the same all the time."""
    before = held(machine)
    with opened(machine, "python3", "-m", "tests.lab.load", URL, SECRET) as load:
        line_with(load, "calling")
        yield
        seen = json.loads(load.communicate(timeout=120)[0])
    print(f"{seen['calls']} calls, {len(seen['faults'])} failed")
    assert seen["calls"] > 0 and seen["faults"] == []
    assert held(machine) == before


def held(machine: Machine) -> dict[str, str]:
    """Since when the socket listens, and which process keeps it open."""
    since = properties(machine, "server.socket", "ActiveEnterTimestampMonotonic", "ActiveState")
    return since | properties(machine, "server.anchor.service", "MainPID")


def run_of(machine: Machine, entrypoint: str, **parameters: Any) -> str:
    """Run a flow of the checkout on the users' worker; returns the type of its last state."""
    flow = call(machine, "POST", "/flows/", {"name": entrypoint.partition(":")[2]})["id"]
    pull = [{"prefect.deployments.steps.set_working_directory": {"directory": CHECKOUT}}]
    asked = {"flow_id": flow, "name": "lab", "entrypoint": entrypoint, "work_pool_name": "default", "pull_steps": pull}
    deployment = call(machine, "POST", "/deployments/", {**asked, "enforce_parameter_schema": False})["id"]
    run = call(machine, "POST", f"/deployments/{deployment}/create_flow_run", {"parameters": parameters})["id"]

    def ended() -> str:
        state = str(call(machine, "GET", f"/flow_runs/{run}")["state_type"])
        return state if state in ("COMPLETED", "CRASHED", "FAILED", "CANCELLED") else ""

    return str(eventually(ended, f"the end of {entrypoint}", 180))


def block_with(machine: Machine, value: str) -> str:
    """Save a secret block; returns its id."""
    kind = call(machine, "GET", "/block_types/slug/secret")["id"]
    schemas = {"block_schemas": {"block_type_id": {"any_": [kind]}}}
    schema = call(machine, "POST", "/block_schemas/filter", schemas)[0]["id"]
    block = {"name": "kept", "data": {"value": value}, "block_type_id": kind, "block_schema_id": schema}
    return str(call(machine, "POST", "/block_documents/", block)["id"])


def test_a_machine_has_what_google_s_image_has_and_nothing_of_ours(machine: Machine) -> None:
    assert machine.run("ps", "-o", "comm=", "-p", "1").strip() == "systemd"
    assert machine.run("/usr/bin/python3", "--version").startswith("Python 3.11.2")
    for absent in ("pip", "pip3", "docker", "nginx", "psql"):
        with pytest.raises(Failed):
            machine.run("sh", "-c", f"command -v {absent}")


def test_a_bootstrap_as_root_chooses_systemd(stack: Machine, said: str) -> None:
    assert '"manager": "systemd"' in stack.run("cat", f"{HOME}/agent/config.json")
    assert "a reboot brings it back by itself" in said and "crontab" not in said
    wanted = {f"{each}.service" for each in SERVICES}
    assert units(stack) >= wanted | {"server.socket", "server.anchor.service"}
    assert units(stack, "failed") == set()
    assert stack.run("systemctl", "is-enabled", f"{PREFIX}agent").strip() == "enabled"
    assert version(stack) == "3.8.3"


def test_the_host_agent_s_own_tests_hold_over_systemd(stack: Machine) -> None:
    """Those run over Circus everywhere else: back-off and what has failed, jobs that outlive the agent, who is sent
    which signal, sockets that move, a full disk, and more."""
    files = ("tests/e2e/test_host_agent.py", "tests/e2e/test_host_agent_faults.py")
    extra = ("--with", "pytest", "--with", "pytest-xdist")
    said = stack.run("uv", "run", "--quiet", "--no-dev", *extra, "pytest", "-n", "0", "-q", *files, timeout=600)
    print(said)
    skipped = re.findall(r"^SKIPPED .*: (.*)$", said, re.MULTILINE)
    assert set(skipped) <= {OF_CIRCUS}


def test_its_logs_are_the_journal(stack: Machine) -> None:
    assert {*SERVICES} <= {*selfhost(stack, "logs").split()}
    assert "prefect.server" in selfhost(stack, "logs", "server-blue")
    assert stack.run("ls", f"{HOME}/logs").split() == []
    with opened(stack, "sh", "-c", f"{SELFHOST} logs postgres --follow -n 1 & cat; kill $!") as following:
        line_with(following, "")
        stack.run("kill", "-HUP", str(main_pid(stack, "postgres")))
        line_with(following, "received SIGHUP")


def test_services_are_confined_as_far_as_each_allows(stack: Machine) -> None:
    told = {each: stack.run("systemd-analyze", "security", "--no-pager", f"{PREFIX}{each}") for each in MOST_EXPOSED}
    found = {name: float(re.findall(r"exposure level for .*: ([\d.]+)", text)[0]) for name, text in told.items()}
    print(found)
    assert {name: figure for name, figure in found.items() if figure > MOST_EXPOSED[name]} == {}
    users = {
        properties(stack, f"{each}.service", "User")["User"] for each in ("postgres", "server-blue", "worker-default")
    }
    assert len(users) == 3 and users.isdisjoint({"", "root"})


def test_a_flow_that_takes_all_memory_takes_nobody_with_it(stack: Machine) -> None:
    assert properties(stack, "worker-default.service", "Slice") == {"Slice": WORKERS}
    limited = stack.run("systemctl", "show", "--property=MemoryMax", "--value", WORKERS)
    total = int(stack.run("awk", "/MemTotal/ {print $2}", "/proc/meminfo")) * 1024
    assert int(limited) == pytest.approx(0.6 * total, rel=0.01)
    before = {name: main_pid(stack, name) for name in SERVICES}
    stack.run("systemctl", "set-property", "--runtime", WORKERS, "MemoryMax=600M", "MemorySwapMax=0")
    assert run_of(stack, "tests/lab/greedy.py:eat", megabytes=2_000) == "CRASHED"
    assert "exited with status code: -9" in selfhost(stack, "logs", "worker-default")  # by the kernel
    stack.run("systemctl", "revert", WORKERS)
    assert stack.run("systemctl", "show", "--property=MemoryMax", "--value", WORKERS) == limited
    assert {name: main_pid(stack, name) for name in SERVICES} == before


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


def test_one_that_was_stopped_has_no_unit_until_it_is_started(stack: Machine) -> None:
    selfhost(stack, "stop", "--now")
    assert units(stack, "active,failed") == set()
    selfhost(stack, "start")
    eventually_well(stack)
    assert json.loads(selfhost(stack, "plan", "--json")) == {"changes": []}
    assert "✗" not in stack.selfhost("bootstrap", "--name", STACK)


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


def test_rotations_of_login_auth_string_and_key_lose_no_call(stack: Machine) -> None:
    block, before = block_with(stack, "hidden"), stack.run("sha256sum", *ROTATED).split()[::2]
    with served(stack):
        for what in ("database", "auth", "encryption-key"):
            selfhost(stack, "rotate", what)
    after = stack.run("sha256sum", *ROTATED).split()[::2]
    assert [old for old, new in zip(before, after, strict=True) if old == new] == []
    read = call(stack, "GET", f"/block_documents/{block}?include_secrets=true")
    assert read["data"] == {"value": "hidden"}


def test_a_worker_comes_and_goes(stack: Machine) -> None:
    selfhost(stack, "workers", "add", "reports")
    assert "worker-reports.service" in units(stack)
    user = stack.run("systemctl", "show", "--property=User", "--value", f"{PREFIX}worker-reports").strip()
    assert stack.run("id", "--user", user).strip() != "0"
    eventually(lambda: is_well(stack), "a status without a fault", 180)  # it gives each call ten seconds
    selfhost(stack, "workers", "remove", "reports")
    assert units(stack, "active,failed,inactive").isdisjoint({"worker-reports.service"})
    assert stack.run("sh", "-c", f"getent passwd {user} || true") == ""


def test_destroy_leaves_no_unit_slice_process_or_user(stack: Machine) -> None:
    stack.selfhost("destroy", "--name", STACK, "--yes")
    assert stack.run("systemctl", "list-units", "--all", "--plain", "--no-legend", f"selfhost[-_]{STACK}*") == ""
    assert stack.run("find", "/etc/systemd", "-name", "selfhost*") == ""
    assert stack.run("sh", "-c", "getent passwd | grep selfhost- || true") == ""
    for command in (("test", "-e", HOME), ("pgrep", "--full", HOME)):
        with pytest.raises(Failed):
            stack.run(*command)
