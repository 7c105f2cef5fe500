"""What a resource kind is made of: a class whose methods answer the methods of a discovery document.

    class Networks(Kind):
        apis = ("compute.v1",)
        collection = "compute.networks"

        @on("get", "compute.networks.get")
        def get(self, call: Call) -> Body: ...

A module under `services` lists its kinds in `KINDS`; nothing else knows them.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from starlette.responses import Response

from tests.emulator import access, errors
from tests.emulator.backing import Backing
from tests.emulator.clock import rfc3339
from tests.emulator.discovery import Method
from tests.emulator.operations import Effect, Operation
from tests.emulator.world import Project, Record

if TYPE_CHECKING:
    from tests.emulator.cloud import Cloud

Body = dict[str, Any]
Answer = Body | Response
"""JSON held against the method's response schema, or a whole response of the kind's own (media)."""
Handle = Callable[[Any, "Call"], Answer | Awaitable[Answer]]
Function = TypeVar("Function", bound=Handle)


@dataclass(frozen=True)
class Handler:
    """What `on` leaves on a function: the verb it answers and the permission its caller needs."""

    verb: str
    permission: str


@dataclass(frozen=True)
class Raw:
    """What `raw` leaves on a function: a path that no discovery document lists."""

    service: str
    http: str
    pattern: re.Pattern[str]
    method: str = ""
    """The id of the method it belongs to, where there is one: faults strike it and calls are listed by that."""


def on(verb: str, permission: str) -> Callable[[Function], Function]:
    """Answer `collection.verb`. The caller needs the permission ("" is none) on the resources of `Kind.guards`.

    In a permission `{collection}` stands for the kind's collection, `{service}` and `{kind}` for its ends.
    """

    def mark(function: Function) -> Function:
        function.mark = Handler(verb, permission)  # type: ignore[attr-defined]
        return function

    return mark


def raw(service: str, http: str, path: str, method: str = "") -> Callable[[Function], Function]:
    """Answer a path, a regular expression over the undecoded one, that no document lists; checks are the kind's own."""

    def mark(function: Function) -> Function:
        function.mark = Raw(service, http, re.compile(path), method)  # type: ignore[attr-defined]
        return function

    return mark


@dataclass
class Call:
    """One request that has passed validation. Parameters and body are as the discovery document types them."""

    cloud: Cloud
    method: Method | None
    parameters: dict[str, Any]
    body: Body
    caller: str
    """`user:…`, `serviceAccount:…` or `allUsers`."""
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes = b""
    """The body as it came, for uploads and raw paths."""
    base: str = ""
    """`http://127.0.0.1:8085/compute`: what this service's own links begin with, as the caller addressed it."""
    peer: str = ""
    """The caller's IP address: the metadata server knows its VM by it."""

    def __getitem__(self, name: str) -> Any:
        """A parameter, which must be there."""
        return self.parameters[name]

    def get(self, name: str, default: Any = None) -> Any:
        return self.parameters.get(name, default)

    @property
    def named(self) -> str:
        """The resource that a call with a `name`, a `parent` or a `resource` is about, as sent; its parent, if any."""
        return str(next(self.parameters[key] for key in ("name", "parent", "resource") if key in self.parameters))

    @property
    def email(self) -> str:
        """The caller without its kind."""
        return self.caller.partition(":")[2]

    def require(self, permission: str, *resources: str) -> None:
        """403 unless the caller has the permission on one of these resources."""
        if not self.cloud.access.may(self.caller, permission, resources):
            raise access.denied(permission, resources[0])

    def project(self, reference: str) -> Project:
        """A project that must exist; a caller learns no more of one it may not see.

        Source: https://cloud.google.com/resource-manager/docs/troubleshooting ("or it may not exist")
        """
        project = self.cloud.world.project(reference)
        if project is None:
            raise errors.ApiError(403, f"Permission denied on resource project {reference.removeprefix('projects/')}.")
        return project


