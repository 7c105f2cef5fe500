"""Crashing flow runs whose process is gone: nobody else would, and they would keep a place of their pool for ever."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from uuid import UUID

import httpx
from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.client.orchestration import SyncPrefectClient
from prefect.runtime import flow_run

from blocks import catalog
from blocks import sweep as runs
from blocks.sweep import Seen
from flows.converge import this_server

logger = logging.getLogger(__name__)
logger.setLevel(logging.INFO)

WATCH_SECONDS = 420.0
"""Time for which silent runs are watched: a living one sends two heartbeats in it, 180 s apart, and so does this run.
Over before the next sweep, and before `status` needs a place for its probe."""
ARRIVED = 2
"""Heartbeats of this run that must have arrived meanwhile."""
EVERY = 5.0


@flow(name="sweep")
def sweep(stack: str | None = None) -> None:
    """Crash flow runs whose process is gone: Running, and without a heartbeat for 9 minutes and while this run watches.

    A run which is paused, suspended, cancelled or waits for a retry is left alone, and so is one whose client sends no
    heartbeats. Where nothing is silent, it ends at once.

    Args:
        stack: Name of the stack; leave it out for the one this server belongs to.
    """
    own = UUID(str(flow_run.get_id()))
    with this_server() as client:

        def watch() -> str:
            ledger = catalog.load(stack).ledger
            return watched(client, own, lambda: "" if ledger.is_free() else ledger.described())

        crashed = swept(client, watch, datetime.now(UTC))
    if crashed:
        publish(crashed)


def swept(client: SyncPrefectClient, watch: Callable[[], str], now: datetime) -> list[Seen]:
    """The runs that were crashed.

    Args:
        watch: Waits, and says why that time proves nothing; empty where others' heartbeats did arrive in it.
    """
    silent = runs.silent(runs.look(client), now)
    for each in silent:
        logger.info("%s: no heartbeat since %s, it is watched", each.name, each.last)
    if not silent:
        logger.info("no Running flow run is silent")
        return []
    doubt = watch()
    if doubt:
        logger.info("nothing is crashed: %s", doubt)
        return []
    crashed = [each for each in runs.dead(silent, runs.look(client)) if runs.crash(client, each)]
    for each in silent:
        logger.info("%s: %s", each.name, "crashed" if each in crashed else "it lives, or has ended by itself")
    return crashed


def watched(
    client: SyncPrefectClient,
    own: UUID,
    changed_by: Callable[[], str],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> str:
    """Wait while this run's own heartbeats arrive, or should; why that proves nothing, or nothing.

    They show that the server took heartbeats all the time, and they stop where a machine sleeps.

    Args:
        changed_by: Tells who changes the stack, or nothing. It may wait for runs to end, so that this one does at once.
    """
    try:
        before = {each.id for each in runs.heartbeats(client, own)}
        deadline = clock() + WATCH_SECONDS
        while clock() < deadline:
            if who := changed_by():
                return f"the stack is changed by {who}"
            sleep(EVERY)
        arrived = len({each.id for each in runs.heartbeats(client, own)} - before)
    except httpx.HTTPError as error:
        return f"the server was away: {error}"
    return "" if arrived >= ARRIVED else f"{arrived} heartbeats of this run arrived in {WATCH_SECONDS:.0f} s"


def publish(crashed: list[Seen]) -> None:
    """Leave the crashed runs as a table."""
    table = [{"run": each.name, "id": str(each.id), "last heartbeat": each.last} for each in crashed]
    create_table_artifact(table=table, key="sweep", description="Runs that were crashed: their process is gone.")
