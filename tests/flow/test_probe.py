from __future__ import annotations

from uuid import UUID

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    LogFilter,
    LogFilterTaskRunId,
)
from prefect.events.worker import EventsWorker
from prefect.exceptions import ParameterTypeError
from prefect.logging.handlers import APILogWorker

from blocks.errors import NotReady
from blocks.waiting import wait_until
from flows.probe import probe


def test_leaves_one_task_run_and_one_log_line_with_the_question(client: SyncPrefectClient) -> None:
    state = probe("check 17", return_state=True)
    assert state.result() == "check 17"
    run_id = state.state_details.flow_run_id
    assert run_id is not None
    EventsWorker.drain_all()
    APILogWorker.instance().drain()
    task_run = wait_until(lambda: completed_task(client, run_id), "the task run", timeout=30, every=0.1)
    logs = client.read_logs(LogFilter(task_run_id=LogFilterTaskRunId(any_=[task_run])))
    assert [log.message for log in logs if "check 17" in log.message] == ["probe answers check 17"]


def completed_task(client: SyncPrefectClient, run_id: UUID) -> UUID:
    found = client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run_id])))
    done = [each.id for each in found if each.state is not None and each.state.is_completed()]
    if len(done) != 1:
        raise NotReady(f"{len(found)} task runs, {len(done)} of them completed")
    return done[0]


def test_refuses_a_question_that_is_no_text() -> None:
    with pytest.raises(ParameterTypeError):
        probe({"not": "text"})  # type: ignore[call-overload]
