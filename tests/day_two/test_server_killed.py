"""Flows outlive a server that is killed, and all they did is stored."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from tests.bench.fourteen import TASKS
from tests.stack import CALL_SECONDS, Stack, eventually

pytestmark = pytest.mark.fault

FLOWS = 3
SECONDS_A_TASK = "2.5"
KILLS = 2
SETTLED_SECONDS = 6.0
"""Time clients get to come back before the next kill. One that is killed while clients give it their auth string
makes Prefect's client take the closed socket for a refusal, and it drops what it holds: seen with 3.8.8."""


@pytest.fixture(scope="module")
def runs(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Flows of 14 tasks which ran side by side through the front door, the server killed twice meanwhile."""
    environment = {
        **stack.environment,
        "PREFECT_API_URL": stack.door.api_url,
        "PREFECT_API_AUTH_STRING": stack.secret("auth-string"),
        "PREFECT_HOME": str(tmp_path_factory.mktemp("client")),
    }
    argv = [sys.executable, "-m", "tests.bench.fourteen", SECONDS_A_TASK]
    flows = [
        subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(FLOWS)
    ]
    found = [each.stdout.readline().strip() for each in flows if each.stdout is not None]
    for _ in range(KILLS):
        time.sleep(SETTLED_SECONDS)
        kill_server(stack)
    for each in flows:
        _, stderr = each.communicate(timeout=CALL_SECONDS)
        assert each.returncode == 0, stderr[-3000:]
    return found


def kill_server(stack: Stack) -> None:
    """Returns when the next server is ready."""
    ((name, killed),) = stack.servers().items()
    os.kill(killed, signal.SIGKILL)
    ready = stack.home / f"state/server/{name}.json"
    eventually(lambda: json.loads(ready.read_text())["pid"] not in (0, killed), "another server", 120)


def test_flows_outlive_a_server_that_is_killed_and_all_their_logs_are_stored(stack: Stack, runs: list[str]) -> None:
    ended = stack.query(f"SELECT state_type FROM flow_run WHERE id IN ({_listed(runs)})")
    assert ended == [["COMPLETED"]] * FLOWS
    wanted = sorted(f"line of task {number}" for number in range(TASKS) for _ in runs)
    assert sorted(eventually(lambda: log_lines(stack, runs), "log lines")) == wanted


def test_task_runs_outlive_a_server_that_is_killed(stack: Stack, runs: list[str]) -> None:
    for run in runs:
        eventually(lambda run=run: task_runs(stack, run) == TASKS, f"all task runs of {run}", 30)  # type: ignore[misc]


def log_lines(stack: Stack, runs: list[str]) -> list[str]:
    """Each line of each run once: a client whose answer the kill cut off sends its lines again."""
    sql = "SELECT DISTINCT flow_run_id, message FROM log WHERE message LIKE 'line of task%' "
    return [row[1] for row in stack.query(f"{sql} AND flow_run_id IN ({_listed(runs)})")]


def task_runs(stack: Stack, run: str) -> int:
    sql = f"SELECT count(*) FROM task_run WHERE flow_run_id = '{run}' AND state_type = 'COMPLETED'"
    return int(stack.query(sql)[0][0])


def _listed(runs: list[str]) -> str:
    return ", ".join(f"'{each}'" for each in runs)
