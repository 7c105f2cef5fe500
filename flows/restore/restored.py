"""The end of a restore: the runs of the backup's time are ended, the server's objects brought in line, and a report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar

from prefect.artifacts import create_table_artifact
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
    TaskRunFilter,
    TaskRunFilterState,
    TaskRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType, TaskRun
from prefect.states import Crashed
from prefect.types import DateTime

from blocks import pools as work_pools
from blocks import verification
from blocks.agent.spec import Condition
from blocks.errors import Blocked
from blocks.host.restore_record import Record
from blocks.resource import Apply
from blocks.server_objects import server_objects
from blocks.services import WORKER_PREFIX
from blocks.stack import Stack
from blocks.waiting import wait_until
from flows.cli.progress import step
from flows.converge import this_server, visit_all
from flows.status import probed_pools, require

T = TypeVar("T")
PAGE = 200
"""Runs on a page of the server's answers."""
MESSAGE = "It was running when this backup was made."
DATABASE_SECONDS = 60.0
"""Time the database gets to answer, where it had to be started."""
FINISHING = timedelta(minutes=15)
"""So long after a restore began to start workers, its checks may still be going on, or be gone through again; they
take a minute, and three where a pool does not begin its probe."""


@dataclass(frozen=True)
class Left:
    """Runs and slots of the backup's time: runs marked as crashed, slots that were freed, runs that are late now."""

    crashed: int
    slots: int
    late: int


def unfinished(stack: Stack) -> Record | None:
    """The record of a restore which was interrupted after the swap of the databases; None where there is none.

    A host without workers is a sure sign: nothing but a restore leaves one so. Once workers have started, people use
    the restored stack, and another `selfhost restore` is another restore, even where a check of the last one failed
    and its record is still there. Except in the first minutes: there the same command, given again after a kill, ends
    the interrupted one.
    """
    found = stack.host.restore.record()
    if found is None or not is_swapped(stack, found):
        return None
    return found if not has_workers(stack) or is_finishing(found, datetime.now(UTC)) else None


def is_swapped(stack: Stack, found: Record) -> bool:
    """Whether this restore has swapped the databases: the replaced one is kept under its label. Waits for an answer.

    Raises:
        NotReady: the database does not answer.
    """
    kept = wait_until(lambda: [stack.database.kept()], "the database's answer", timeout=DATABASE_SECONDS, every=0.2)
    return any(name.endswith(found.label) for name in kept[0])


def is_finishing(found: Record, now: datetime) -> bool:
    """Whether it began a moment ago to start workers. Pure."""
    return bool(found.finishing) and timedelta(0) <= now - datetime.fromisoformat(found.finishing) <= FINISHING


def note_finishing(stack: Stack, found: Record) -> None:
    """Note that all but workers and checks is done; the first time counts."""
    if not found.finishing:
        stack.host.restore.note(replace(found, finishing=datetime.now(UTC).isoformat()))


def record(stack: Stack) -> Record:
    """The record of the restore that is under way."""
    found = stack.host.restore.record()
    if found is None:
        raise Blocked("no restore is under way in this home", "selfhost restore begins one")
    return found


def bring_objects_in_line(stack: Stack) -> None:
    """Pools, deployments, automations and the stack's own blocks, which may be those of an older release or spec."""
    with this_server() as client:
        visit_all(server_objects(stack, client), Apply())


def end_runs_of_then(stack: Stack, found: Record) -> Left:
    """Mark the runs which were under way when the backup was made as crashed, and free their concurrency slots;
    idempotent.

    None of them runs any more: the workers were stopped. Done before workers start, so that every slot that is taken
    is one of theirs.
    """
    with step("runs of then") as detail, this_server() as client:
        work_pools.resume(client, work_pools.marked(client))  # which a change of workers had paused for a moment
        slots = 0 if has_workers(stack) else _free_slots(client)
        left = Left(_crash(client, datetime.fromisoformat(found.stopped)), slots, _late(client))
        detail.text = f"{left.crashed} were running and are marked as crashed, {left.late} scheduled ones are late"
    return left


def has_workers(stack: Stack) -> bool:
    """Whether the host was told to run workers."""
    applied = stack.host.applied()
    return applied is not None and any(each.name.startswith(WORKER_PREFIX) for each in applied.services)


