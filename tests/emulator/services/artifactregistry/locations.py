"""Locations and operations of Artifact Registry.

Source: https://cloud.google.com/artifact-registry/docs/reference/rest/v1/projects.locations
"""

from __future__ import annotations

from tests.emulator import errors
from tests.emulator.kind import Body, Call, on
from tests.emulator.operations import long_running_shape
from tests.emulator.services.artifactregistry.base import LOCATIONS, RegistryKind


class Locations(RegistryKind):
    """Where repositories can be."""

    collection = "artifactregistry.projects.locations"

    @on("list", "artifactregistry.locations.list")
    def listed(self, call: Call) -> Body:
        return self.paged(call, "locations", [self.shown(call, each) for each in sorted(LOCATIONS)])

    @on("get", "artifactregistry.locations.get")
    def get(self, call: Call) -> Body:
        return self.shown(call, self.full(call).split("/")[3])

    def shown(self, call: Call, location: str) -> Body:
        return {"name": f"projects/{self.project_of(call).id}/locations/{location}", "locationId": location}


class Operations(RegistryKind):
    """Operations of one location."""

    collection = "artifactregistry.projects.locations.operations"

    @on("get", "artifactregistry.repositories.get")
    def get(self, call: Call) -> Body:
        """No source for a permission of its own: the roles' pages name none."""
        found = self.operation(call)
        if found is None:
            raise errors.not_found("Requested entity was not found.")
        return long_running_shape(found, found.full_name)


KINDS = (Locations, Operations)
