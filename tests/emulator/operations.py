"""Work that takes time: started, running, done; and the three shapes in which Google's APIs show it.

An operation ends when its latency is over and, where a real part stands behind the resource, that part is done too.
Nothing ticks: every request first carries out what is due (`Operations.advance`).
"""

from __future__ import annotations

import concurrent.futures
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any

from tests.emulator.clock import Clock, rfc3339
from tests.emulator.errors import ApiError
from tests.emulator.latencies import LATENCIES

Effect = Callable[[], dict[str, Any] | None]
"""What the end of an operation does to the world; returns the response of a long-running operation, if it has one.
An ApiError raised here is how the operation fails."""


@dataclass
class Operation:
    """One piece of work. `verb` is what the API calls it; `target` is the resource, as its API shows that."""

    number: int
    service: str
    project: str
    scope: str
    verb: str
    target: str
    target_id: str
    caller: str
    started: datetime
    begins: datetime
    """When it is taken up: PENDING until then."""
    ends: datetime
    effect: Effect
    undo: Callable[[], object] | None = None
    part: concurrent.futures.Future[None] | None = None
    running: bool = False
    done: datetime | None = None
    error: ApiError | None = None
    response: dict[str, Any] | None = None
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Its last path segment."""
        return f"operation-{self.number}"

    @property
    def full_name(self) -> str:
        """As services with locations name it."""
        return f"projects/{self.project}/{self.scope}/operations/{self.name}"

    @property
    def status(self) -> str:
        """PENDING, RUNNING or DONE, as compute#operation and sql#operation have it.

        Sources: `status` in the references of both; that they begin PENDING:
        https://cloud.google.com/compute/docs/api/how-tos/api-requests-responses#handling_api_responses,
        https://cloud.google.com/sql/docs/postgres/create-instance#rest-v1 (answers printed there).
        """
        return "DONE" if self.done else "RUNNING" if self.running else "PENDING"

    def due(self, now: datetime) -> bool:
        return self.done is None and self.ends <= now and (self.part is None or self.part.done())

    def finish(self, now: datetime, follow: Callable[[], object]) -> None:
        """Carry out the effect, and what follows it; what goes wrong becomes the operation's error."""
        self.done = max(self.ends, self.started) if self.part is None else now
        if self.error is None:
            self._carry_out(follow)
        if self.error is not None and self.undo is not None:
            self.undo()

    def _carry_out(self, follow: Callable[[], object]) -> None:
        try:
            if self.part is not None:
                self.part.result()
            self.response = self.effect()
            follow()
        except ApiError as error:
            self.error = error
        except Exception as error:  # noqa: BLE001 - a real part that broke is the operation's failure, told as such
            self.error = ApiError(500, f"{type(error).__name__}: {error}")


class Operations:
    """All operations, by number."""

    def __init__(self, clock: Clock, scale: float) -> None:
        self.clock = clock
        self.scale = scale
        self.all: dict[int, Operation] = {}
        self.stuck = timedelta(days=365)
        self.next_outcome: list[ApiError | None] = []
        """Set by faults before a method runs: the error its operation ends with, or None for one that never ends."""
        self.follow: Callable[[], object] = lambda: None
        """Called after each effect, before its operation is done: a lab makes its networks what the world now says."""

    def latency(self, kind: str) -> timedelta:
        """How long this kind of work takes here: the table's seconds times the scale."""
        told = LATENCIES[kind]
        return timedelta(seconds=told.seconds * (1 if told.fixed else self.scale))

    def start(self, operation: Operation) -> Operation:
        """Take it in; a fault laid for this call decides how it ends."""
        if self.next_outcome:
            operation.error = self.next_outcome.pop()
            if operation.error is None:
                operation.ends += self.stuck
        self.all[operation.number] = operation
        self.advance()
        return operation

    def advance(self) -> None:
        """Finish what is due, the earliest first; an effect may start more work."""
        now = self.clock.now()
        for each in list(self.all.values()):
            each.running = each.running or each.begins <= now
        while due := [each for each in list(self.all.values()) if each.due(now)]:
            min(due, key=lambda each: (each.ends, each.number)).finish(now, self.follow)

    def pass_time(self, seconds: float) -> None:
        """Move a virtual clock, and stop at the end of each operation on the way: its effect has its own time."""
        if seconds < 0:
            raise ValueError(f"time moves on, not back: {seconds}")
        target = self.clock.now() + timedelta(seconds=seconds)
        while ends := [each.ends for each in list(self.all.values()) if self._ends_by(each, target)]:
            self.clock.advance((min(ends) - self.clock.now()).total_seconds())
            self.advance()
        self.clock.advance((target - self.clock.now()).total_seconds())
        self.advance()

    def _ends_by(self, operation: Operation, target: datetime) -> bool:
        return operation.done is None and self.clock.now() < operation.ends <= target

    def find(self, service: str, name: str, project: str = "", scope: str = "") -> Operation | None:
        """One of a service by the last segment of its name or by number alone; where they are given, of this project
        and scope."""
        number = name.removeprefix("operation-")
        found = self.all.get(int(number)) if number.isdecimal() else None
        if found is None or found.service != service:
            return None
        return found if project in ("", found.project) and scope in ("", found.scope) else None

    def of(self, service: str, project: str) -> list[Operation]:
        """All of a service in a project, the oldest first."""
        return [each for each in list(self.all.values()) if (each.service, each.project) == (service, project)]

    async def wait(self, operation: Operation, seconds: float) -> None:
        """Return once it is done, at the latest after so many seconds."""
        limit = self.clock.now() + timedelta(seconds=seconds)
        while operation.done is None and self.clock.now() < limit:
            step = operation.ends if operation.part is None else self.clock.now() + timedelta(milliseconds=50)
            await self.clock.sleep_until(min(max(step, self.clock.now() + timedelta(milliseconds=1)), limit))
            self.advance()


