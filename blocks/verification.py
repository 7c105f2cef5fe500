"""Seeing that a stack works, through its front door, as its users would.

Each check answers with a `Condition`: what is so, or what is not and what to look at. None of them trusts a
process list: a run is run, a socket is opened, a schedule is scheduled.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    LogFilter,
    LogFilterTaskRunId,
)
from prefect.client.schemas.objects import FlowRun, StateType, WorkPoolStatus
from prefect.client.schemas.schedules import CronSchedule
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.states import Cancelled
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from blocks import pools as work_pools
from blocks.agent.spec import Condition, HostStatus
from blocks.errors import Blocked, NotReady, SelfhostError
from blocks.front_door import FrontDoor
from blocks.host.host import SERVES
from blocks.waiting import wait_until

PROBE_SECONDS = 120.0
"""Time a probe run gets: 4 s on a quiet machine, most of it the import of Prefect in the run's own process."""
SCHEDULER_SECONDS = 60.0
"""Time the scheduler gets to schedule a new schedule: it looks every 5 s."""
STORED_SECONDS = 30.0
"""Time the server gets to store a task run and a log line of a run that has ended: both travel as events."""
CHECK_SCHEDULE = CronSchedule(cron="0 0 * * *", timezone="UTC")
CHECK_SLUG = "selfhost-scheduler-check"
"""How the slug of each check's own schedule begins."""
LEFT_OVER_AFTER = timedelta(minutes=10)
"""Age at which a check's schedule belongs to nobody: no check lives longer than a few minutes."""
SILENT = "FrontDoorSilent"
"""Reason of a condition: nobody answers behind the front door, so other checks would only wait."""
FAULTS = (SelfhostError, ObjectNotFound, PrefectHTTPStatusError, httpx.HTTPError)
"""What a call to the server may raise."""
NAMED = 5
"""Runs that are named where a pool is full."""


def verify(door: FrontDoor, version: str, pools: Sequence[str], status: HostStatus | None) -> list[Condition]:
    """Run every check, side by side, and return their conditions in a fixed order.

    Where nobody answers at the front door, the checks which would only wait for it are left out.

    Args:
        version: The Prefect version the server should be.
        pools: Work pools whose workers should run a probe; the deployment is `probe/<pool>`.
        status: The host's own report; None where there is none.
    """
    first = [services(status), version_is(door, version)]
    if first[-1].reason == SILENT:
        return first
    checks: list[Callable[[], Condition]] = [
        lambda: websockets(door),
        lambda: scheduler_moves(door),
        *(_probe_of(door, pool) for pool in pools),
    ]
    with ThreadPoolExecutor(len(checks)) as executor:
        return [*first, *executor.map(lambda check: check(), checks)]


def quick(door: FrontDoor, version: str, status: HostStatus | None) -> list[Condition]:
    """The checks that run nothing on a worker: services, version, websockets."""
    first = [services(status), version_is(door, version)]
    return first if first[-1].reason == SILENT else [*first, websockets(door)]


def alerts_reach(door: FrontDoor, reference: str) -> Condition:
    """Whether the notification block which the spec names is on the server, so that alerts reach somebody."""
    kind = "AlertsReach"
    slug, _, name = reference.partition("/")
    try:
        with door.impatient_client() as client:
            client.read_block_document_by_name(name, slug, include_secrets=False)
    except FAULTS as error:
        reason = "it is not there" if isinstance(error, ObjectNotFound) else str(error)
        return _no(kind, "NoSuchBlock", f"{reference}: {reason}; make it in the UI, then run the deployment converge")
    return _yes(kind, "BlockFound", f"alerts go to {reference}")


