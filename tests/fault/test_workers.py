"""Changes of workers that are disturbed: killed at every step, met by another, by a dead server, by a bad package."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from blocks.pools import is_marked
from tests import gated
from tests.day_two.test_workers_in_use import listed
from tests.fault.runs import nothing_lost
from tests.gated import Gated
from tests.stack import CALL_SECONDS, Result, Stack, bootstrapped, eventually

pytestmark = pytest.mark.fault

NAME = "ours"
POOL = "theirs"
ADD = ("add", NAME, "--pool", POOL, "--packages", "iniconfig")
COMMITS = ["install", "keep the spec"]
"""On either side of what makes it a change: before it is none, after it the same command finishes it. `tests/kills` has
all other boundaries."""


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with bootstrapped("flt-") as made:
        yield made


@pytest.fixture(autouse=True)
def all_recorded_is_kept(stack: Stack) -> Iterator[None]:
    """Whatever a test does, nothing that was recorded before is lost."""
    with nothing_lost(stack):
        yield


class Log:
    """What the maintenance worker logs from now on: the steps of a run, at the moment they end."""

    def __init__(self, stack: Stack) -> None:
        self._path = stack.home / "logs/worker-maintenance.log"
        self._offset = self._path.stat().st_size

    def has_ended(self, step: str) -> bool:
        with self._path.open("rb") as file:
            file.seek(self._offset)
            return f"flows.cli.progress - {step}: ".encode() in file.read()


def begin(stack: Stack, *argv: str) -> subprocess.Popen[str]:
    return stack.start("workers", *argv, *stack.where)


def end(stack: Stack, process: subprocess.Popen[str], *argv: str) -> Result:
    return stack.ended(process, ("workers", *argv), *process.communicate(timeout=CALL_SECONDS))


def workers(stack: Stack, *argv: str) -> Result:
    done = end(stack, begin(stack, *argv), *argv)
    assert done.status == 0, done.output
    return done


def after(stack: Stack, step: str, *argv: str) -> subprocess.Popen[str]:
    """Begin a change, and return at the moment its step has ended."""
    log = Log(stack)
    process = begin(stack, *argv)
    eventually(lambda: log.has_ended(step), f"the end of {step}", 150)
    return process


def kill_flow(stack: Stack) -> None:
    """SIGKILL the process of the flow that runs on the maintenance worker."""
    worker = stack.pids()["worker-maintenance"]
    children = Path(f"/proc/{worker}/task/{worker}/children").read_text().split()
    assert children
    for pid in children:
        os.kill(int(pid), signal.SIGKILL)


def killed_after(stack: Stack, step: str, *argv: str) -> None:
    process = after(stack, step, *argv)
    kill_flow(stack)
    done = end(stack, process, *argv)
    assert done.status == 1 and "Traceback" not in done.output, done.output


def require_well(stack: Stack, *names: str) -> None:
    found = listed(stack)
    assert sorted(found) == sorted(("maintenance", "default", *names))
    assert {(each["state"], each["pool_paused"]) for each in found.values()} == {("ready", False)}
    with stack.client() as client:
        assert not [each.name for each in client.read_work_pools() if each.is_paused]
    assert stack.plan() == []


@pytest.fixture
def busy(stack: Stack) -> Iterator[Gated]:
    """A run on the worker."""
    with gated.running(stack, NAME, POOL) as run:
        yield run


def of_the_worker(stack: Stack) -> list[str]:
    return [each for each in stack.processes().values() if f"--name {NAME}" in each]


def state_of(stack: Stack, service: str) -> str:
    return next((each["state"] for each in stack.host_status()["services"] if each["name"] == service), "")


def is_paused_by_us(stack: Stack) -> bool:
    with stack.client() as client:
        return is_marked(client.read_work_pool(POOL))


def test_an_addition_killed_around_its_commit_point_is_finished_by_the_same_command(stack: Stack) -> None:
    if NAME in listed(stack):
        workers(stack, "remove", NAME)
    for step in COMMITS:
        killed_after(stack, step, *ADD)
    workers(stack, *ADD)
    require_well(stack, NAME)


@pytest.fixture
def ours(stack: Stack) -> None:
    """The worker is there, whatever the tests before have left."""
    if NAME not in listed(stack):
        workers(stack, *ADD)


def test_two_at_once_and_a_kill_while_the_pool_is_paused(stack: Stack, ours: None, busy: Gated) -> None:
    process = begin(stack, "remove", NAME)
    eventually(lambda: is_paused_by_us(stack), "the pool paused", 120)
    second = end(stack, begin(stack, "scale", "default", "3"), "scale")
    assert second.status == 1 and "the lease is held by" in second.stderr and f"remove {NAME}" in second.stderr
    kill_flow(stack)
    assert end(stack, process, "remove", NAME).status == 1
    assert is_paused_by_us(stack)
    stack.bootstrap()
    with stack.client() as client:
        assert not client.read_work_pool(POOL).is_paused
    busy.open()
    eventually(lambda: not of_the_worker(stack), "the end of the worker", 60)
    stack.bootstrap()  # its system user goes once nothing runs as it any more
    require_well(stack)


def test_a_removal_killed_while_a_run_is_waited_for_is_finished_by_the_same_command(
    stack: Stack, ours: None, busy: Gated
) -> None:
    process = begin(stack, "remove", NAME)
    eventually(lambda: state_of(stack, f"worker-{NAME}") == "waiting-idle", "the worker on its way out", 150)
    kill_flow(stack)
    assert end(stack, process, "remove", NAME).status == 1
    assert is_paused_by_us(stack) and NAME not in listed(stack)
    again = after(stack, "pools and probes", "remove", NAME)
    still_paused = is_paused_by_us(stack)
    busy.open()
    done = end(stack, again, "remove", NAME)
    assert done.status == 0 and still_paused, done.output  # what is on its way out was given nothing more
    require_well(stack)
    assert not of_the_worker(stack)
    refused = end(stack, begin(stack, "remove", NAME), "remove")
    assert refused.status == 2 and f"there is no worker '{NAME}'" in refused.stderr


@pytest.mark.parametrize(
    ("service", "step"),
    [("server-blue", "install"), pytest.param("postgres", "keep the spec", marks=pytest.mark.rare)],
)
def test_the_server_or_its_database_dies_under_it(stack: Stack, service: str, step: str) -> None:
    process = after(stack, step, *ADD)
    os.kill(stack.pids()[service], signal.SIGKILL)
    first = end(stack, process, *ADD)
    assert "Traceback" not in first.output
    eventually(lambda: stack.call("workers", "list", *stack.where).status == 0, "the server", 120)
    workers(stack, *ADD)
    require_well(stack, NAME)
    workers(stack, "remove", NAME)
    require_well(stack)


def test_a_package_that_does_not_resolve_changes_nothing(stack: Stack) -> None:
    before: dict[str, Any] = {"spec": stack.wanted_file.read_bytes(), "pids": stack.pids()}
    done = end(stack, begin(stack, "add", "fails", "--packages", "prefect==3.0.0"), "add")
    assert done.status == 1 and "no lock for" in done.stderr and "Traceback" not in done.stderr, done.output
    assert {"spec": stack.wanted_file.read_bytes(), "pids": stack.pids()} == before
    require_well(stack)


def test_a_worker_that_does_not_start_changes_nothing(stack: Stack) -> None:
    done = stack.call("workers", "add", "broken", "--env", "PYTHONHOME=/nowhere", *stack.where)
    assert done.status == 1
    assert "worker-broken does not start: ended 3 times soon after its start" in done.stderr, done.output
    assert "selfhost logs worker-broken" in done.stderr and "Traceback" not in done.output
    assert "broken" not in listed(stack)
    eventually(lambda: stack.plan() == [], "an empty plan", 60)
