"""Operations of Compute Engine, by scope.

Source: https://cloud.google.com/compute/docs/reference/rest/v1/zoneOperations and its siblings
"""

from __future__ import annotations

from tests.emulator import errors
from tests.emulator.kind import Body, Call, Kind, on
from tests.emulator.operations import Operation
from tests.emulator.services.compute.base import GOOGLE, shown_operation
from tests.emulator.services.compute.filters import chosen

WAIT = 120.0
"""Seconds a `wait` lasts at most. Source: "for no more than the 2 minute deadline" in the reference."""


class GlobalOperations(Kind):
    """Those of one scope; the two subclasses name another."""

    apis = ("compute.v1",)
    collection = "compute.globalOperations"
    scope = "global"

    def place(self, call: Call) -> str:
        return "global" if self.scope == "global" else f"{self.scope}s/{call[self.scope]}"

    def existing(self, call: Call) -> Operation:
        project = self.project_of(call).id
        found = self.cloud.operations.find("compute", call["operation"], project, self.place(call))
        if found is None:
            full = f"projects/{project}/{self.place(call)}/operations/{call['operation']}"
            raise errors.not_found(f"The resource '{full}' was not found")
        return found

    @on("get", "{collection}.get")
    def get(self, call: Call) -> Body:
        return shown_operation(self.existing(call))

    @on("wait", "{collection}.get")
    async def wait(self, call: Call) -> Body:
        operation = self.existing(call)
        await self.cloud.operations.wait(operation, WAIT)
        return shown_operation(operation)

    @on("list", "{collection}.list")
    def listed(self, call: Call) -> Body:
        project, place = self.project_of(call).id, self.place(call)
        mine = self.cloud.operations.of("compute", project)
        items, token = chosen([shown_operation(each) for each in mine if each.scope == place], call)
        folder = f"projects/{project}/{place}/operations"
        return {"kind": "compute#operationList", "id": folder, "items": items, "selfLink": f"{GOOGLE}/{folder}"} | token

    @on("delete", "{collection}.delete")
    def delete(self, call: Call) -> Body:
        del self.cloud.operations.all[self.existing(call).number]
        return {}


class RegionOperations(GlobalOperations):
    """Those of a region."""

    collection = "compute.regionOperations"
    scope = "region"


class ZoneOperations(GlobalOperations):
    """Those of a zone."""

    collection = "compute.zoneOperations"
    scope = "zone"


KINDS = (GlobalOperations, RegionOperations, ZoneOperations)
