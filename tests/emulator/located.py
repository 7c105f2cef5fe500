"""Kinds named `projects/P/locations/L/…`. Source: https://cloud.google.com/apis/design/resource_names"""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

from tests.emulator import errors
from tests.emulator.cloud import REGIONS
from tests.emulator.kind import Call, Kind
from tests.emulator.operations import Operation
from tests.emulator.world import Record


class LocatedKind(Kind):
    """A kind whose calls name a resource in a location, or the location."""

    locations: ClassVar[Collection[str]] = REGIONS

    def path(self, call: Call) -> str:
        """The name of a call with the project's id."""
        return "/".join(["projects", self.project_of(call).id, *call.named.split("/")[2:]])

    def full(self, call: Call) -> str:
        """The same in a location that exists.

        Source: firezone/firezone#7711; barthr/Identicon#2 (Cloud Run).
        """
        path = self.path(call)
        location = path.split("/")[3:4]
        if location and location[0] not in self.locations:
            raise errors.ApiError(403, f"Permission denied on 'locations/{location[0]}' (or it may not exist).")
        return path

    def scope_of(self, record: Record) -> str:
        return f"locations/{record.name.split('/')[4]}"

    def operation(self, call: Call) -> Operation | None:
        """The operation that a call names, if it is there."""
        _, project, _, location, _, name = self.full(call).split("/")
        service = self.collection.partition(".")[0]
        return self.cloud.operations.find(service, name, project, f"locations/{location}")
