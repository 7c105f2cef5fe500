"""Servers that die: the temporary one while a stack is made, the stack's own under running flows."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId, LogFilter, LogFilterFlowRunId

from tests.bench.fourteen import TASKS
from tests.fault.comparison import require_equal
from tests.stack import CALL_SECONDS, Stack, eventually

pytestmark = pytest.mark.fault

FLOWS = 3
SECONDS_A_TASK = "1.0"


@pytest.mark.parametrize("part", ["server", "postgres"])
def test_the_temporary_server_dies_half_way(disturbed: Stack, undisturbed: Stack, part: str) -> None:
    argv = ("bootstrap", *disturbed.where)
    lines = []
    process = disturbed.start(*argv)
    assert process.stdout is not None and process.stderr is not None
    for line in process.stdout:
        lines.append(line)
        if "temporary server ready" in line:
            record = json.loads((disturbed.home / f"bootstrap/{part}.json").read_text())
            os.kill(int(record["pid"]), signal.SIGKILL)
    stderr = process.stderr.read()
    process.wait(timeout=CALL_SECONDS)
    done = disturbed.ended(process, argv, "".join(lines), stderr)
    assert done.status == 1, done.output
    assert [each.partition(":")[0] for each in stderr.splitlines()] == ["error", "hint"], done.output
    assert "Traceback" not in done.output and len(stderr.splitlines()[0]) < 500, done.output
    disturbed.bootstrap()
    require_equal(disturbed, undisturbed)


def test_a_server_killed_under_running_flows_loses_nothing(undisturbed: Stack, tmp_path: Path) -> None:
    """Flows of 14 tasks through the front door, the server killed twice meanwhile."""
    environment = {
        **undisturbed.environment,
        "PREFECT_API_URL": undisturbed.door.api_url,
        "PREFECT_API_AUTH_STRING": undisturbed.secret("auth-string"),
        "PREFECT_HOME": str(tmp_path),
    }
    argv = [sys.executable, "-m", "tests.bench.fourteen", SECONDS_A_TASK]
    flows = [
        subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(FLOWS)
    ]
    runs = [each.stdout.readline().strip() for each in flows if each.stdout is not None]
    for enough in (2 * FLOWS, 8 * FLOWS):
        kill_server(undisturbed, runs, enough)
    for each in flows:
        _, stderr = each.communicate(timeout=CALL_SECONDS)
        assert each.returncode == 0, stderr[-3000:]
    for run in runs:
        require_all_stored(undisturbed, run)


def kill_server(stack: Stack, runs: list[str], enough: int) -> None:
    """Once that many task runs are stored; returns when another server has been started."""
    eventually(lambda: task_runs(stack, runs) >= enough, f"{enough} task runs", 120)
    killed = stack.pids()["server-blue"]
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: stack.pids()["server-blue"] not in (0, killed), "another server", 60)


def require_all_stored(stack: Stack, run: str) -> None:
    eventually(lambda: task_runs(stack, [run], "COMPLETED") == TASKS, f"all task runs of {run}", 60)
    with stack.client() as client:
        state = client.read_flow_run(run).state  # type: ignore[arg-type]
        task_count = len(client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run]))))
        logs = client.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run])), limit=200)
    assert state is not None and state.is_completed() and task_count == TASKS
    lines = [each.message for each in logs if each.message.startswith("line of task")]
    assert sorted(lines) == sorted(f"line of task {number}" for number in range(TASKS))


def task_runs(stack: Stack, runs: list[str], state: str = "%") -> int:
    listed = ", ".join(f"'{each}'" for each in runs)
    sql = f"SELECT count(*) FROM task_run WHERE flow_run_id IN ({listed}) AND state_type::text LIKE '{state}'"
    return int(stack.query(sql)[0][0])
