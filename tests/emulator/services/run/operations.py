"""Long-running operations of Cloud Run, for both versions of the API.

Source: https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.operations
"""

from __future__ import annotations

from tests.emulator import errors
from tests.emulator.kind import Body, Call, on
from tests.emulator.operations import Operation
from tests.emulator.services.run.base import SERVICES, RunKind, shown_operation
from tests.emulator.services.run.knative_out import service_out
from tests.emulator.world import Record

LONGEST_WAIT = 60.0
"""Seconds a `wait` lasts at most. No source: the reference says "until it is done or reaches at most a specified
timeout", and that the server may have its own."""


class Operations(RunKind):
    """Those of one location."""

    apis = ("run.v2", "run.v1")
    collection = "run.projects.locations.operations"

    def guards(self, call: Call) -> tuple[str, ...]:
        return (f"projects/{self.project_of(call).id}",)

    def one(self, call: Call) -> Operation:
        found = self.operation(call)
        if found is None:
            raise errors.not_found(f"Operation '{self.full(call)}' was not found.")  # no source: words
        return found

    def shown(self, call: Call, operation: Operation) -> Body:
        """In v1 what it has made is a Knative service. Source: gcloud's `WaitService`, which reads it as that."""
        shape = shown_operation(operation)
        body = shape.get("response", {})
        record = self.cloud.world.find(f"run/{body.get('name')}")
        if call.method and call.method.api == "run.v1" and record and record.collection == SERVICES:
            made = service_out(Record(record.name, SERVICES, body, record.hidden), self.project_of(call))
            shape["response"] = {"@type": "type.googleapis.com/google.cloud.run.v1.Service", **made}
        return shape

    @on("get", "run.operations.get")
    def get(self, call: Call) -> Body:
        return self.shown(call, self.one(call))

    @on("list", "run.operations.list")
    def listed(self, call: Call) -> Body:
        if call.get("filter"):
            raise errors.not_emulated("run.projects.locations.operations.list with filter")
        _, project, _, location = self.full(call).split("/")
        mine = self.cloud.operations.of("run", project)
        here = [self.shown(call, each) for each in mine if each.scope == f"locations/{location}"]
        return self.paged(call, "operations", here)

    @on("wait", "run.operations.get")
    async def wait(self, call: Call) -> Body:
        """Source: `timeout` in the reference; without one it lasts as long as the server likes."""
        operation = self.one(call)
        seconds = float(call.body.get("timeout", f"{LONGEST_WAIT}s").removesuffix("s"))
        await self.cloud.operations.wait(operation, min(seconds, LONGEST_WAIT))
        return self.shown(call, operation)

    @on("delete", "run.operations.delete")
    def delete(self, call: Call) -> Body:
        del self.cloud.operations.all[self.one(call).number]
        return {}


KINDS = (Operations,)
