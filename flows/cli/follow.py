"""A deployment started from the command line: its log is followed, its end is ours."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
from prefect.client.schemas.objects import FlowRun, Log
from prefect.client.schemas.sorting import LogSort
from prefect.utilities.urls import url_for

from blocks.errors import Blocked, NotReady
from blocks.front_door import FrontDoor
from blocks.waiting import wait_until

EVERY = 1.0
"""Seconds between two looks."""
AWAY_SECONDS = 60.0
"""Seconds without an answer, the client's own retries not among them, after which we no longer follow."""
QUIET_LOOKS = 2
"""Looks without a new line after which an ended run has said all: its last lines are sent when its process ends."""
START_SECONDS = 120.0
"""Seconds a worker gets to take the run: its poll, the start of a Python, the import of Prefect."""


def run_deployment(door: FrontDoor, name: str, parameters: Mapping[str, Any], say: Callable[[str], None]) -> FlowRun:
    """Start `flow/deployment`, say each line of its log, and return once it has completed.

    Raises:
        Blocked: it failed, was cancelled or crashed.
        NotReady: no worker took it in time.
    """
    with door.client() as client:
        deployment = client.read_deployment_by_name(name)
        run = client.create_flow_run_from_deployment(deployment.id, parameters=dict(parameters))
        say(f"run {run.name}: {url_for(run)}")
        return _followed(client, run.id, say)


def _followed(client: SyncPrefectClient, run_id: UUID, say: Callable[[str], None]) -> FlowRun:
    printed, quiet, began = 0, 0, time.monotonic()
    while True:
        run, lines = _look(client, run_id, printed)
        ended = run.state is not None and run.state.is_final()
        printed += len(lines)
        for each in filter(is_of_interest, lines):
            say(f"  {each.timestamp:%H:%M:%S}  {each.message.splitlines()[0]}")  # a traceback stays in the log
        quiet = 0 if lines or not ended else quiet + 1
        if quiet == QUIET_LOOKS:
            return _completed(run)
        if not ended and run.start_time is None and time.monotonic() - began > START_SECONDS:
            raise NotReady(
                f"no worker took the run {run.name} in {START_SECONDS:.0f} s",
                "it is taken once one can: selfhost status, and df, as without room on the disk none does",
            )
        time.sleep(EVERY)


def _look(client: SyncPrefectClient, run_id: UUID, printed: int) -> tuple[FlowRun, list[Log]]:
    """The run as it is, and the lines of its log after the first `printed`. The server may be away for a while."""

    def look() -> tuple[FlowRun, list[Log]]:
        try:
            return client.read_flow_run(run_id), _lines(client, run_id, printed)
        except httpx.HTTPError as error:
            if isinstance(error, httpx.HTTPStatusError) and not error.response.is_server_error:
                raise
            raise NotReady(str(error).splitlines()[0]) from error

    hint = "the run may go on without this command: selfhost status, and df, as the disk may be full"
    return wait_until(look, f"an answer about the run {run_id}", timeout=AWAY_SECONDS, every=EVERY, hint=hint)


def is_of_interest(line: Log) -> bool:
    """Whether it is a line of ours, of the run itself, or a warning; Prefect's account of every task is not."""
    ours = line.name == "prefect.flow_runs" or line.name.startswith(("flows", "blocks"))
    return ours or line.level >= logging.WARNING


def _lines(client: SyncPrefectClient, run_id: UUID, offset: int) -> list[Log]:
    only_this = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run_id]))
    return client.read_logs(only_this, limit=200, offset=offset, sort=LogSort.TIMESTAMP_ASC)


def _completed(run: FlowRun) -> FlowRun:
    state = run.state
    if state is None or not state.is_completed():
        end = f"{state.name}: {state.message}" if state else "without a state"
        raise Blocked(f"the run {run.name} ended {end}", "its log says more; the same command tries again")
    return run