def services(status: HostStatus | None) -> Condition:
    """Whether the host agent is alive and reports every service ready."""
    kind = "ServicesReady"
    if status is None:
        return _no(kind, "NoReport", "the host agent has reported nothing; selfhost start")
    age = time.time() - status.time
    if age > 90:
        return _no(
            kind, "OldReport", f"the host agent's report is {age:.0f} s old, it renews it every 30; selfhost start"
        )
    not_ready = [
        f"{each.name} is {each.state} {each.message}".strip() for each in status.services if each.state not in SERVES
    ]
    if not_ready or not status.services:
        return _no(kind, "NotReady", "; ".join(not_ready) or "no service is there; selfhost start")
    return _yes(kind, "AllReady", f"{len(status.services)} services are ready")


def version_is(door: FrontDoor, version: str) -> Condition:
    """Whether the server behind the front door is the expected version, and refuses a caller without auth."""
    kind = "ExpectedVersion"
    path = f"{door.api_url}/admin/version"
    try:
        user, _, password = door.auth_string.partition(":")
        found = httpx.get(path, auth=(user, password), timeout=15)
        stranger = httpx.get(path, timeout=15)
    except httpx.HTTPError as error:
        return _no(kind, SILENT, f"{path} does not answer: {error}; selfhost logs nginx")
    broken = next((each for each in (found, stranger) if each.status_code >= 500), None)
    if broken is not None:  # nginx lives, and nobody behind it does
        return _no(kind, SILENT, f"{path} answers {broken.status_code}; selfhost status, selfhost logs")
    if stranger.status_code != 401:
        return _no(kind, "OpenToStrangers", f"{path} answers {stranger.status_code} without the auth string, not 401")
    if found.status_code != 200 or found.text.strip() != json.dumps(version):
        return _no(kind, "OtherVersion", f"expected {version}, found {found.text[:80]!r} ({found.status_code})")
    return _yes(kind, "AsExpected", f"Prefect {version} answers, and only with the auth string")


def websockets(door: FrontDoor) -> Condition:
    """Whether every websocket lets the right token in and refuses a wrong one."""
    kind = "WebsocketsOpen"
    paths = websocket_paths()
    with ThreadPoolExecutor(len(paths) * 2) as executor:
        right = list(executor.map(lambda path: _handshake(door, path, door.auth_string), paths))
        wrong = list(executor.map(lambda path: _handshake(door, path, "admin:wrong"), paths))
    faults = [f"{path}: {said}" for path, said in zip(paths, right, strict=True) if said != "auth_success"]
    faults += [
        f"{path}: lets a wrong token in" for path, said in zip(paths, wrong, strict=True) if said == "auth_success"
    ]
    if faults:
        return _no(kind, "HandshakeFailed", "; ".join(faults))
    return _yes(kind, "AllOpen", f"{len(paths)} websockets take the auth string and refuse a wrong one")


def websocket_paths() -> list[str]:
    """The server's websocket routes, a work pool's name filled in. A test holds them against the installed server."""
    return [
        "/api/events/in",
        "/api/events/out",
        "/api/logs/out",
        "/api/task_runs/subscriptions/scheduled",
        "/api/work_pools/default/workers/connect",
    ]


def _handshake(door: FrontDoor, path: str, token: str) -> str:
    """What the server says to a token: `auth_success`, or why it closed."""
    url = door.url.replace("http", "ws", 1) + path
    try:
        with connect(url, subprotocols=[Subprotocol("prefect")], open_timeout=15, proxy=None) as socket:
            socket.send(json.dumps({"type": "auth", "token": token}))
            return str(json.loads(socket.recv(timeout=15)).get("type"))
    except (WebSocketException, OSError, TimeoutError, ValueError) as error:
        return f"{type(error).__name__} {error}"


def is_note(condition: Condition) -> bool:
    """Whether a check says no more than that a pool began no run: it is paused, or busy with others, which is nobody's
    fault. A run that began and did not end well is one. Pure."""
    return not condition.status and condition.reason == "RunNotStarted"


def _probe_of(door: FrontDoor, pool: str) -> Callable[[], Condition]:
    return lambda: probe(door, pool)


