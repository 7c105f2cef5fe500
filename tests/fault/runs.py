"""Calls of `selfhost` and runs of our own deployments: started, looked into, and disturbed."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun

from tests.disk import mounted
from tests.stack import CALL_SECONDS, Result, Stack, eventually, processes_of
from tests.traffic import headers

OBJECTS = ("block ", "deployment ", "automation ", "work pool ", "probes ")
"""Beginnings of the steps that bring the server's objects in line."""
Boundary = Callable[[Stack, UUID], bool]
"""Whether a run has come to a certain place."""


def disturbed_call(stack: Stack, argv: Sequence[str], on_step: Callable[[str, subprocess.Popen[str]], None]) -> Result:
    """Make a call, and do something each time one of its steps has ended: `on_step` gets its name and the process."""
    process = stack.start(*argv)
    lines = []
    assert process.stdout is not None and process.stderr is not None
    for line in process.stdout:
        lines.append(line)
        for step in Result((), 0, line, "").steps:
            on_step(step, process)
    stderr = process.stderr.read()
    process.wait(timeout=CALL_SECONDS)
    return stack.ended(process, argv, "".join(lines), stderr)


def boundary(step: str) -> str:
    """What kind of place the end of a step is: between any two objects of one kind on the server it is the same."""
    return next((kind for kind in OBJECTS if step.startswith(kind)), step)


def says_one_line_with_a_hint(done: Result) -> bool:
    return [each.partition(":")[0] for each in done.stderr.splitlines()] == ["error", "hint"]


def begun(stack: Stack, name: str, **parameters: Any) -> UUID:
    """A run of `flow/deployment`."""
    with stack.client() as client:
        deployment = client.read_deployment_by_name(name)
        return client.create_flow_run_from_deployment(deployment.id, parameters=parameters).id


def ended(stack: Stack, run: UUID, seconds: float) -> FlowRun:
    """Wait until it is in a final state."""

    def final() -> FlowRun | None:
        with stack.client() as client:
            found = client.read_flow_run(run)
        return found if found.state is not None and found.state.is_final() else None

    return eventually(final, "the end of the run", seconds, every=0.5)  # type: ignore[no-any-return]


def kill_at(stack: Stack, run: UUID, name: str, reached: Boundary, seconds: float) -> None:
    """Kill a run's process at a boundary; where the run before had got so far, as soon as there is a process."""

    looked = time.monotonic()

    def killed() -> bool:
        nonlocal looked
        if reached(stack, run) and kill_flow(stack, run):
            return True
        if time.monotonic() - looked > 1:
            with stack.client() as client:
                state = client.read_flow_run(run).state
            assert state is None or not state.is_final(), (name, state)
            looked = time.monotonic()
        return False

    eventually(killed, name, seconds, every=0.02)


def kill_flow(stack: Stack, run: UUID) -> bool:
    """SIGKILL to the process of a flow run, False while there is none; what it had started on the host goes on."""
    killed = False
    for pid in processes_of_run(stack, run):
        with suppress(OSError):
            os.kill(pid, signal.SIGKILL)
            killed = True
    return killed


def processes_of_run(stack: Stack, run: UUID) -> list[int]:
    """Every living process of a flow run."""
    wanted, found = f"PREFECT__FLOW_RUN_ID={run}".encode(), []
    for pid in processes_of(stack.home):
        with suppress(OSError):
            if wanted in Path(f"/proc/{pid}/environ").read_bytes():
                found.append(pid)
    return found


LASTING = ("flow", "task_run", "log", "block_document", "variable")
"""Tables of which a change of the stack takes no row away, as it does of scheduled runs and of probes of pools."""
ENDED = "SELECT f.name, r.id, r.state_type, r.start_time, r.end_time FROM flow_run r JOIN flow f ON f.id = r.flow_id "
ENDED += "WHERE r.state_type = 'COMPLETED'"


def lasting(stack: Stack) -> dict[str, set[tuple[str, ...]]]:
    """What may not be lost, nor changed: the rows of those tables, and each run that has ended with its exact times."""
    rows = {name: {tuple(row) for row in stack.query(f"SELECT id FROM {name}")} for name in LASTING}
    return rows | {"ended runs": {tuple(row) for row in stack.query(ENDED)}}


@contextmanager
def nothing_lost(stack: Stack) -> Iterator[None]:
    """All that was recorded before is there afterwards."""
    before = lasting(stack)
    yield
    after = lasting(stack)
    assert not {name: rows - after[name] for name, rows in before.items() if rows - after[name]}


def answers(stack: Stack, auth_string: str = "") -> bool:
    """Whether the server and its database do, as after one of them was killed."""
    known = headers(auth_string or stack.secret("auth-string"))
    with suppress(httpx.TransportError):
        return httpx.post(f"{stack.url}/api/flows/count", headers=known, json={}, timeout=10).status_code == 200
    return False


@contextmanager
def without_room(folder: Path) -> Iterator[None]:
    """A disk with next to no room in the place of a folder."""
    folder.mkdir(exist_ok=True)  # where nothing was stored yet
    with mounted(folder, "size=64k,mode=0700"):
        yield


def has_task(name: str) -> Boundary:
    """Whether a task of this name has begun, or is over."""

    def begun_or_over(stack: Stack, run: UUID) -> bool:
        with stack.client() as client:
            found = client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run])))
        return any(each.name.startswith(name) for each in found)

    return begun_or_over
