"""Regions and zones: what there is to choose from. Nothing makes or changes them.

Sources: https://cloud.google.com/compute/docs/reference/rest/v1/regions and …/zones
"""

from __future__ import annotations

import zlib

from tests.emulator import errors
from tests.emulator.cloud import REGIONS
from tests.emulator.kind import Body, Call, Kind, on
from tests.emulator.services.compute.base import GOOGLE
from tests.emulator.services.compute.filters import chosen

SINCE = "1969-12-31T16:00:00.000-08:00"
"""When all of them were made. Source: the reference's example of a response, and what gcloud prints."""


class Regions(Kind):
    """A region with its zones; quotas are not emulated and left out."""

    apis = ("compute.v1",)
    collection = "compute.regions"
    owns_records = False
    singular = "region"

    def names(self) -> list[str]:
        return sorted(REGIONS)

    def body(self, project: str, name: str) -> Body:
        zones = [f"{GOOGLE}/projects/{project}/zones/{name}-{letter}" for letter in REGIONS[name]]
        return self.place(project, name) | {"zones": zones}

    def place(self, project: str, name: str) -> Body:
        folder = f"projects/{project}/{self.singular}s"
        number = zlib.crc32(f"{self.singular}/{name}".encode())
        body = {"kind": f"compute#{self.singular}", "id": str(number), "name": name, "description": name}
        return body | {"creationTimestamp": SINCE, "status": "UP", "selfLink": f"{GOOGLE}/{folder}/{name}"}

    def guards(self, call: Call) -> tuple[str, ...]:
        project = f"projects/{self.project_of(call).id}"
        return (
            (f"{project}/{self.singular}s/{call[self.singular]}", project)
            if self.singular in call.parameters
            else (project,)
        )

    def denied(self, permission: str, resource: str) -> errors.ApiError:
        return errors.ApiError(403, f"Required '{permission}' permission for '{resource}'", reason="forbidden")

    @on("get", "{collection}.get")
    def get(self, call: Call) -> Body:
        """Source of the words: "Unknown region" in public issues, here for a path by the rule of all resources."""
        project, name = self.project_of(call).id, call[self.singular]
        if name not in self.names():
            raise errors.not_found(f"The resource 'projects/{project}/{self.singular}s/{name}' was not found")
        return self.body(project, name)

    @on("list", "{collection}.list")
    def listed(self, call: Call) -> Body:
        project = self.project_of(call).id
        items, token = chosen([self.body(project, name) for name in self.names()], call)
        folder = f"projects/{project}/{self.singular}s"
        answer = {
            "kind": f"compute#{self.singular}List",
            "id": folder,
            "items": items,
            "selfLink": f"{GOOGLE}/{folder}",
        }
        return answer | token


class Zones(Regions):
    """A zone of a region."""

    collection = "compute.zones"
    singular = "zone"

    def names(self) -> list[str]:
        return sorted(f"{region}-{letter}" for region, letters in REGIONS.items() for letter in letters)

    def body(self, project: str, name: str) -> Body:
        region = f"{GOOGLE}/projects/{project}/regions/{name.rpartition('-')[0]}"
        return self.place(project, name) | {"region": region}


KINDS = (Regions, Zones)