def probe(door: FrontDoor, pool: str, *, seconds: float = PROBE_SECONDS) -> Condition:
    """Run `probe/<pool>` on the pool's worker and read its task run and its log line back.

    A paused pool is told at once, without a run. A run that does not end in time is cancelled, so that checks
    leave no queue behind.

    Args:
        seconds: Time the run gets to end.
    """
    kind = f"WorkerRuns/{pool}"
    question = f"check {secrets.token_hex(4)}"
    try:
        with door.impatient_client() as client:
            if client.read_work_pool(pool).is_paused:
                return _no(kind, "RunNotStarted", f"work pool {pool} is paused; resume it in the UI")
            run = client.create_flow_run_from_deployment(
                client.read_deployment_by_name(f"probe/{pool}").id,
                parameters={"question": question},
                idempotency_key=question,  # the call may be repeated
            )
            try:
                wait_until(lambda: _ended_well(client, run.id), f"run {run.name}", timeout=seconds, every=0.2)
            except NotReady:
                return _given_up(client, run.id, pool, seconds)
            wait_until(
                lambda: _task_run_with_log(client, run.id, question),
                f"task run and log of {run.name}",
                timeout=STORED_SECONDS,
                every=0.2,
            )
    except FAULTS as error:
        return _no(kind, "RunFailed", f"{error}; selfhost logs worker-{pool}")
    return _yes(kind, "RunCompleted", f"run {run.name} completed, its task run and log are stored")


def _given_up(client: SyncPrefectClient, run_id: UUID, pool: str, seconds: float) -> Condition:
    """Cancel a run that did not end in time, and say in one line what was seen of it."""
    run = client.read_flow_run(run_id)
    seen = f"run {run.name} is {run.state.name if run.state else 'without a state'} after {seconds:.0f} s"
    why = _why_waiting(client, pool) if run.start_time is None else "it began and did not end"
    if run.state is None or not run.state.is_final():
        client.set_flow_run_state(run_id, Cancelled(message=f"The check waited {seconds:.0f} s for it."), force=True)
    reason = "RunFailed" if run.start_time else "RunNotStarted"
    return _no(f"WorkerRuns/{pool}", reason, f"{seen} and was cancelled: {why}; selfhost logs worker-{pool}")


def _why_waiting(client: SyncPrefectClient, name: str) -> str:
    """What keeps a pool from starting a run, as far as the server knows."""
    pool = client.read_work_pool(name)
    under_way = work_pools.in_states(client, work_pools.TAKE_A_PLACE, [name])
    if pool.is_paused:
        return f"work pool {name} is paused"
    if pool.concurrency_limit is not None and len(under_way) >= pool.concurrency_limit:
        return (
            f"the concurrency limit {pool.concurrency_limit} of work pool {name} is reached, its places are taken by "
            f"{_named(under_way)}; wait for these or cancel them in the UI, or selfhost workers scale WORKER N"
        )
    if pool.status != WorkPoolStatus.READY:
        return f"no worker of work pool {name} is online"
    return f"a worker of work pool {name} is online, {len(under_way)} runs are under way"


def _named(runs: Sequence[FlowRun]) -> str:
    """The runs that have been there longest, in words; the others are counted."""
    oldest = sorted(runs, key=lambda each: str(each.created))[:NAMED]
    more = len(runs) - len(oldest)
    return work_pools.in_words(oldest) + (f" and {more} more" if more else "")


def _ended_well(client: SyncPrefectClient, run_id: UUID) -> bool:
    state = client.read_flow_run(run_id).state
    if state is not None and state.is_final() and not state.is_completed():
        raise Blocked(f"the probe run ended as {state.name}: {state.message}")
    if state is None or not state.is_completed():
        raise NotReady(f"its state is {state.name if state else 'unknown'}")
    return True


