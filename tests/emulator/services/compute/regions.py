"""Regions and zones: what there is to choose from. Nothing makes or changes them.

Sources: https://cloud.google.com/compute/docs/reference/rest/v1/regions and …/zones
"""

from __future__ import annotations

import zlib

from tests.emulator import errors, quotas
from tests.emulator.cloud import REGIONS
from tests.emulator.kind import Body, Call, on
from tests.emulator.services.compute.filters import chosen
from tests.emulator.services.compute.reading import GOOGLE, ReadKind

SINCE = "1969-12-31T16:00:00.000-08:00"
"""When all of them were made. Source: the reference's example of a response, and what gcloud prints."""


class Regions(ReadKind):
    """A region with its zones, and what the project may have in it and has."""

    collection = "compute.regions"
    owns_records = False
    singular = "region"

    def names(self) -> list[str]:
        return sorted(REGIONS)

    def body(self, project: str, name: str) -> Body:
        zones = [f"{GOOGLE}/projects/{project}/zones/{name}-{letter}" for letter in REGIONS[name]]
        owner = self.cloud.world.projects[project]
        return self.entry(project, name) | {"zones": zones, "quotas": quotas.shown(self.cloud, owner, name)}

    def entry(self, project: str, name: str) -> Body:
        folder = f"projects/{project}/{self.singular}s"
        number = zlib.crc32(f"{self.singular}/{name}".encode())
        body = {"kind": f"compute#{self.singular}", "id": str(number), "name": name, "description": name}
        return body | {"creationTimestamp": SINCE, "status": "UP", "selfLink": f"{GOOGLE}/{folder}/{name}"}

    def folder(self, call: Call) -> str:
        return f"projects/{self.project_of(call).id}/{self.plural}"

    @on("get", "{collection}.get")
    def get(self, call: Call) -> Body:
        name = self.named(call)
        if name not in self.names():
            raise errors.not_found(f"The resource '{self.folder(call)}/{name}' was not found")
        return self.body(self.project_of(call).id, name)

    @on("list", "{collection}.list")
    def listed(self, call: Call) -> Body:
        items, token = chosen([self.body(self.project_of(call).id, name) for name in self.names()], call)
        link = f"{GOOGLE}/{self.folder(call)}"
        return {"kind": f"{self.type_name}List", "id": self.folder(call), "items": items, "selfLink": link} | token


class Zones(Regions):
    """A zone of a region."""

    collection = "compute.zones"
    singular = "zone"

    def names(self) -> list[str]:
        return sorted(f"{region}-{letter}" for region, letters in REGIONS.items() for letter in letters)

    def body(self, project: str, name: str) -> Body:
        region = f"{GOOGLE}/projects/{project}/regions/{name.rpartition('-')[0]}"
        return self.entry(project, name) | {"region": region}


KINDS = (Regions, Zones)
