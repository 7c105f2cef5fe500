"""A deployment with a run every ten seconds on a pool that nobody serves, and what two servers made of its schedule.

Prefect schedules a hundred runs ahead, so that a server whose scheduler is dead would miss none for a quarter of an
hour. Hence what a server did by itself after the old one had gone is counted as well.
"""

from __future__ import annotations

import itertools
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from prefect.client.schemas.actions import DeploymentScheduleCreate, WorkPoolCreate
from prefect.client.schemas.schedules import IntervalSchedule

from tests.stack import Stack, eventually

EVERY_SECONDS = 10
LOOP_SECONDS = 90.0
"""The scheduler looks once a minute."""
OVERDUE_SECONDS = 60
"""Prefect marks a run late 15 s after its time."""


def scheduled(stack: Stack) -> UUID:
    """Make the deployment."""
    every = IntervalSchedule(interval=timedelta(seconds=EVERY_SECONDS))
    with stack.client() as client:
        client.create_work_pool(WorkPoolCreate(name="bench-idle", type="process"))
        return client.create_deployment(
            flow_id=client.create_flow_from_name("scheduled"),
            name="scheduled",
            work_pool_name="bench-idle",
            schedules=[DeploymentScheduleCreate(schedule=every, active=True)],
        )


@dataclass(frozen=True)
class Schedule:
    """The runs of that deployment."""

    times: list[int]
    """When they are due, in order; seconds since 1970."""
    created: int
    """Runs made since the old server was gone."""
    late: int
    """Runs marked late since then."""
    unmarked: int
    """Runs long overdue that are not marked late."""
    read_at: float

    def __str__(self) -> str:
        steps = [after - before for before, after in itertools.pairwise(self.times)]
        missed = sum(round(each / EVERY_SECONDS) - 1 for each in steps if each > EVERY_SECONDS)
        return (
            f"{len(self.times)} scheduled, {steps.count(0)} doubled, {missed} missed; since the old server was gone "
            f"{self.created} created and {self.late} marked late; {self.unmarked} overdue and not marked; "
            f"scheduled until {self.times[-1] - self.read_at:.0f} s from now"
        )


def read(stack: Stack, deployment: UUID, alone_at: float) -> Schedule:
    """Read it, once the new server's scheduler has had its turn."""
    made = f"flow_run WHERE deployment_id = '{deployment}'"

    def count(rest: str) -> int:
        return int(stack.query(f"SELECT count(*) FROM {rest}")[0][0])

    created = f"{made} AND created > to_timestamp({alone_at})"
    with suppress(AssertionError):
        eventually(lambda: count(created) > 0, "the scheduler", alone_at + LOOP_SECONDS - time.time())
    late = f"flow_run_state WHERE name = 'Late' AND timestamp > to_timestamp({alone_at}) AND flow_run_id IN "
    overdue = f"expected_start_time < now() - interval '{OVERDUE_SECONDS} s'"
    rows = stack.query(f"SELECT extract(epoch FROM expected_start_time)::bigint FROM {made} ORDER BY 1")
    return Schedule(
        times=[int(each[0]) for each in rows],
        created=count(created),
        late=count(f"{late} (SELECT id FROM {made})"),
        unmarked=count(f"{made} AND {overdue} AND state_name = 'Scheduled'"),
        read_at=time.time(),
    )
