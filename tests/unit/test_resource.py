from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.errors import Blocked
from blocks.resource import (
    Apply,
    Attributes,
    Change,
    Record,
    Resource,
    difference,
    in_order,
    plan,
    visit,
    visit_to_delete,
)


@dataclass
class World:
    """What is there: name → attributes; and what was done to it, in order."""

    things: dict[str, dict[str, object]] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)


class Thing(Resource):
    """A thing in a world, which refuses to be there before what it needs."""

    def __init__(self, world: World, name: str, needs: Iterable[str] = (), **wanted: object) -> None:
        self.name, self.needs = name, tuple(needs)
        self.world, self.wanted = world, wanted

    def find(self) -> Attributes | None:
        return self.world.things.get(self.name)

    def want(self) -> Attributes:
        return self.wanted

    def require_ours(self, actual: Attributes) -> None:
        if actual.get("owner", "us") != "us":
            raise Blocked(f"{self.name} is not ours", "choose another name")

    def check(self, actual: Attributes) -> None:
        if actual.get("fixed"):
            raise Blocked(f"{self.name} cannot be changed in place", "remove it first")

    def apply(self, actual: Attributes | None, change: Change) -> None:
        missing = [need for need in self.needs if need not in self.world.things]
        assert not missing, f"{self.name} was made before {missing}"
        self.world.things[self.name] = {**(actual or {}), **self.wanted}
        self.world.done.append(f"{change.action} {self.name}")

    def delete(self) -> None:
        del self.world.things[self.name]
        self.world.done.append(f"delete {self.name}")


def converge(resources: Iterable[Resource]) -> list[Change]:
    return [visit(each, Apply()) for each in in_order(resources)]


def three(world: World) -> list[Resource]:
    return [
        Thing(world, "roof", ["wall"], colour="red"),
        Thing(world, "wall", ["ground"], stones=3),
        Thing(world, "ground", size=9),
    ]


def test_orders_by_need() -> None:
    assert [each.name for each in in_order(three(World()))] == ["ground", "wall", "roof"]


def test_keeps_the_order_it_was_given_where_nothing_is_needed() -> None:
    world = World()
    assert [each.name for each in in_order([Thing(world, name) for name in "cab"])] == ["c", "a", "b"]


@pytest.mark.parametrize(
    ("needs", "text"),
    [
        ({"a": ["b"], "b": ["a"]}, "go in a circle"),
        ({"a": ["a"]}, "go in a circle"),
        ({"a": [], "b": ["c"], "c": ["d"], "d": ["b", "a"]}, "go in a circle"),
        ({"a": ["ghost"]}, "ghost"),
    ],
)
def test_refuses_needs_that_cannot_be_met(needs: dict[str, list[str]], text: str) -> None:
    world = World()
    with pytest.raises(Blocked, match=text):
        in_order([Thing(world, name, each) for name, each in needs.items()])


def test_refuses_two_of_one_name() -> None:
    world = World()
    with pytest.raises(Blocked, match="share a name"):
        in_order([Thing(world, "a"), Thing(world, "a")])


def test_plan_tells_every_change_and_touches_nothing() -> None:
    world = World({"wall": {"stones": 2}, "ground": {"size": 9}})
    before = {name: dict(thing) for name, thing in world.things.items()}
    assert plan(three(world)) == [
        Change("wall", "update", {"stones": (2, 3)}),
        Change("roof", "create", {"colour": (None, "red")}),
    ]
    assert (world.things, world.done) == (before, [])


def test_second_converge_changes_nothing() -> None:
    world = World()
    assert [each.action for each in converge(three(world))] == ["create"] * 3
    world.done.clear()
    assert [each.action for each in converge(three(world))] == ["keep"] * 3
    assert (world.done, plan(three(world))) == ([], [])


def test_update_changes_what_differs_and_leaves_what_it_does_not_list() -> None:
    world = World({"ground": {"size": 8, "owner": "us", "grass": "green"}})
    change = visit(Thing(world, "ground", size=9), Apply())
    assert change.fields == {"size": (8, 9)}
    assert world.things["ground"] == {"size": 9, "owner": "us", "grass": "green"}


