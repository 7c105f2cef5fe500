"""The first run: a stack is made by a flow on a temporary server, which then hands its database over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowFilter, FlowFilterName, FlowRunFilter, FlowRunFilterId
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker
from prefect.states import Crashed

from blocks import catalog
from blocks.errors import Blocked, NotReady
from blocks.resource import Apply
from blocks.waiting import wait_until
from flows.cli.progress import step
from flows.converge import RUNNER, make_stack, plan_of_objects, rows, settled, this_server, visit_all

STORED_SECONDS = 60.0
"""Time the temporary server gets to store the last task runs: they reach it as events, in a second or two."""


@flow(name="bootstrap", task_runner=RUNNER)
def bootstrap(spec: dict[str, Any]) -> None:
    """Make a stack: everything it is made of, and what its server keeps. Its server does not serve yet.

    Args:
        spec: The stack's spec, without secrets.
    """
    stack = catalog.composed(spec)
    before = rows(visit_all(stack.outside(), Apply()))
    stack = settled(stack)
    preflight(spec)
    make_stack(stack, key="bootstrap", before=before, first=True)


@task(name="preflight", task_run_name="preflight", cache_policy=NO_CACHE)
def preflight(spec: dict[str, Any]) -> None:
    """Have the host refuse with all faults together, before anything on it is touched."""
    faults = catalog.composed(spec).machine.run("preflight", {"spec": spec})["faults"]
    if faults:
        raise Blocked("; ".join(faults), "nothing was changed")


def run(spec: dict[str, Any]) -> None:
    """Run the bootstrap flow on the temporary server, and wait until that has stored all of it; once is enough."""
    with this_server() as client:
        end_abandoned_runs(client)
        if _is_done(client, spec):
            return
        state: Any = bootstrap(spec, return_state=True)
        state.result()  # raises what the flow raised
        with step("record complete"):
            EventsWorker.drain_all()
            APILogWorker.instance().drain()
            recorded = _is_recorded(client, state.state_details.flow_run_id)
            wait_until(recorded, "the record of the run", timeout=STORED_SECONDS, every=0.1)


def _is_done(client: SyncPrefectClient, spec: dict[str, Any]) -> bool:
    """Whether a launcher that was killed later had this run completed, and nothing has changed since."""
    runs = client.read_flow_runs(flow_filter=FlowFilter(name=FlowFilterName(any_=["bootstrap"])))
    same = [each for each in runs if each.parameters == {"spec": spec}]
    completed = any(each.state is not None and each.state.is_completed() for each in same)
    return completed and not plan_of_objects(catalog.composed(spec))


def end_abandoned_runs(client: SyncPrefectClient) -> None:
    """Mark runs of a launcher that was killed as crashed: nobody else would, and they are part of the history."""
    for each in client.read_flow_runs(flow_filter=FlowFilter(name=FlowFilterName(any_=["bootstrap"]))):
        if each.state is not None and not each.state.is_final():
            client.set_flow_run_state(each.id, Crashed(message="The launcher of this run was killed."), force=True)


def _is_recorded(client: SyncPrefectClient, flow_run_id: UUID) -> Callable[[], bool]:
    def probe() -> bool:
        task_runs = client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id])))
        open_runs = [each.name for each in task_runs if each.state is None or not each.state.is_final()]
        if open_runs or not task_runs:
            raise NotReady(f"{len(task_runs)} task runs are stored, {len(open_runs)} of them not yet ended")
        return True

    return probe
