"""The moment one server takes over from another, and a run under a concurrency limit that goes on past it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient

from tests.gated import folder_of
from tests.stack import Stack, eventually

LOOK_SECONDS = 0.1
START_SECONDS = 120.0
RELEASE_SECONDS = 30.0
FLOW = """
import time
from pathlib import Path
from prefect import flow

@flow(name="limited")
def limited(until: str) -> None:
    while not Path(until).exists():
        time.sleep(0.2)
"""
"""Goes on until it is told to end, as nobody knows beforehand when the switch will be."""


@dataclass
class Switch:
    """One server taking over from another; moments are those of time.time(), 0 before they are seen."""

    ready_at: float = 0.0
    """The new server accepts."""
    alone_at: float = 0.0
    """The old one is gone."""
    slots_at_end: int = -1
    """Concurrency slots that were taken just before the limited run was told to end."""


@dataclass(frozen=True)
class Limited:
    """A run on the default pool under a concurrency limit of its deployment."""

    deployment: UUID
    run: UUID
    end: Path
    """It ends when this file appears."""


def limited_run(stack: Stack) -> Limited:
    """Start it, and wait until it runs."""
    folder = folder_of(stack)
    (folder / "slow.py").write_text(FLOW)
    end = folder / "limited-may-end"
    with stack.client() as client:
        deployment = client.create_deployment(
            flow_id=client.create_flow_from_name("limited"),
            name="limited",
            entrypoint="slow.py:limited",
            path=str(folder),
            work_pool_name="default",
            concurrency_limit=1,
            enforce_parameter_schema=False,
        )
        run = client.create_flow_run_from_deployment(deployment, parameters={"until": str(end)}).id
        eventually(lambda: _state(client, run) == "Running", "the limited run", START_SECONDS)
    return Limited(deployment, run, end)


def _state(client: SyncPrefectClient, run: UUID) -> str:
    found = client.read_flow_run(run).state
    return found.name or "" if found else ""


def slots(stack: Stack, limited: Limited) -> int:
    """How many slots of the deployment's limit are taken."""
    sql = (
        "SELECT active_slots FROM concurrency_limit_v2 l JOIN deployment d ON d.concurrency_limit_id = l.id "
        f"WHERE d.id = '{limited.deployment}'"
    )
    return int(stack.query(sql)[0][0])


@contextmanager
def ended_past_switch(stack: Stack, limited: Limited, minutes: float) -> Iterator[Switch]:
    """The block upgrades the stack: see the switch, and tell the run to end so many minutes later, not before."""
    ((_, old),) = stack.servers().items()
    switch, given_up = Switch(), threading.Event()

    def watch() -> None:
        try:
            _see(stack, old, switch, given_up)
            given_up.wait(max(0.0, switch.ready_at + minutes * 60 - time.time()))
            switch.slots_at_end = slots(stack, limited)
        finally:
            limited.end.touch()

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield switch
    except BaseException:
        given_up.set()
        raise
    finally:
        thread.join(minutes * 60 + START_SECONDS)
        given_up.set()
        thread.join()


def _see(stack: Stack, old: int, switch: Switch, given_up: threading.Event) -> None:
    while not switch.alone_at and not given_up.wait(LOOK_SECONDS):
        switch.ready_at = switch.ready_at or _ready_at(stack, old)
        if switch.ready_at and not Path(f"/proc/{old}").exists():
            switch.alone_at = time.time()


def _ready_at(stack: Stack, old: int) -> float:
    """When another server than the old one became ready; 0 if none is."""
    for path in (stack.home / "run").glob("server-*.json"):
        with suppress(FileNotFoundError):
            record = json.loads(path.read_text())
            if record["pid"] != old:
                return float(record["ready_at"])
    return 0.0


def told(stack: Stack, limited: Limited, switch: Switch) -> str:
    """How that run ended, in words."""
    with suppress(AssertionError):
        eventually(lambda: slots(stack, limited) == 0, "the concurrency slot", RELEASE_SECONDS)
    ((name, past),) = stack.query(
        f"SELECT state_name, extract(epoch FROM end_time) - {switch.ready_at} FROM flow_run WHERE id = '{limited.run}'"
    )
    after = f"{float(past):.1f} s past the switch" if past else "not ended"
    return f"{name}, {after}; slots of its limit taken then: {switch.slots_at_end}, now: {slots(stack, limited)}"
