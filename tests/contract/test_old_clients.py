"""Real clients of older Prefects at a real server of ours, through the front door: where the range begins, and why."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import prefect
import pytest

from blocks import clients
from blocks.host.interpreter import uv_binary
from tests.front_door import FrontDoor, front_door
from tests.held import Slot, holding, server_environment
from tests.postgres import Cluster, base_environment
from tests.traffic import headers

AUTH = "admin:a-secret-of-this-test"
TOO_OLD = "3.6.13"
"""The last version before the range."""
TASK_RUNS = 20
STORED_SECONDS = 30.0
FLOW = f"""
import prefect

@prefect.task
def double(number: int) -> int:
    return 2 * number

@prefect.flow(flow_run_name=prefect.__version__)
def doubled() -> None:
    assert sum(double.map(range({TASK_RUNS})).result()) == {TASK_RUNS * (TASK_RUNS - 1)}

doubled()
"""


@dataclass(frozen=True)
class Served:
    """A server behind the front door, on which clients have run their flows."""

    slot: Slot
    door: FrontDoor

    def count(self, what: str, version: str, **flow_runs: object) -> int:
        """How many `flow_runs` or `task_runs` are stored of the flow runs of a client of that version."""
        wanted = {"flow_runs": {"name": {"any_": [version]}, **flow_runs}}
        with self.door.client() as client:
            return int(client.post(f"/api/{what}/count", json=wanted, headers=headers(AUTH)).json())


@pytest.fixture(scope="module")
def served(cluster: Cluster, migrated_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server which both clients have run their flow on, side by side."""
    run_dir = tmp_path_factory.mktemp("old-clients")
    url = cluster.create_database("old-clients", migrated_database)
    environment = server_environment(run_dir, url, PREFECT_SERVER_API_AUTH_STRING=AUTH)
    with holding(run_dir, environment) as holder:
        slot = holder.start("blue")
        pythons = [installed(version, run_dir) for version in (TOO_OLD, clients.OLDEST)]
        slot.wait_ready()
        with front_door(holder.listening.getsockname()[1]) as door:
            running = [started(each, door, run_dir) for each in pythons]
            assert [each.wait(timeout=120) for each in running] == [0, 0], "a client sees its flow complete"
            yield Served(slot, door)


def installed(version: str, folder: Path) -> Path:
    """Python of an environment with that Prefect, made in a second where the cache is warm."""
    python, uv = folder / version / "bin/python", uv_binary()
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, version], cwd=folder, check=True, timeout=60)
    install = [uv, "pip", "install", "--quiet", "--python", python, f"prefect=={version}"]
    subprocess.run(install, cwd=folder, check=True, timeout=300)
    return python


def started(python: Path, door: FrontDoor, folder: Path) -> subprocess.Popen[bytes]:
    """Begin to run the flow."""
    home = python.parent / "home"
    home.mkdir()
    reach = {"PREFECT_API_URL": f"http://127.0.0.1:{door.port}/api", "PREFECT_API_AUTH_STRING": AUTH}
    return subprocess.Popen([python, "-c", FLOW], env=base_environment(home) | reach, cwd=folder)


@pytest.mark.parametrize("version", [TOO_OLD, clients.OLDEST])
def test_a_flow_run_of_either_is_stored_as_completed(served: Served, version: str) -> None:
    assert served.count("flow_runs", version, state={"type": {"any_": ["COMPLETED"]}}) == 1


def test_task_runs_of_the_oldest_are_all_stored_and_of_the_one_before_none(served: Served) -> None:
    deadline = time.monotonic() + STORED_SECONDS
    while (found := served.count("task_runs", clients.OLDEST)) < TASK_RUNS:
        assert time.monotonic() < deadline, f"{found} of {TASK_RUNS}"
        time.sleep(0.2)
    assert served.count("task_runs", TOO_OLD) == 0, "it may come now: move the bound"


def test_the_server_says_who_called_and_status_names_who_should_not_have(served: Served) -> None:
    with served.door.client() as stranger:
        for path, status in (("/api/health", 200), ("/api/admin/version", 401)):
            answer = stranger.get(path, headers={"User-Agent": "prefect/1.0.0 (API 0.8.4)"})
            assert answer.status_code == status
    called = served.slot.wait_ready()["clients"]
    assert set(called) == {TOO_OLD, clients.OLDEST}
    found = clients.fit(called, prefect.__version__, time.time())
    assert (found.status, found.reason) == (False, "TooOld")
    assert f"Prefect {TOO_OLD} called " in found.message
    assert f"Prefect {clients.OLDEST} called" not in found.message
