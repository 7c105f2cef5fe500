"""Pausing work pools while their workers change, so that no run starts on a worker that is about to end.

A pool paused by us says so in its description. So the next run knows a pool which an interrupted one had paused, and
resumes it; a pool which a person paused is left alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolUpdate
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import FlowRun, StateType, WorkPool
from prefect.exceptions import ObjectNotFound

MARK = " [paused by selfhost while its workers change]"
PAGE = 200
"""Runs on a page of the server's answers."""
TAKE_A_PLACE = [StateType.PENDING, StateType.RUNNING]
"""States whose runs the server counts against their pool's concurrency limit."""
UNDER_WAY = [*TAKE_A_PLACE, StateType.CANCELLING]
"""States of a run that has begun and not ended: only a worker, or the run's own process, goes on with it."""
ALIVE = [*UNDER_WAY, StateType.PAUSED]
"""States of a run that has a process, or is about to get one; a suspended one, which is PAUSED too, has none."""


def pause(client: SyncPrefectClient, names: Iterable[str]) -> list[str]:
    """Pause these pools with our mark; those that were paused already, or are not there, are left out."""
    return [name for name in names if _pause(client, name)]


def resume(client: SyncPrefectClient, names: Iterable[str]) -> list[str]:
    """Resume those of these pools which carry our mark."""
    return [name for name in names if _resume(client, name)]


def is_marked(pool: WorkPool) -> bool:
    """Whether the pool is paused by us and by nobody else."""
    return MARK in (pool.description or "")


def marked(client: SyncPrefectClient) -> list[str]:
    """Pools that carry our mark. Without a holder of the lease they are those which an interrupted run had paused."""
    return sorted(each.name for each in client.read_work_pools() if is_marked(each))


def alive(client: SyncPrefectClient, names: Collection[str]) -> list[FlowRun]:
    """Flow runs of these pools that have a process, or are about to get one."""
    return [each for each in in_states(client, ALIVE, names) if has_process(each)] if names else []


def all_alive(client: SyncPrefectClient) -> list[FlowRun]:
    """The same of the whole server, with those that somebody runs without a pool, as from a laptop."""
    return [each for each in in_states(client, ALIVE) if has_process(each)]


def in_states(client: SyncPrefectClient, states: Sequence[StateType], names: Collection[str] = ()) -> list[FlowRun]:
    """All flow runs in states of these types: of these pools, or where none is named of the whole server."""
    wanted = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=list(states))))
    of = WorkPoolFilter(name=WorkPoolFilterName(any_=list(names))) if names else None
    found: list[FlowRun] = []
    while page := client.read_flow_runs(flow_run_filter=wanted, work_pool_filter=of, limit=PAGE, offset=len(found)):
        found += page
    return found


def has_process(run: FlowRun) -> bool:
    """Whether a run in one of the states `ALIVE` has a process, or is about to get one."""
    return run.state_name != "Suspended"


def in_words(runs: Iterable[FlowRun]) -> str:
    """Runs in words for a person."""
    return (
        ", ".join(f"{each.name} ({each.work_pool_name or 'no pool'}, {each.state_name})" for each in runs) or "no run"
    )


def _pause(client: SyncPrefectClient, name: str) -> bool:
    pool = _found(client, name)
    if pool is None or (pool.is_paused and not is_marked(pool)):
        return False
    if not pool.is_paused:
        described = (pool.description or "").replace(MARK, "") + MARK
        client.update_work_pool(name, WorkPoolUpdate(is_paused=True, description=described))
    return True


def _resume(client: SyncPrefectClient, name: str) -> bool:
    pool = _found(client, name)
    if pool is None or not is_marked(pool):
        return False
    described = (pool.description or "").replace(MARK, "")
    client.update_work_pool(name, WorkPoolUpdate(is_paused=False, description=described))
    return True


def _found(client: SyncPrefectClient, name: str) -> WorkPool | None:
    try:
        return client.read_work_pool(name)
    except ObjectNotFound:
        return None
