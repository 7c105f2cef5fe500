"""Checks against a real server without a worker: what keeps a run from starting, and checks beside each other."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import UUID

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate, WorkPoolUpdate
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.schedules import CronSchedule
from prefect.states import Running

from blocks import verification
from blocks.front_door import FrontDoor
from blocks.resource import Apply, visit
from blocks.server_objects import Deployment, WorkPool, deployments
from blocks.verification import CHECK_SLUG
from blocks.waiting import wait_until

POOL = "maintenance"


@pytest.fixture
def door(address: str) -> FrontDoor:
    return FrontDoor(address, "admin:not asked for")


@pytest.fixture
def deployment(client: SyncPrefectClient) -> Iterator[UUID]:
    """`probe/maintenance` on a pool of its own, which has no worker."""
    visit(WorkPool(POOL, "process", 4, client), Apply())
    entry = next(each for each in deployments([POOL]) if each["entrypoint"].endswith(".probe"))
    visit(Deployment(entry, client, paused=False), Apply())
    found = client.read_deployment_by_name(f"probe/{POOL}").id
    yield found
    client.delete_deployment(found)
    client.delete_work_pool(POOL)


def runs_of(client: SyncPrefectClient, deployment: UUID) -> list[FlowRun]:
    return client.read_flow_runs(deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment])))


def test_paused_pool_is_told_at_once_without_a_run(
    door: FrontDoor, client: SyncPrefectClient, deployment: UUID
) -> None:
    client.update_work_pool(POOL, WorkPoolUpdate(is_paused=True))
    seen = verification.probe(door, POOL)
    assert (seen.status, seen.reason) == (False, "RunNotStarted")
    assert "work pool maintenance is paused" in seen.message
    assert runs_of(client, deployment) == []


def test_run_that_no_worker_takes_is_cancelled_and_told(
    door: FrontDoor, client: SyncPrefectClient, deployment: UUID
) -> None:
    seen = verification.probe(door, POOL, seconds=1)
    assert (seen.status, seen.reason) == (False, "RunNotStarted")
    assert "is Scheduled after 1 s" in seen.message
    assert "no worker of work pool maintenance is online" in seen.message
    assert "\n" not in seen.message
    assert [each.state_type for each in runs_of(client, deployment)] == [StateType.CANCELLED]


def test_run_that_waits_for_the_pools_limit_is_cancelled_and_told(
    door: FrontDoor, client: SyncPrefectClient, deployment: UUID
) -> None:
    client.update_work_pool(POOL, WorkPoolUpdate(concurrency_limit=1))
    busy = client.create_flow_run_from_deployment(deployment)
    client.set_flow_run_state(busy.id, Running(), force=True)
    seen = verification.probe(door, POOL, seconds=1)
    assert (seen.status, seen.reason) == (False, "RunNotStarted")
    assert "the concurrency limit 1 of work pool maintenance is reached" in seen.message
    assert f"its places are taken by {busy.name} (maintenance, Running); wait for these or cancel" in seen.message
    states = {each.id: each.state_type for each in runs_of(client, deployment)}
    assert states.pop(busy.id) == StateType.RUNNING
    assert list(states.values()) == [StateType.CANCELLED]


def test_run_that_began_and_does_not_end_has_failed(
    door: FrontDoor, client: SyncPrefectClient, deployment: UUID
) -> None:
    with ThreadPoolExecutor(1) as executor:
        checking = executor.submit(verification.probe, door, POOL, seconds=5)
        run = wait_until(lambda: runs_of(client, deployment), "the probe run", timeout=30, every=0.1)[0]
        client.set_flow_run_state(run.id, Running(), force=True)
        seen = checking.result()
    assert (seen.status, seen.reason) == (False, "RunFailed")
    assert "is Running after 5 s" in seen.message
    assert client.read_flow_run(run.id).state_type == StateType.CANCELLED


def test_checks_beside_each_other_all_see_the_scheduler_move_and_leave_nothing(
    door: FrontDoor, client: SyncPrefectClient, deployment: UUID
) -> None:
    with ThreadPoolExecutor(3) as executor:
        seen = list(executor.map(lambda _: verification.scheduler_moves(door), range(3)))
    assert [(each.reason, each.message) for each in seen] == [("RunAppeared", seen[0].message)] * 3
    assert client.read_deployment_schedules(deployment) == []


def test_another_schedules_runs_are_not_the_checks_own(
    door: FrontDoor, client: SyncPrefectClient, deployment: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A probe run waiting for its worker is scheduled, too: it must not pass for the scheduler's work."""
    client.create_flow_run_from_deployment(deployment)
    monkeypatch.setattr(verification, "_touch", lambda client, deployment: None)
    seen = verification.scheduler_moves(door, seconds=1)
    assert (seen.status, seen.reason) == (False, "NothingScheduled")


def test_schedules_of_killed_checks_are_removed_and_those_of_living_ones_left(
    door: FrontDoor, client: SyncPrefectClient, deployment: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    cron = CronSchedule(cron="0 0 * * *", timezone="UTC")
    slugs = [f"{CHECK_SLUG}-dead", None, "mine"]
    client.create_deployment_schedules(
        deployment, [DeploymentScheduleCreate(schedule=cron, slug=each) for each in slugs]
    )
    assert verification.scheduler_moves(door).status
    assert len(client.read_deployment_schedules(deployment)) == 3
    monkeypatch.setattr(verification, "LEFT_OVER_AFTER", timedelta())
    assert verification.scheduler_moves(door).status
    assert {each.slug for each in client.read_deployment_schedules(deployment)} == {None, "mine"}


def test_paused_probe_deployment_stays_paused(door: FrontDoor, client: SyncPrefectClient, deployment: UUID) -> None:
    client.pause_deployment(deployment)
    seen = verification.scheduler_moves(door)
    assert (seen.status, seen.reason) == (False, "DeploymentPaused")
    assert client.read_deployment(deployment).paused