def _task_run_with_log(client: SyncPrefectClient, run_id: UUID, question: str) -> bool:
    only_this = FlowRunFilter(id=FlowRunFilterId(any_=[run_id]))
    task_runs = client.read_task_runs(flow_run_filter=only_this)
    completed = [each for each in task_runs if each.state is not None and each.state.is_completed()]
    if not completed:
        raise NotReady(f"{len(task_runs)} task runs are stored, none completed")
    logs = client.read_logs(LogFilter(task_run_id=LogFilterTaskRunId(any_=[completed[0].id])))
    if not any(question in each.message for each in logs):
        raise NotReady(f"{len(logs)} log lines are stored, not the expected one")
    return True


def scheduler_moves(door: FrontDoor, *, seconds: float = SCHEDULER_SECONDS) -> Condition:
    """Put a schedule on a probe deployment, see its run appear, take it away again.

    Args:
        seconds: Time the scheduler gets.
    """
    kind = "SchedulerMoves"
    try:
        with door.impatient_client() as client:
            deployment = client.read_deployment_by_name("probe/maintenance")
            if deployment.paused:
                return _no(kind, "DeploymentPaused", "probe/maintenance is paused; resume it in the UI")
            remove_check_schedules(client, LEFT_OVER_AFTER)
            schedule = _add_check_schedule(client, deployment.id)
            try:
                wait_until(
                    lambda: _has_run(client, deployment.id, schedule), "a scheduled run", timeout=seconds, every=0.2
                )
            finally:
                _remove_check_schedule(client, deployment.id, schedule)
    except FAULTS as error:
        return _no(kind, "NothingScheduled", f"{error}; selfhost logs server-blue")
    return _yes(kind, "RunAppeared", "a new schedule got its scheduled run")


def _has_run(client: SyncPrefectClient, deployment: UUID, schedule: UUID) -> bool:
    """Whether a run of this very schedule is there: probe runs and other checks' runs are scheduled, too."""
    found = client.read_flow_runs(
        deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment])),
        flow_run_filter=FlowRunFilter(
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED]))
        ),
        sort=FlowRunSort.EXPECTED_START_TIME_ASC,
    )
    return any(each.created_by is not None and each.created_by.id == schedule for each in found)


def _add_check_schedule(client: SyncPrefectClient, deployment: UUID) -> UUID:
    """A schedule of this check's own: two checks at once do not take each other's away."""
    slug = f"{CHECK_SLUG}-{secrets.token_hex(4)}"
    schedule = {"schedule": CHECK_SCHEDULE.model_dump(mode="json"), "active": True, "slug": slug}
    client.request("POST", "/deployments/{id}/schedules", path_params={"id": deployment}, json=[schedule])
    _touch(client, deployment)
    return next(each.id for each in client.read_deployment_schedules(deployment) if each.slug == slug)


def _remove_check_schedule(client: SyncPrefectClient, deployment: UUID, schedule: UUID) -> None:
    with contextlib.suppress(ObjectNotFound):  # another check took it for left over
        client.delete_deployment_schedule(deployment, schedule)
    # The server deletes the scheduled runs of all the deployment's schedules with it: have the others' made again.
    _touch(client, deployment)


def _touch(client: SyncPrefectClient, deployment: UUID) -> None:
    """Have the scheduler look: it takes up updated deployments within 5 s, and a new schedule alone is no update."""
    client.request("PATCH", "/deployments/{id}", path_params={"id": deployment}, json={"paused": False})


def remove_check_schedules(client: SyncPrefectClient, older_than: timedelta = timedelta(0)) -> None:
    """Take away the schedules of checks that were killed; one that still runs is younger than LEFT_OVER_AFTER."""
    deployment = client.read_deployment_by_name("probe/maintenance").id
    oldest = datetime.now(UTC) - older_than
    for each in client.read_deployment_schedules(deployment):
        if (each.slug or "").startswith(CHECK_SLUG) and each.created is not None and each.created <= oldest:
            _remove_check_schedule(client, deployment, each.id)


def _yes(kind: str, reason: str, message: str) -> Condition:
    return Condition(kind, True, reason, message, time.time())


def _no(kind: str, reason: str, message: str) -> Condition:
    return Condition(kind, False, reason, message, time.time())
