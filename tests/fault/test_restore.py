"""A restore that is disturbed: the same command finishes it, or the old service goes on; nothing is lost.

`tests/kills` has the kills at its other boundaries.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from blocks.pools import is_marked
from tests import gated
from tests.fault.runs import disturbed_call, processes_of_run, says_one_line_with_a_hint
from tests.stack import Result, Stack, eventually, scratch

pytestmark = pytest.mark.fault

TABLES = ("flow", "flow_run", "flow_run_state", "task_run", "artifact", "block_document", "log", "variable")
RESTORE = ("restore", "latest", "--yes")


def prepare(stack: Stack) -> dict[str, set[str]]:
    """A stack with a backup and with more than that; the backup's rows by table."""
    stack.bootstrap()
    with stack.client() as client:
        client.request("POST", "/variables/", json={"name": "in_the_backup", "value": 1})
    stack.run("backup")
    kept = rows(stack)
    with stack.client() as client:
        client.request("POST", "/variables/", json={"name": "after_the_backup", "value": 1})
    return kept


@pytest.fixture(scope="module")
def prepared() -> Iterator[tuple[Stack, dict[str, set[str]]]]:
    with scratch("flt-") as stack:
        yield stack, prepare(stack)


def rows(stack: Stack) -> dict[str, set[str]]:
    return {name: {row[0] for row in stack.query(f"SELECT id FROM {name}")} for name in TABLES}


def attempt(stack: Stack, on_step: Callable[[str, subprocess.Popen[str]], None]) -> Result:
    """Restore, and do something when a step has ended."""
    return disturbed_call(stack, (*RESTORE, *stack.where), on_step)


def require_restored(stack: Stack, kept: dict[str, set[str]]) -> None:
    """Every row of the backup is there, what came after it is not; the stack is well and nothing is left over."""
    found = rows(stack)
    # The run which made the backup was running in it: its state and log of the end came later.
    late = {"flow_run_state", "log", "artifact", "task_run"}
    missing = {name: kept[name] - found[name] for name in TABLES if name not in late}
    assert not any(missing.values()), missing
    assert stack.query("SELECT name FROM variable WHERE name LIKE '%_the_backup'") == [["in_the_backup"]]
    assert stack.query("SELECT datname FROM pg_database WHERE datname ~ '-restoring$|^drill-'") == []
    assert not (stack.home / "restoring").exists()
    require_well(stack)


def require_well(stack: Stack) -> None:
    eventually(lambda: stack.plan() == [], "an empty plan", 60)
    eventually(lambda: {each["state"] for each in stack.host_status()["services"]} == {"ready"}, "all services", 120)
    assert [each for each in stack.transcript if "Traceback" in each.output] == []


def variables(stack: Stack) -> list[list[str]]:
    return stack.query("SELECT name FROM variable WHERE name LIKE '%_the_backup' ORDER BY name")


def test_another_waits_for_the_lease_and_a_killed_server_changes_nothing(
    prepared: tuple[Stack, dict[str, set[str]]],
) -> None:
    stack, kept = prepared
    others: list[Result] = []

    def disturb(step: str, process: subprocess.Popen[str]) -> None:
        if step == "temporary server started":
            others.append(stack.call(*RESTORE, *stack.where))
        if step == "restore beside":
            os.kill(stack.pids()["server-blue"], signal.SIGKILL)
        if step == "stop server and workers":
            os.kill(stack.pids()["postgres"], signal.SIGKILL)

    done = attempt(stack, disturb)
    assert done.status == 0, done.output
    assert others[0].status == 1 and "the lease is held by" in others[0].stderr
    assert "for: restore latest" in others[0].stderr
    require_restored(stack, kept)


@pytest.mark.parametrize("part", ["server", pytest.param("postgres", marks=pytest.mark.rare)])
def test_where_the_temporary_server_dies_the_old_service_goes_on(
    prepared: tuple[Stack, dict[str, set[str]]], part: str
) -> None:
    stack, _ = prepared
    before = variables(stack)

    def kill(step: str, process: subprocess.Popen[str]) -> None:
        if step == "temporary server started":
            record = stack.home / f"restoring/{part}.json"
            eventually(record.exists, "its record")
            os.kill(int(json.loads(record.read_text())["pid"]), signal.SIGKILL)

    done = attempt(stack, kill)
    if done.status:
        assert says_one_line_with_a_hint(done), done.output
        assert variables(stack) == before
    require_well(stack)


