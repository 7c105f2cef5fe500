"""One engine for plan, converge, drift, resume and destroy.

A `Resource` is one managed thing. A walk visits each one after its needs: find what is there, check that it
can be brought in line, diff it against what is wanted, and hand the difference to an applier. `Apply` carries
it out; `Record` only notes it, and that is all a plan is. What exists is found by name and ownership mark, so
a walk that was interrupted is finished by walking again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

from blocks.errors import Blocked, NotReady

Attributes = Mapping[str, object]
"""What can be seen of a thing: attribute name → comparable value; never a secret."""

Action = Literal["create", "update", "delete", "keep", "leave"]
"""`leave`: it was to be deleted, and it is not ours."""


@dataclass(frozen=True)
class Change:
    """The difference between one wanted resource and what is there, as printable data."""

    resource: str
    action: Action
    fields: Mapping[str, tuple[object, object]] = field(default_factory=dict)
    """Attribute → (now, wanted); for create all wanted ones, for delete all present ones."""
    why: str = ""
    """For leave: why it is not ours."""
    interrupts: str = ""
    """What stops for a while when it is carried out, as a sentence; a person is asked before. Empty where nothing."""

    def as_row(self) -> dict[str, object]:
        """The change as a row of a table or of `--json`: resource, action, fields {name: [now, wanted]}; and what it
        `interrupts`, where it does."""
        fields = {name: list(pair) for name, pair in sorted(self.fields.items())}
        row: dict[str, object] = {"resource": self.resource, "action": self.action, "fields": fields}
        return {**row, "interrupts": self.interrupts} if self.interrupts else row

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Change:
        """The change of a row."""
        fields = {name: (now, then) for name, (now, then) in row["fields"].items()}
        return cls(row["resource"], row["action"], fields, interrupts=row.get("interrupts", ""))


class Resource(ABC):
    """One managed thing.

    Attributes:
        name: Unique in a stack, in words a person understands, such as `database cluster`.
        needs: Names of the resources that must be there first.
    """

    name: str
    needs: tuple[str, ...] = ()

    @abstractmethod
    def find(self) -> Attributes | None:
        """Look at what is there, without changing anything; None when it is absent or not ours to see yet."""

    @abstractmethod
    def want(self) -> Attributes:
        """The attributes it should have. Only these are compared."""

    def require_ours(self, actual: Attributes) -> None:  # noqa: B027 (optional: children carry their parent's mark)
        """Refuse what carries another's mark, by raising Blocked: it is neither changed nor deleted."""

    def check(self, actual: Attributes) -> None:  # noqa: B027 (optional: most things can be changed in place)
        """Refuse what is ours and cannot be changed in place, by raising Blocked; it can be deleted all the same."""

    def interrupts(self, change: Change) -> str:
        """What stops for a while when this change is carried out, as a sentence; empty where nothing does."""
        return ""

    @abstractmethod
    def apply(self, actual: Attributes | None, change: Change) -> None:
        """Create it (actual is None) or change it; returns once it has the wanted attributes."""

    @abstractmethod
    def delete(self) -> None:
        """Remove it with what it holds; called only when `find` saw it and `require_ours` let it pass."""


class Port:
    """A port's resources, by where they stand. An adapter overrides the list in which it has some."""

    def outside(self) -> list[Resource]:
        """Resources outside the stack's host, such as at a cloud; visited by the launcher."""
        return []

    def on_host(self) -> list[Resource]:
        """Resources on the stack's host; visited there alone."""
        return []

    def learned(self) -> Mapping[str, str]:
        """What is known of those outside only once they are there, such as an address; looks there."""
        return {}


class Applier(Protocol):
    """What a walk does with a difference."""

    def __call__(self, resource: Resource, actual: Attributes | None, change: Change) -> None: ...


class Record:
    """Notes the changes of a walk and touches nothing: the plan."""

    def __init__(self) -> None:
        self.changes: list[Change] = []

    def __call__(self, resource: Resource, actual: Attributes | None, change: Change) -> None:
        self.changes.append(change)


class Apply:
    """Carries out the changes of a walk."""

    def __call__(self, resource: Resource, actual: Attributes | None, change: Change) -> None:
        if change.action == "delete":
            resource.delete()
        elif change.action != "keep":
            resource.apply(actual, change)


def difference(name: str, actual: Attributes | None, wanted: Attributes) -> Change:
    """Compare what is there with what is wanted. Pure."""
    if actual is None:
        return Change(name, "create", {key: (None, value) for key, value in wanted.items()})
    fields = {key: (actual.get(key), value) for key, value in wanted.items() if actual.get(key) != value}
    return Change(name, "update" if fields else "keep", fields)


def visit(resource: Resource, applier: Applier) -> Change:
    """Bring one resource in line (or note what would be done); its needs must have been visited."""
    actual = resource.find()
    if actual is not None:
        resource.require_ours(actual)
        resource.check(actual)
    change = difference(resource.name, actual, resource.want())
    change = replace(change, interrupts=resource.interrupts(change))
    applier(resource, actual, change)
    return change


def visit_to_delete(resource: Resource, applier: Applier) -> Change:
    """Remove one resource (or note it); what needs it must have been visited.

    What carries another's mark is left as it is, and the change says so: the rest of a stack can be removed.
    """
    actual = resource.find()
    if actual is None:
        return Change(resource.name, "keep")
    try:
        resource.require_ours(actual)
    except Blocked as error:
        return Change(resource.name, "leave", why=error.what)
    change = Change(resource.name, "delete", {key: (value, None) for key, value in actual.items()})
    applier(resource, actual, change)
    return change


def in_order(resources: Iterable[Resource]) -> list[Resource]:
    """Sort so that each resource comes after its needs, and otherwise as early as it was listed.

    Raises:
        Blocked: a need is unknown, two resources share a name, or the needs go in a circle.
    """
    listed = list(resources)
    by_name = {each.name: each for each in listed}
    if len(by_name) != len(listed):
        raise Blocked(f"two resources share a name among {sorted(each.name for each in listed)}")
    ordered: dict[str, Resource] = {}
    for each in listed:
        _append_with_needs(each, by_name, ordered, ())
    return list(ordered.values())


def _append_with_needs(
    resource: Resource, by_name: Mapping[str, Resource], ordered: dict[str, Resource], path: tuple[str, ...]
) -> None:
    """Put a resource's needs, then itself, at the end of `ordered`; `path` leads to it from what needs it."""
    if resource.name in path:
        raise Blocked(f"the needs of {sorted(path)} go in a circle")
    if resource.name in ordered:
        return
    for need in resource.needs:
        if need not in by_name:
            raise Blocked(f"{resource.name} needs {need}, and no resource is called that")
        _append_with_needs(by_name[need], by_name, ordered, (*path, resource.name))
    ordered[resource.name] = resource


def converge(resources: Iterable[Resource]) -> list[Change]:
    """Bring each in line, one after the other; what was done, in order."""
    return [visit(each, Apply()) for each in in_order(resources)]


def plan(resources: Iterable[Resource]) -> list[Change]:
    """What a converge would do now, in order, without what needs no change.

    What cannot be looked at before something it needs is there, would be made.
    """
    changes: dict[str, Change] = {}
    for each in in_order(resources):
        try:
            changes[each.name] = visit(each, Record())
        except NotReady:
            if all(changes[need].action == "keep" for need in each.needs):
                raise
            changes[each.name] = Change(each.name, "create")
    return [change for change in changes.values() if change.action != "keep"]