class Kind:
    """One kind of resource: which collection of methods it answers, and how, by functions marked with `on`."""

    apis: ClassVar[tuple[str, ...]] = ()
    collection: ClassVar[str] = ""
    owns_records: ClassVar[bool] = True
    """False for another version's view of the same resources."""
    backed: ClassVar[str] = ""
    """The collection whose real part acts for this kind, where that is another one."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud

    @classmethod
    def functions(cls) -> Iterator[tuple[Handle, Handler | Raw]]:
        """The functions of the class and its bases that `on` or `raw` has marked, the most derived of each name."""
        for name in dict.fromkeys(name for base in reversed(cls.__mro__) for name in vars(base)):
            function = getattr(cls, name)
            mark = getattr(function, "mark", None)
            if isinstance(mark, Handler | Raw):
                yield function, mark

    @classmethod
    def handlers(cls) -> dict[str, tuple[Handle, Handler]]:
        """Handlers by verb."""
        return {mark.verb: (function, mark) for function, mark in cls.functions() if isinstance(mark, Handler)}

    @classmethod
    def raws(cls) -> Iterator[tuple[Handle, Raw]]:
        return ((function, mark) for function, mark in cls.functions() if isinstance(mark, Raw))

    def permission(self, handler: Handler) -> str:
        """What a handler's caller needs, with the kind's own words in it."""
        words = self.collection.split(".")
        return handler.permission.format(collection=self.collection, service=words[0], kind=words[-1])

    def guards(self, call: Call) -> tuple[str, ...]:
        """Names whose policies decide about this call: the resource itself first, its project last."""
        return (f"projects/{self.project_of(call).id}",)

    def project_of(self, call: Call) -> Project:
        """The project of a call: its `project` parameter, or the one its name or parent begins with."""
        for key in ("project", "name", "parent", "resource"):
            if key in call.parameters:
                parts = str(call[key]).split("/")
                return call.project(parts[1] if parts[0] == "projects" and len(parts) > 1 else parts[0])
        raise errors.invalid("Project not specified.")

    def held(self, call: Call, resources: tuple[str, ...]) -> Body:
        """The answer of testIamPermissions: of those asked for, the permissions that the caller has."""
        asked = call.body.get("permissions", [])
        held = [each for each in asked if self.cloud.access.may(call.caller, each, resources)]
        return {"permissions": held} if held else {}

    def denied(self, permission: str, resource: str) -> errors.ApiError:
        """403 in this service's words."""
        return access.denied(permission, resource)

    def refused(self, call: Call, permission: str, resource: str) -> errors.ApiError:
        """401 for a caller without a name, 403 for one that has not the permission."""
        if call.caller == access.ANONYMOUS:
            return errors.unauthenticated("CREDENTIALS_MISSING")
        return self.denied(permission, resource)

    def references(self, record: Record) -> Iterator[str]:
        """Full names of the resources this one needs; they cannot be deleted before it."""
        return iter(())

    @property
    def now(self) -> str:
        """The moment as a timestamp."""
        return rfc3339(self.cloud.world.clock.now())

    def start(
        self,
        call: Call,
        latency: str,
        verb: str,
        record: Record,
        effect: Effect,
        act: Callable[[Backing], None] | None = None,
        undo: Callable[[], object] | None = None,
    ) -> Operation:
        """Begin work on a record: `effect` runs when it is done, `act` is what its real part does meanwhile.

        `undo` runs where the operation ends in an error, whatever the reason.
        """
        world, operations = self.cloud.world, self.cloud.operations
        now = world.clock.now()
        operation = Operation(
            number=world.number(),
            service=self.collection.partition(".")[0],
            project=self.project_of(call).id,
            scope=self.scope_of(record),
            verb=verb,
            target=str(record.body.get("selfLink", record.name)),
            target_id=str(record.body.get("id", "")),
            caller=call.email,
            started=now,
            begins=now + min(operations.latency("operation.pending"), operations.latency(latency)),
            ends=now + operations.latency(latency),
            effect=effect,
            undo=undo,
            part=self.cloud.backings.run(self.backed or self.collection, act) if act else None,
        )
        return operations.start(operation)

    def scope_of(self, record: Record) -> str:
        """`global`, `regions/r` or `zones/z` of a record, as operations of compute need it."""
        return "global"

    def release_later(self, name: str, by: str, kind: str) -> None:
        """Keep `name` in use after `by` is gone, for as long as the table says."""
        until = self.cloud.world.clock.now() + self.cloud.operations.latency(kind)
        if until - self.cloud.world.clock.now() > timedelta(0):
            self.cloud.world.hold(name, by, until)


@dataclass(frozen=True)
class Answering:
    """Who answers a method or a raw path, and the permission its caller needs, "" for none."""

    kind: Kind
    function: Handle
    permission: str = ""

    def authorize(self, call: Call) -> None:
        """401 or 403 for a caller who may not."""
        guards = self.kind.guards(call)
        if self.permission and not call.cloud.access.may(call.caller, self.permission, guards):
            raise self.kind.refused(call, self.permission, guards[0])

    async def answer(self, call: Call) -> Answer:
        """Run the function, which leaves no new records if it breaks; one that waits is waited for."""
        with call.cloud.world.all_or_nothing():
            answer = self.function(self.kind, call)
        return await answer if inspect.isawaitable(answer) else answer


@dataclass(frozen=True)
class RawMatch:
    """A path that no document lists: who answers it, and what its groups hold."""

    raw: Raw
    answering: Answering
    groups: dict[str, str]


def users_of(cloud: Cloud, name: str) -> list[str]:
    """Full names of what refers to a resource, and of what is gone but not yet released."""
    using = [record.name for record in cloud.world.all() if name in cloud.kind_of(record).references(record)]
    return sorted(using) + cloud.world.holders(name)