def databases(stack: Stack) -> list[list[str]]:
    return stack.query("SELECT datname FROM pg_database ORDER BY datname")


def test_a_running_flow_is_waited_for_and_where_it_goes_on_nothing_is_replaced(
    prepared: tuple[Stack, dict[str, set[str]]],
) -> None:
    """Its pool is paused while it is waited for; a pool that a person paused stays so."""
    stack, _ = prepared
    before, seen = (databases(stack), stack.pids()), []

    def look(step: str, _: subprocess.Popen[str]) -> None:
        if step == "pause work pools":
            with stack.client() as client:
                seen.append({name: is_marked(client.read_work_pool(name)) for name in ("default", "maintenance")})

    with gated.running(stack) as run, stack.client() as client:
        client.request("PATCH", "/work_pools/{name}", path_params={"name": "maintenance"}, json={"is_paused": True})
        done = disturbed_call(stack, (*RESTORE, *stack.where, "--wait", "5"), look)
        assert done.status == 1 and says_one_line_with_a_hint(done), done.output
        assert "flows still run on worker-default" in done.stderr and run.name in done.stderr, done.output
        assert seen == [{"default": True, "maintenance": False}]
        assert (databases(stack), stack.pids()) == before and not (stack.home / "restoring").exists()
        assert [client.read_work_pool(each).is_paused for each in ("default", "maintenance")] == [False, True]
        client.request("PATCH", "/work_pools/{name}", path_params={"name": "maintenance"}, json={"is_paused": False})
        run.open()
    require_well(stack)


def test_now_ends_a_running_flow_before_the_databases_are_swapped(prepared: tuple[Stack, dict[str, set[str]]]) -> None:
    stack, kept = prepared
    alive: list[list[int]] = []
    with gated.running(stack) as run:
        began = processes_of_run(stack, run.id)

        def look(step: str, _: subprocess.Popen[str]) -> None:
            if step == "stop server and workers":
                alive.append([pid for pid in began if Path(f"/proc/{pid}").exists()])

        done = disturbed_call(stack, (*RESTORE, *stack.where, "--now"), look)
    assert done.status == 0, done.output
    assert began and alive == [[]] and processes_of_run(stack, run.id) == []
    assert stack.query(f"SELECT state_name FROM flow_run WHERE id = '{run.id}'") in ([], [["Crashed"]])
    assert stack.run("status").status == 0
    require_restored(stack, kept)


def test_a_restore_killed_while_the_server_is_stopped_is_not_started_and_is_finished(
    prepared: tuple[Stack, dict[str, set[str]]],
) -> None:
    """As by a reboot: whoever starts the stack is told that nothing serves, and by what command it does again."""
    stack, kept = prepared
    before = variables(stack)

    def killed_after(last: str) -> Result:
        return attempt(stack, lambda step, process: process.kill() if step == last else None)

    assert killed_after("stop server and workers").status == -signal.SIGKILL
    assert variables(stack) == before
    assert killed_after("swap").status == -signal.SIGKILL
    for pid in stack.processes():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    eventually(lambda: not stack.processes(), "the end of all processes")
    started = stack.call("start", *stack.where)
    assert started.status == 1 and "was told to run no server and no worker" in started.stderr, started.output
    assert "selfhost restore 2" in started.stderr and "goes on with it" in started.stderr
    stack.call("stop", *stack.where)
    done = stack.run("restore", "latest", "--yes")
    assert "going on with the restore of" in done.stdout and "swap" not in done.steps
    require_restored(stack, kept)


@pytest.mark.rare
def test_a_restore_whose_check_failed_weeks_ago_does_not_stand_for_another_one(
    prepared: tuple[Stack, dict[str, set[str]]],
) -> None:
    stack, kept = prepared

    def kill(step: str, process: subprocess.Popen[str]) -> None:
        if step == "services ready":
            process.kill()

    assert attempt(stack, kill).status == -signal.SIGKILL
    record = stack.home / "restoring/restore.json"
    noted = json.loads(record.read_text())
    assert noted["finishing"] > noted["stopped"]
    record.write_text(json.dumps(noted | {"finishing": "2026-01-01T00:00:00+00:00"}))
    with stack.client() as client:
        client.request("POST", "/variables/", json={"name": "after_the_backup", "value": 1})
    done = stack.run("restore", "latest", "--yes")
    assert "going on with the restore of" not in done.stdout and "swap" in done.steps
    require_restored(stack, kept)