def compute_shape(operation: Operation, base: str) -> dict[str, Any]:
    """compute#operation. Source: https://cloud.google.com/compute/docs/reference/rest/v1/globalOperations"""
    scope = operation.scope
    place = "zone" if scope.startswith("zones/") else "region" if scope.startswith("regions/") else ""
    root = f"{base}/projects/{operation.project}/{scope}"
    shape: dict[str, Any] = {
        "kind": "compute#operation",
        "id": str(operation.number),
        "name": operation.name,
        "operationType": operation.verb,
        "targetLink": operation.target,
        "targetId": operation.target_id,
        "user": operation.caller,
        "insertTime": rfc3339(operation.started),
        "progress": 100 if operation.done else 0,
        "status": operation.status,
        "selfLink": f"{root}/operations/{operation.name}",
    }
    if place:
        shape[place] = root
    if operation.status != "PENDING":
        shape["startTime"] = rfc3339(min(operation.begins, operation.done or operation.begins))
    if operation.done:
        shape["endTime"] = rfc3339(operation.done)
    if operation.done and operation.error:
        error = operation.error
        shape["httpErrorStatusCode"] = error.code
        shape["httpErrorMessage"] = HTTPStatus(error.code).phrase.upper()
        shape["error"] = {"errors": [{"code": _constant(error.reason or error.canonical), "message": error.message}]}
    return shape


def _constant(reason: str) -> str:
    """`RESOURCE_IN_USE_BY_ANOTHER_RESOURCE` of `resourceInUseByAnotherResource`: how operations write reasons.

    No issue found that prints both; the constants are those of operations, the others those of refused calls.
    """
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", reason).upper()


def sql_shape(operation: Operation, base: str) -> dict[str, Any]:
    """sql#operation. Source: https://cloud.google.com/sql/docs/postgres/admin-api/rest/v1/operations"""
    shape: dict[str, Any] = {
        "kind": "sql#operation",
        "name": operation.name,
        "operationType": operation.verb,
        "targetLink": operation.target,
        "targetId": operation.target_id,
        "targetProject": operation.project,
        "user": operation.caller,
        "insertTime": rfc3339(operation.started),
        "status": operation.status,
        "selfLink": f"{base}/projects/{operation.project}/operations/{operation.name}",
        **operation.metadata,
    }
    if operation.status != "PENDING":
        shape["startTime"] = rfc3339(min(operation.begins, operation.done or operation.begins))
    if operation.done:
        shape["endTime"] = rfc3339(operation.done)
    if operation.done and operation.error:
        error = operation.error
        one = {"kind": "sql#operationError", "code": error.reason or error.canonical, "message": error.message}
        shape["error"] = {"kind": "sql#operationErrors", "errors": [one]}
    return shape


def long_running_shape(operation: Operation, name: str) -> dict[str, Any]:
    """google.longrunning.Operation. Source: https://google.aip.dev/151; `name` is the whole name."""
    shape: dict[str, Any] = {"name": name, "metadata": operation.metadata, "done": operation.done is not None}
    if operation.done and operation.error:
        shape["error"] = {"code": GRPC_CODES.get(operation.error.canonical, 2), "message": operation.error.message}
    elif operation.done:
        shape["response"] = operation.response or {"@type": "type.googleapis.com/google.protobuf.Empty"}
    return {key: value for key, value in shape.items() if value not in ({}, False)}


GRPC_CODES = {
    "CANCELLED": 1,
    "INVALID_ARGUMENT": 3,
    "DEADLINE_EXCEEDED": 4,
    "NOT_FOUND": 5,
    "ALREADY_EXISTS": 6,
    "PERMISSION_DENIED": 7,
    "RESOURCE_EXHAUSTED": 8,
    "FAILED_PRECONDITION": 9,
    "ABORTED": 10,
    "UNIMPLEMENTED": 12,
    "INTERNAL": 13,
    "UNAVAILABLE": 14,
    "UNAUTHENTICATED": 16,
}
"""Canonical status → number (google/rpc/code.proto)."""
