"""Flow runs whose process is gone, told by their heartbeats: which of them are silent, and which are dead.

A run that waits, for a retry, a person or its process, is not Running and sends none: only Running runs are looked at.
One whose client sends no heartbeats at all is never touched. Silence alone is no proof, as the server may have been
away, or the machine asleep: a run is dead if it stays silent while another's heartbeats do arrive.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.events import ReceivedEvent
from prefect.events.filters import EventFilter, EventNameFilter, EventOccurredFilter, EventResourceFilter
from prefect.states import Crashed

from blocks import pools

HEARTBEAT = "prefect.flow-run.heartbeat"
SILENT = timedelta(seconds=540)
"""Three missed heartbeats; a flow run sends one every 180 s, and the first as soon as it is Running."""
NEWEST = 20
"""Heartbeats of a run that are looked at: some may have come out of order."""
CLOCKS = timedelta(days=2)
"""A client's clock may be ahead of the server's by less than this."""


@dataclass(frozen=True)
class Seen:
    """A flow run as it was at one moment. It has done something in between where two of it differ."""

    id: UUID
    name: str
    state_type: StateType
    state: UUID
    """Id of the state: another one each time the run enters a state."""
    heartbeat: UUID | None = None
    """Id of the newest heartbeat that came after the run had entered its state; None where none did."""
    received: datetime | None = None
    """When that came, by the server's clock, whatever the client's says."""

    @property
    def last(self) -> str:
        """When the newest heartbeat came, for a person."""
        return f"{self.received:%Y-%m-%d %H:%M:%S} UTC" if self.received else "never"


def silent(runs: Iterable[Seen], now: datetime) -> list[Seen]:
    """Those which have sent a heartbeat since they began to run, and none for three times the usual interval. Pure."""
    running = [each for each in runs if each.state_type == StateType.RUNNING]
    return [each for each in running if each.received is not None and now - each.received > SILENT]


def dead(before: Iterable[Seen], after: Iterable[Seen]) -> list[Seen]:
    """Those of the silent ones which have done nothing at all since. Pure.

    Args:
        before: Silent runs.
        after: All runs, as they were after a time in which heartbeats of others did arrive.
    """
    now = set(after)
    return [each for each in before if each in now]


def look(client: SyncPrefectClient) -> list[Seen]:
    """Every flow run that is Running, with its newest heartbeat."""
    return [_seen(client, each) for each in pools.in_states(client, [StateType.RUNNING])]


def _seen(client: SyncPrefectClient, run: FlowRun) -> Seen:
    state = run.state
    assert state is not None  # it was asked for by its state
    beats = [each for each in heartbeats(client, run.id) if each.received >= state.timestamp]
    newest = max(beats, key=lambda each: each.received, default=None)
    seen = Seen(run.id, run.name, state.type, state.id)
    return Seen(run.id, run.name, state.type, state.id, newest.id, newest.received) if newest else seen


def heartbeats(client: SyncPrefectClient, run: UUID) -> list[ReceivedEvent]:
    """The newest heartbeats of a flow run which the server has stored."""
    wanted = EventFilter(
        occurred=EventOccurredFilter(until=datetime.now(UTC) + CLOCKS),
        event=EventNameFilter(name=[HEARTBEAT]),
        resource=EventResourceFilter(id=[f"prefect.flow-run.{run}"]),
    )
    return client.read_events(wanted, limit=NEWEST).events


def crash(client: SyncPrefectClient, run: Seen) -> bool:
    """Mark a dead run as crashed. Whether that was done.

    It is looked at once more right before, and the state is not forced: the server refuses it for a run that has ended
    or is being cancelled meanwhile.
    """
    state = client.read_flow_run(run.id).state
    if state is None or state.id != run.state:
        return False
    message = f"selfhost's sweep: the last heartbeat came at {run.last}, its process is gone."
    crashed: State[None] = Crashed(message=message)
    done = client.set_flow_run_state(run.id, crashed)
    return done.state is not None and done.state.type == StateType.CRASHED
