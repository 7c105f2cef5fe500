"""One named task run for each resource, by need; a failure is one clear text and stops what needs it."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    FlowRunFilter,
    FlowRunFilterId,
)
from prefect.events.worker import EventsWorker

from blocks.errors import Blocked, NotReady, SelfhostError
from blocks.resource import Apply, Attributes, Change, Record, Resource
from blocks.waiting import wait_until
from flows.converge import RUNNER, visit_all


class Thing(Resource):
    """A thing in a dictionary."""

    def __init__(self, world: dict[str, object], name: str, needs: Iterable[str] = ()) -> None:
        self.name, self.needs, self.world = name, tuple(needs), world

    def find(self) -> Attributes | None:
        return {"there": True} if self.name in self.world else None

    def want(self) -> Attributes:
        return {"there": True}

    def apply(self, actual: Attributes | None, change: Change) -> None:
        assert set(self.needs) <= set(self.world)
        self.world[self.name] = True

    def delete(self) -> None:
        del self.world[self.name]


class Broken(Thing):
    def apply(self, actual: Attributes | None, change: Change) -> None:
        raise Blocked(f"the {self.name} cannot be made", "buy another one")


class Together(Thing):
    """Is made only while another one is being made at the same time."""

    meeting = threading.Barrier(2)

    def apply(self, actual: Attributes | None, change: Change) -> None:
        self.meeting.wait(30)
        super().apply(actual, change)


def run(resources: Sequence[Resource], applier: Apply | Record) -> Any:
    """Visit them in a flow run; its state."""

    @flow(name="visit", task_runner=RUNNER)
    def visit_them() -> list[Change]:
        return visit_all(resources, applier)

    return visit_them(return_state=True)


def task_states(client: SyncPrefectClient, flow_run_id: UUID, count: int) -> dict[str, str]:
    """Task run → type of its state, once so many have ended."""

    def look() -> dict[str, str]:
        only_this = FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id]))
        found = client.read_task_runs(flow_run_filter=only_this)
        known = {each.name: each.state for each in found if each.state is not None}
        if len(known) < count or any(not state.is_final() and state.name != "NotReady" for state in known.values()):
            raise NotReady(f"{known}")
        return {name: state.name or "" for name, state in known.items()}

    EventsWorker.drain_all()
    return wait_until(look, f"{count} task runs", timeout=30, every=0.1)


def test_one_named_task_run_for_each_resource(client: SyncPrefectClient) -> None:
    world: dict[str, object] = {"ground": True}
    things = [Thing(world, "roof", ["wall"]), Thing(world, "wall", ["ground"]), Thing(world, "ground")]
    state = run(things, Apply())
    assert {each.resource: each.action for each in state.result()} == {
        "ground": "keep",
        "wall": "create",
        "roof": "create",
    }
    assert set(world) == {"ground", "wall", "roof"}
    assert task_states(client, state.state_details.flow_run_id, 3) == dict.fromkeys(world, "Completed")


def test_its_progress_is_an_artifact_that_ends_at_100(client: SyncPrefectClient) -> None:
    state = run([Thing({}, "ground")], Apply())
    only_this = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[state.state_details.flow_run_id]))
    (artifact,) = client.read_artifacts(artifact_filter=only_this)
    assert (artifact.key, artifact.type, float(str(artifact.data))) == ("resources", "progress", 100.0)


def test_second_visit_keeps_all() -> None:
    world: dict[str, object] = {}
    things = [Thing(world, "roof", ["wall"]), Thing(world, "wall")]
    run(things, Apply())
    assert {each.action for each in run(things, Apply()).result()} == {"keep"}


def test_a_recording_visit_touches_nothing() -> None:
    world: dict[str, object] = {}
    changes = run([Thing(world, "roof", ["wall"]), Thing(world, "wall")], Record()).result()
    assert [each.action for each in changes] == ["create", "create"]
    assert world == {}


def test_what_needs_nothing_of_each_other_is_visited_at_one_time() -> None:
    world: dict[str, object] = {}
    run([Together(world, "left"), Together(world, "right")], Apply()).result()
    assert set(world) == {"left", "right"}


def test_a_failure_is_one_text_and_stops_what_needs_it_alone(client: SyncPrefectClient) -> None:
    world: dict[str, object] = {}
    things = [
        Broken(world, "wall"),
        Thing(world, "roof", ["wall"]),
        Thing(world, "flag", ["roof"]),
        Thing(world, "garden"),
    ]
    state = run(things, Apply())
    assert state.is_failed()
    with pytest.raises(SelfhostError) as caught:
        state.result()
    assert str(caught.value).startswith("wall: the wall cannot be made")
    assert "buy another one" in str(caught.value)
    assert "roof" not in str(caught.value)
    assert set(world) == {"garden"}
    states = task_states(client, state.state_details.flow_run_id, 4)
    assert (states["wall"], states["garden"]) == ("Failed", "Completed")
    assert states["roof"] == states["flag"] == "NotReady"


def test_all_failures_are_told_together() -> None:
    world: dict[str, object] = {}
    state = run([Broken(world, "wall"), Broken(world, "gate")], Apply())
    with pytest.raises(SelfhostError, match=r"wall: the wall cannot.*gate: the gate cannot"):
        state.result()


def test_a_circle_is_refused_before_anything_is_done() -> None:
    world: dict[str, object] = {}
    with pytest.raises(Blocked, match="circle"):
        run([Thing(world, "a", ["b"]), Thing(world, "b", ["a"]), Thing(world, "c")], Apply()).result()
    assert world == {}
