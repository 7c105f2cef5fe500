"""What a flow of the stack's users may do on its machine, where root made the stack: its own work and no more."""

from __future__ import annotations

import json
import os
import pwd
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from blocks.host import system_user
from tests.e2e.conftest import Bootstrapped
from tests.e2e.test_operation import run_deployment
from tests.stack import Stack

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(os.geteuid() != 0, reason="without root one user is one user, and the README says so"),
]

FLOW = '''\
import json, os, pwd, socket, tempfile
from pathlib import Path

from prefect import flow


def why_not(attempt):
    try:
        attempt()
    except OSError as error:
        return type(error).__name__
    return "done"


def reach(path):
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)


def readable(root):
    """Files that can be opened below a folder, but for the releases and what is this user's own."""
    found = []
    for folder, folders, files in os.walk(root):
        folders[:] = [each for each in folders if each != "releases"]
        own = [each for each in files if os.lstat(f"{folder}/{each}").st_uid == os.getuid()]
        found += [f"{folder}/{each}" for each in files if each not in own and os.access(f"{folder}/{each}", os.R_OK)]
    return found


@flow
def attack(home: str, read: list[str], listed: list[str], sockets: list[str], written: list[str], pids: list[int]):
    status = dict(line.split(":\\t", 1) for line in Path("/proc/self/status").read_text().splitlines())
    told = {
        "user": pwd.getpwuid(os.geteuid()).pw_name,
        "groups": os.getgroups(),
        "status": {name: status[name] for name in status if name.startswith(("Cap", "NoNewPrivs"))},
        "home": os.environ["HOME"],
        "umask": os.umask(0o077),
        "read": {path: why_not(lambda: Path(path).read_bytes()) for path in read},
        "listed": {path: why_not(lambda: os.listdir(path)) for path in listed},
        "sockets": {path: why_not(lambda: reach(path)) for path in sockets},
        "written": {path: why_not(lambda: Path(path).write_text("x")) for path in written},
        "signalled": {pid: why_not(lambda: os.kill(pid, 0)) for pid in pids},
        "readable": readable(home),
    }
    Path(tempfile.gettempdir(), "attack.json").write_text(json.dumps(told))
'''


@pytest.fixture(scope="module")
def flow_folder() -> Iterator[Path]:
    """A folder which every user of this machine can read, as the README asks for."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        (Path(folder) / "attack.py").write_text(FLOW)
        (Path(folder) / "attack.py").chmod(0o644)
        yield Path(folder)


def attempts(stack: Stack) -> dict[str, list[str]]:
    """What it tries: kind → paths."""
    home, server = stack.home, next(iter(stack.servers()))
    others = [pid for name, pid in stack.pids().items() if name != "worker-default"]
    files = ["secrets/auth-string", "secrets/encryption-key", "secrets/database-admin-password", "store/ledger/wanted"]
    files += ["agent/spec.json", f"etc/{server}/prefect.toml", "etc/worker-maintenance/prefect.toml"]
    files += [f"state/server/{server}.json", "run/circus.ini", "logs/agent.log", "postgres/data/PG_VERSION"]
    folders = [".", "secrets", "agent", "run", "logs", "postgres", "store", "state/server", "state/worker-maintenance"]
    new = ["x", "bin/selfhost", "releases/x", "etc/x", f"etc/{server}/x", "etc/worker-default/x", "state/x"]
    memory = [f"/proc/{pid}/{what}" for pid in others for what in ("environ", "mem")]
    return {
        "read": [*(str(home / each) for each in files), *memory],
        "listed": [str(home / each) for each in folders],
        "sockets": [str(home / each) for each in (f"state/server/{server}.sock", "run/circus.ctl")],
        "written": [str(home / each) for each in new],
    }


@pytest.fixture(scope="module")
def told(bootstrapped: Bootstrapped, flow_folder: Path) -> dict[str, Any]:
    """What a flow of a user could do: it is deployed and run on `default` as any other."""
    stack = bootstrapped.stack
    pids = [pid for name, pid in stack.pids().items() if name != "worker-default"]
    with stack.client() as client:
        deployment = client.create_deployment(
            flow_id=client.create_flow_from_name("attack"),
            name="default",
            entrypoint="attack.py:attack",
            work_pool_name="default",
            enforce_parameter_schema=False,
            pull_steps=[{"prefect.deployments.steps.set_working_directory": {"directory": str(flow_folder)}}],
        )
        run = run_deployment(client, "attack/default", home=str(stack.home), pids=pids, **attempts(stack))
        client.delete_deployment(deployment)
    assert run.state is not None and run.state.is_completed(), run.state
    result = stack.home / "state/worker-default/tmp/attack.json"
    found: dict[str, Any] = json.loads(result.read_text())
    result.unlink()
    return found


def test_it_runs_as_its_workers_own_user_with_no_privilege_left(stack: Stack, told: dict[str, Any]) -> None:
    user = pwd.getpwnam(system_user.name_for(stack.name, "w-default"))
    assert (told["user"], told["groups"]) == (user.pw_name, [user.pw_gid])
    assert told["status"].pop("NoNewPrivs") == "1"
    assert {int(each, 16) for each in told["status"].values()} == {0} and len(told["status"]) == 5
    assert told["home"] == str(stack.home / "state/worker-default")


@pytest.mark.parametrize("attempt", ["read", "listed", "sockets", "written"])
def test_nothing_of_the_stack_is_open_to_it(told: dict[str, Any], attempt: str) -> None:
    assert told[attempt] and not {path: end for path, end in told[attempt].items() if end != "PermissionError"}


def test_it_can_signal_no_process_of_the_stack(told: dict[str, Any]) -> None:
    assert len(told["signalled"]) >= 6 and set(told["signalled"].values()) == {"PermissionError"}


def test_of_the_home_it_can_read_what_is_no_secret_alone(stack: Stack, told: dict[str, Any]) -> None:
    found = {str(Path(each).relative_to(stack.home)) for each in told["readable"]}
    assert found <= {"bin/selfhost", "lease.json", "stack.json", "etc/nginx/nginx.conf", "etc/nginx/site.conf"}, found


def test_every_service_but_our_own_worker_and_nginx_master_has_a_user_of_its_own(stack: Stack) -> None:
    owners = {name: pwd.getpwuid(Path(f"/proc/{pid}").stat().st_uid).pw_name for name, pid in stack.pids().items()}
    roots = {"agent", "circusd", "nginx", "worker-maintenance"}
    assert {name for name, owner in owners.items() if owner == "root"} == roots
    own = [owner for name, owner in owners.items() if name not in roots]
    assert len(set(own)) == len(own) == 3
    workers = [pid for pid, command in stack.processes().items() if command.startswith("nginx: worker process")]
    assert {pwd.getpwuid(Path(f"/proc/{pid}").stat().st_uid).pw_name for pid in workers} == {
        system_user.name_for(stack.name, "nginx")
    }
