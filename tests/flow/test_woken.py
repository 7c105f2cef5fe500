"""A worker hears of what happens in its pool: by the clock none of these would be taken for an hour."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from abc import ABC
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import anyio
import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_WORKER_QUERY_SECONDS, temporary_settings
from prefect.states import Completed, Scheduled
from prefect.workers.process import ProcessWorker, ProcessWorkerResult

from blocks import woken
from blocks.waiting import wait_until
from blocks.woken import Woken

POOL = "woken"


class Noting(Woken, ProcessWorker, ABC):  # an abstract one is not registered
    """Holds each run it is given until it is let go."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.taken: list[UUID] = []
        self.let_go = threading.Event()
        self.ends = anyio.Event()

    async def run(self, flow_run: FlowRun, configuration: Any, task_status: Any = None) -> ProcessWorkerResult:
        self.taken.append(flow_run.id)
        task_status.started(1)
        await anyio.to_thread.run_sync(self.let_go.wait)
        await self.client.set_flow_run_state(flow_run.id, Completed(), force=True)
        return ProcessWorkerResult(status_code=0, identifier="1")

    async def work(self) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(self.start)
            await self.ends.wait()
            group.cancel_scope.cancel()


@pytest.fixture
def deployment(client: SyncPrefectClient) -> Iterator[UUID]:
    from flows.probe import probe

    client.create_work_pool(WorkPoolCreate(name=POOL, type="process", concurrency_limit=1))
    made = client.create_deployment(client.create_flow(probe), POOL, work_pool_name=POOL)
    yield made
    client.delete_deployment(made)
    client.delete_work_pool(POOL)


@pytest.fixture
def worker(client: SyncPrefectClient, deployment: UUID) -> Iterator[Noting]:
    """A worker at work, which has asked once and asks again in an hour."""
    with temporary_settings({PREFECT_WORKER_QUERY_SECONDS: 3600}):
        worker = Noting(work_pool_name=POOL, name=POOL)
        thread = threading.Thread(target=contextvars.copy_context().run, args=(anyio.run, worker.work))
        thread.start()
        wait_until(lambda: worker._last_polled_time, "the first question", timeout=60, every=0.1)
        yield worker
        worker.let_go.set()
        worker.ends.set()
        thread.join(30)


def test_a_run_is_taken_when_it_is_scheduled_and_the_next_when_that_has_left_its_place(
    client: SyncPrefectClient, deployment: UUID, worker: Noting
) -> None:
    first, second = (client.create_flow_run_from_deployment(deployment, state=Scheduled()).id for _ in range(2))
    wait_until(lambda: worker.taken == [first], "the first run being taken", timeout=60, every=0.1)
    worker.let_go.set()
    wait_until(lambda: worker.taken == [first, second], "the second run being taken", timeout=60, every=0.1)


def test_what_waits_is_taken_when_its_pool_is_resumed(
    client: SyncPrefectClient, deployment: UUID, worker: Noting
) -> None:
    client.update_work_pool(POOL, WorkPoolUpdate(is_paused=True))
    run = client.create_flow_run_from_deployment(deployment, state=Scheduled()).id
    client.update_work_pool(POOL, WorkPoolUpdate(is_paused=False))
    wait_until(lambda: worker.taken == [run], "the run being taken", timeout=60, every=0.1)


def test_a_run_that_is_told_of_before_it_can_be_seen_is_asked_for_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(woken, "LEAST_SECONDS", 0.01)
    worker, questions = Noting(work_pool_name=POOL), asyncio.Queue[int]()

    async def ask() -> list[FlowRun]:
        await questions.put(1)
        return []  # the transaction which makes the run has not ended

    async def told_once() -> None:
        asking = asyncio.create_task(worker._ask())
        worker._something.set()
        await asyncio.wait_for(questions.get(), 10)
        await asyncio.wait_for(questions.get(), 10)
        asking.cancel()

    monkeypatch.setattr(worker, "get_and_submit_flow_runs", ask)
    asyncio.run(told_once())
