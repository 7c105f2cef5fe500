"""What all kinds of Artifact Registry share: names, pages, refusals.

Source: https://cloud.google.com/artifact-registry/docs/reference/rest/v1
"""

from __future__ import annotations

from typing import Any

from tests.emulator import errors
from tests.emulator.cloud import REGIONS
from tests.emulator.kind import Body, Call
from tests.emulator.located import LocatedKind
from tests.emulator.pages import page
from tests.emulator.world import Record

LOCATIONS = (*REGIONS, "asia", "europe", "us")
"""Regions and multi-regions. Source: https://cloud.google.com/artifact-registry/docs/repositories/repo-locations"""
MOST = 1000
"""Source: `pageSize` in the reference: "The maximum page size is 1,000."."""


class RegistryKind(LocatedKind):
    """A kind named `projects/P/locations/L/…`."""

    apis = ("artifactregistry.v1",)
    locations = LOCATIONS

    def guards(self, call: Call) -> tuple[str, ...]:
        """The repository, if the call names one, then the project: a package has no policy of its own.

        Source: https://cloud.google.com/artifact-registry/docs/access-control
        """
        project = self.project_of(call)
        parts = call.named.split("/")
        mine = (f"projects/{project.id}/{'/'.join(parts[2:6])}",) if parts[4:5] == ["repositories"] else ()
        return (*mine, f"projects/{project.id}")

    def existing(self, call: Call) -> Record:
        record = self.cloud.world.find(f"artifactregistry/{self.full(call)}")
        if record is None:
            raise errors.not_found("Requested entity was not found.")
        return record

    def paged(self, call: Call, key: str, items: list[Any]) -> Body:
        """One page of a list; what the emulator does not sort or filter by is refused."""
        for unsupported in ("filter", "orderBy"):
            if call.get(unsupported):
                raise errors.not_emulated(f"{self.collection}.list with {unsupported}")
        return page(key, items, call, MOST, MOST)