def _crash(client: SyncPrefectClient, stopped: datetime) -> int:
    """Mark flow runs from before the restore, and their task runs, as crashed; how many flow runs there were."""
    # Those paused in their process, too: it is gone. Suspended ones have none, and can be resumed.
    flow_runs = [each for each in work_pools.all_alive(client) if _is_of_then(each, stopped)]
    for run in flow_runs:
        client.set_flow_run_state(run.id, Crashed(message=MESSAGE), force=True)
    for task_run in _running_tasks(client):
        if task_run.flow_run_id is not None and _is_of_then(task_run, stopped):
            client.set_task_run_state(task_run.id, Crashed(message=MESSAGE), force=True)
    return len(flow_runs)


def _is_of_then(run: FlowRun | TaskRun, stopped: datetime) -> bool:
    return run.state is not None and run.state.timestamp <= stopped


def _running_tasks(client: SyncPrefectClient) -> list[TaskRun]:
    wanted = TaskRunFilter(state=TaskRunFilterState(type=TaskRunFilterStateType(any_=work_pools.UNDER_WAY)))
    return _all(partial(client.read_task_runs, task_run_filter=wanted))


def _free_slots(client: SyncPrefectClient) -> int:
    """Free every concurrency slot that is taken; their leases are gone, so nobody else would."""
    taken = [each for each in _all(client.read_global_concurrency_limits) if each.active_slots]
    for each in taken:
        client.update_global_concurrency_limit(each.name, GlobalConcurrencyLimitUpdate(active_slots=0))
    return sum(each.active_slots for each in taken)


def _all(read: Callable[..., Sequence[T]]) -> list[T]:
    """All pages of a call's answer."""
    found: list[T] = []
    while page := read(limit=PAGE, offset=len(found)):
        found += page
    return found


def _late(client: SyncPrefectClient) -> int:
    """Scheduled runs whose time is over: workers begin them as soon as they are there."""
    due = FlowRunFilterExpectedStartTime(before_=DateTime.now("UTC"))
    scheduled = FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED]))
    return client.count_flow_runs(flow_run_filter=FlowRunFilter(state=scheduled, expected_start_time=due))


def verify(stack: Stack) -> str:
    """See through the front door that the restored stack works. Returns which pools began no probe, in words.

    Raises:
        Blocked: it does not; what was replaced is still there.
    """
    with step("verify through the front door") as detail:
        found = verification.verify(stack.door, stack.spec.prefect_version, probed_pools(stack), stack.host.observe())
        waiting = [each for each in found if verification.is_note(each)]
        _require_well([each for each in found if each not in waiting])
        detail.text = f"{len(found) - len(waiting)} checks hold"
    return "; ".join(f"{each.type}: {each.message}" for each in waiting)


def _require_well(conditions: Sequence[Condition]) -> None:
    try:
        require(conditions)
    except Blocked as error:
        hint = "selfhost status shows all checks; the same command, later, is another restore"
        raise Blocked(f"the backup is in place, and not all is well: {error.what}", hint) from error


def publish(stack: Stack, found: Record, left: Left, notes: str, seconds: Mapping[str, float]) -> None:
    """Write the report of the restore as an artifact on the restored stack's own server."""
    create_table_artifact(
        table=rows(stack, found, left, notes, {**found.seconds, **seconds}),
        key="restore",
        description=f"The database was replaced by the backup **{found.backup}**.",
    )


def rows(stack: Stack, found: Record, left: Left, notes: str, seconds: Mapping[str, float]) -> list[dict[str, Any]]:
    """The record as a person reads it."""
    age = datetime.fromisoformat(found.stopped) - datetime.fromisoformat(found.made)
    kept = next((name for name in stack.database.kept() if name.endswith(found.label)), "")
    table = {
        "backup": found.backup,
        "made": found.made,
        "age": f"{age.total_seconds() / 3600:.1f} hours: what was recorded since then is not in this database",
        "rows": str(found.rows),
        "the database before": f"{kept}, until selfhost restore --drop-old",
        "a backup of it": found.safety or "none was wanted",
        "runs marked as crashed": f"{left.crashed}, which were running when the backup was made",
        "concurrency slots freed": str(left.slots),
        "late runs": f"{left.late} scheduled runs whose time has passed start now",
        "checks": notes or "all hold",
        **{f"seconds: {name}": f"{value:.1f}" for name, value in seconds.items()},
    }
    return [{"what": what, "value": value} for what, value in table.items()]
