"""Workers that ask for runs as soon as something happens in their pool, and else as seldom as Prefect's own.

Asking costs the server about 20 ms of its processor, most of it for noting that it was asked: two workers that ask once
a second take more of an idle machine than all else. The websocket which a worker of Prefect 3.8 holds open brings it no
runs.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC
from contextlib import suppress
from typing import Any

import httpx
from prefect.events.clients import get_events_subscriber
from prefect.events.filters import EventAnyResourceFilter, EventFilter, EventNameFilter
from prefect.workers.base import BaseWorker

logger = logging.getLogger(__name__)

LEAST_SECONDS = 1.0
"""Between two questions, however much happens."""
TIMES = 2
"""Questions when something happened: the server tells of a run before the transaction which makes it has ended, and a
question in that moment does not see it."""
LISTEN_AGAIN_SECONDS = 5.0
"""After the server was away; until then the worker asks every `PREFECT_WORKER_QUERY_SECONDS`."""


class Woken(BaseWorker[Any, Any, Any], ABC):
    """A worker that is woken by what happens in its pool: a run is scheduled, another ends and leaves its place."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._something = asyncio.Event()
        self._asks = asyncio.Lock()

    async def start(self, *args: Any, **options: Any) -> None:
        """Work until told to end, as Prefect's own workers do."""
        beside = [asyncio.create_task(each) for each in (self._listen(), self._ask())]
        try:
            await super().start(*args, **options)
        finally:
            for each in beside:
                each.cancel()

    async def get_and_submit_flow_runs(self) -> Any:
        """Ask and submit, one at a time: two answers could name the same run."""
        async with self._asks:
            return await super().get_and_submit_flow_runs()

    async def _listen(self) -> None:
        while True:
            try:
                async with get_events_subscriber(filter=happens_in(self._work_pool_name)) as events:
                    self._something.set()  # what was scheduled before this moment
                    async for _ in events:
                        self._something.set()
            except Exception as error:  # noqa: BLE001 (a websocket closed while it says its password raises just that)
                logger.debug("no events of the pool for now: %s", error)
            await asyncio.sleep(LISTEN_AGAIN_SECONDS)

    async def _ask(self) -> None:
        while True:
            await self._something.wait()
            for _ in range(TIMES):
                self._something.clear()
                with suppress(httpx.HTTPError):  # the worker's own loop tells of a server that is away, and asks again
                    await self.get_and_submit_flow_runs()
                await asyncio.sleep(LEAST_SECONDS)


def happens_in(pool: str) -> EventFilter:
    """Events of a work pool, its queues and its runs, but for the heartbeats of those."""
    names = EventNameFilter(
        prefix=["prefect.flow-run.", "prefect.work-pool.", "prefect.work-queue."],
        exclude_name=["prefect.flow-run.heartbeat"],
    )
    this_pool = {"prefect.resource.id": "prefect.work-pool.*", "prefect.resource.name": pool}
    return EventFilter(event=names, any_resource=EventAnyResourceFilter(labels=this_pool))