def test_destroy_walks_the_other_way_and_removes_all() -> None:
    world = World()
    resources = three(world)
    converge(resources)
    world.done.clear()
    changes = [visit_to_delete(each, Apply()) for each in reversed(in_order(resources))]
    assert world.done == ["delete roof", "delete wall", "delete ground"]
    assert changes[1] == Change("wall", "delete", {"stones": (3, None)})
    assert [visit_to_delete(each, Apply()).action for each in resources] == ["keep"] * 3


def test_planned_destroy_touches_nothing() -> None:
    world = World({"ground": {"size": 9}})
    recorder = Record()
    visit_to_delete(Thing(world, "ground", size=9), recorder)
    assert [each.action for each in recorder.changes] == ["delete"]
    assert world.things


def test_check_refuses_before_anything_is_done() -> None:
    world = World({"ground": {"size": 8, "owner": "them"}})
    with pytest.raises(Blocked, match="ground is not ours"):
        visit(Thing(world, "ground", size=9), Apply())
    assert world.done == []


def test_destroy_leaves_what_is_not_ours_says_so_and_goes_on() -> None:
    world = World({"wall": {"stones": 3, "owner": "them"}, "ground": {"size": 9}, "roof": {"fixed": True}})
    before = dict(world.things["wall"])
    changes = [visit_to_delete(each, Apply()) for each in reversed(in_order(three(world)))]
    assert world.things == {"wall": before}
    assert [(each.resource, each.action) for each in changes] == [
        ("roof", "delete"),
        ("wall", "leave"),
        ("ground", "delete"),
    ]
    assert changes[1].why == "wall is not ours"


def test_what_cannot_be_changed_in_place_is_refused() -> None:
    world = World({"ground": {"size": 8, "fixed": True}})
    with pytest.raises(Blocked, match="cannot be changed in place"):
        visit(Thing(world, "ground", size=9), Apply())
    assert world.done == []


def test_a_plan_refuses_what_a_converge_would_refuse() -> None:
    with pytest.raises(Blocked, match="not ours"):
        plan([Thing(World({"ground": {"owner": "them"}}), "ground", size=9)])


def test_change_is_a_row_of_plain_data() -> None:
    change = difference("wall", {"b": 1, "a": 1}, {"b": 2, "a": 3})
    assert change.as_row() == {"resource": "wall", "action": "update", "fields": {"a": [1, 3], "b": [1, 2]}}


@st.composite
def graphs(draw: st.DrawFn) -> list[tuple[str, list[str]]]:
    """Resources that need any of those before them, then shuffled."""
    names = [f"r{index}" for index in range(draw(st.integers(0, 12)))]
    nodes = [
        (name, draw(st.lists(st.sampled_from(names[:index]), unique=True)) if index else [])
        for index, name in enumerate(names)
    ]
    return draw(st.permutations(nodes))


@given(graphs())
def test_any_graph_is_walked_in_order_of_need(graph: Sequence[tuple[str, list[str]]]) -> None:
    world = World()
    ordered = in_order(Thing(world, name, needs) for name, needs in graph)
    place = {each.name: index for index, each in enumerate(ordered)}
    assert len(place) == len(graph)
    assert all(place[need] < place[each.name] for each in ordered for need in each.needs)


@given(graphs(), st.data())
def test_any_converge_leaves_an_empty_plan_from_wherever_it_starts(
    graph: Sequence[tuple[str, list[str]]], data: st.DataObject
) -> None:
    kept = data.draw(st.sets(st.sampled_from([name for name, _ in graph])) if graph else st.just(set()))
    world = World({name: {"size": data.draw(st.integers(0, 1))} for name in sorted(kept)})
    resources = [Thing(world, name, needs, size=1) for name, needs in graph]
    planned = plan(resources)
    assert [change for change in converge(resources) if change.action != "keep"] == planned
    assert plan(resources) == []
