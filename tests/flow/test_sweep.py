"""Runs in every state against a real server: the one whose process is gone is crashed, and no other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.client.schemas.objects import State
from prefect.states import (
    AwaitingRetry,
    Cancelled,
    Cancelling,
    Completed,
    Failed,
    Paused,
    Pending,
    Retrying,
    Running,
    Suspended,
)

from blocks import sweep
from blocks.waiting import wait_until
from flows.sweep import EVERY, WATCH_SECONDS, swept, watched
from flows.sweep import sweep as sweep_flow

LATER = timedelta(seconds=600)


@pytest.fixture(scope="module")
def deployment(client: SyncPrefectClient) -> Iterator[UUID]:
    made = client.create_deployment(client.create_flow_from_name("swept"), name="swept", pull_steps=[])
    yield made
    client.delete_deployment(made)


@pytest.fixture
def begin(client: SyncPrefectClient, deployment: UUID) -> Callable[..., UUID]:
    """Make a run which enters these states one after the other, and sends a heartbeat where there is None."""

    def begun(*steps: State | None) -> UUID:
        run = client.create_flow_run_from_deployment(deployment).id
        for step in steps:
            if step is None:
                beat(client, run)
            else:
                client.set_flow_run_state(run, step, force=True)
        return run

    return begun


def beat(client: SyncPrefectClient, run: UUID) -> None:
    """A heartbeat as a flow run sends it; returns once it is stored."""
    sent = {
        "id": str(uuid4()),
        "event": sweep.HEARTBEAT,
        "occurred": datetime.now(UTC).isoformat(),
        "resource": {"prefect.resource.id": f"prefect.flow-run.{run}"},
    }
    client.request("POST", "/events", json=[sent])
    wait_until(
        lambda: sent["id"] in {str(each.id) for each in sweep.heartbeats(client, run)}, "it", timeout=30, every=0.1
    )


def later() -> datetime:
    return datetime.now(UTC) + LATER


def state_of(client: SyncPrefectClient, run: UUID) -> State:
    state = client.read_flow_run(run).state
    assert state is not None
    return state


def test_a_dead_run_is_crashed_and_all_others_are_left(client: SyncPrefectClient, begin: Callable[..., UUID]) -> None:
    gone = begin(Pending(), Running(), None)
    retried = begin(Running(), None, AwaitingRetry(), Retrying(), None)
    ends = (Suspended(), Paused(), AwaitingRetry(), Cancelled(), Completed(), Failed(), Pending())
    others = {begin(Running(), None, each): each for each in ends}
    others[begin(Running(), None, Running(), Cancelling())] = Cancelling()
    others[begin(Running())] = Running()  # its client sends no heartbeats
    others[begin(Running(), None, Suspended(), Running())] = Running()  # resumed a moment ago, on such a client
    expected = {run: state_of(client, run).id for run in others}
    assert [state_of(client, run).name for run in others] == [each.name for each in others.values()]

    crashed = swept(client, lambda: "", later())
    assert {each.id for each in crashed} == {gone, retried}
    state = state_of(client, gone)
    assert state.is_crashed() and "selfhost's sweep: the last heartbeat came at 20" in (state.message or "")
    assert {run: state_of(client, run).id for run in others} == expected
    assert swept(client, lambda: "", later()) == []


def test_what_does_anything_while_it_is_watched_lives(client: SyncPrefectClient, begin: Callable[..., UUID]) -> None:
    """As after a time in which the server was away or the machine slept: all were silent, and most are alive."""
    beating, suspending, ending, resumed, gone = (begin(Running(), None) for _ in range(5))

    def watch() -> str:
        beat(client, beating)
        client.set_flow_run_state(suspending, Suspended(), force=True)
        client.set_flow_run_state(ending, Completed(), force=True)
        client.set_flow_run_state(resumed, Suspended(), force=True)
        client.set_flow_run_state(resumed, Running(), force=True)
        return ""

    assert [each.id for each in swept(client, watch, later())] == [gone]
    names = [state_of(client, each).name for each in (beating, suspending, ending, resumed, gone)]
    assert names == ["Running", "Suspended", "Completed", "Running", "Crashed"]
    for run in (beating, resumed):
        client.set_flow_run_state(run, Completed(), force=True)


def test_an_end_between_the_last_look_and_the_change_counts(
    client: SyncPrefectClient, begin: Callable[..., UUID]
) -> None:
    run = begin(Running(), None)
    (seen,) = [each for each in sweep.look(client) if each.id == run]
    client.set_flow_run_state(run, Completed(), force=True)
    assert not sweep.crash(client, seen)
    assert state_of(client, run).is_completed()


def test_nothing_is_crashed_where_the_watch_proves_nothing(
    client: SyncPrefectClient, begin: Callable[..., UUID]
) -> None:
    run = begin(Running(), None)
    assert swept(client, lambda: "the server was away", later()) == []
    assert state_of(client, run).is_running()
    client.set_flow_run_state(run, Completed(), force=True)


@pytest.mark.parametrize(
    ("arriving", "doubt"), [(2, ""), (1, "1 heartbeats of this run arrived in 420 s"), (0, "0 heartbeats")]
)
def test_own_heartbeats_show_that_the_server_takes_them(client: SyncPrefectClient, arriving: int, doubt: str) -> None:
    own, passed = uuid4(), [0.0]
    beat(client, own)  # the first one of a run, before anything is watched

    def sleep(seconds: float) -> None:
        passed[0] += seconds
        if passed[0] in [180.0 * each for each in range(1, arriving + 1)]:
            beat(client, own)

    assert watched(client, own, lambda: "", lambda: passed[0], sleep).startswith(doubt)
    assert passed[0] == WATCH_SECONDS


def test_a_change_of_the_stack_ends_the_watch(client: SyncPrefectClient) -> None:
    """A restore and a stop wait for what runs."""
    slept: list[float] = []
    who = watched(client, uuid4(), lambda: "me, for a restore" if slept else "", lambda: 0.0, slept.append)
    assert (who, slept) == ("the stack is changed by me, for a restore", [EVERY])


def test_a_server_that_goes_away_proves_nothing() -> None:
    with SyncPrefectClient("http://127.0.0.1:9/api") as nobody:
        assert watched(nobody, uuid4(), lambda: "").startswith("the server was away: ")


def test_where_nothing_is_silent_the_flow_ends_at_once_and_leaves_nothing(client: SyncPrefectClient) -> None:
    state = sweep_flow(return_state=True)
    assert state.is_completed()
    only_this = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[state.state_details.flow_run_id]))
    assert client.read_artifacts(artifact_filter=only_this) == []
