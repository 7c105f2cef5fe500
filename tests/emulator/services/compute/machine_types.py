"""Machine types and disk types: what every zone offers, the same in all zones here.

Sources: https://cloud.google.com/compute/docs/general-purpose-machines (vCPUs, memory),
https://cloud.google.com/compute/docs/disks/persistent-disks (sizes). Those of a few series are here, not all.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from typing import ClassVar

from tests.emulator import errors
from tests.emulator.kind import Body, Call, on
from tests.emulator.services.compute.base import GOOGLE, ComputeKind
from tests.emulator.services.compute.filters import chosen

SHARED = {"e2-micro": (2, 1), "e2-small": (2, 2), "e2-medium": (2, 4), "f1-micro": (1, 0.6), "g1-small": (1, 1.7)}
"""Shared-core types: vCPUs and GB."""
GB_PER_CPU = {
    "e2-standard": 4,
    "e2-highmem": 8,
    "e2-highcpu": 1,
    "n1-standard": 3.75,
    "n1-highmem": 6.5,
    "n1-highcpu": 0.9,
    "n2-standard": 4,
    "n2-highmem": 8,
    "n2-highcpu": 1,
    "n2d-standard": 4,
    "t2d-standard": 4,
}
CPUS = (2, 4, 8, 16, 32)
CUSTOM = re.compile(r"(?:(n1|n2|n2d|e2)-)?custom-(\d{1,2})-(\d{4,6})")
"""Source: https://cloud.google.com/compute/docs/instances/creating-instance-with-custom-machine-type"""

DISK_TYPES = {
    "pd-standard": ("Standard Persistent Disk", 500, "10GB-65536GB"),
    "pd-balanced": ("Balanced Persistent Disk", 100, "10GB-65536GB"),
    "pd-ssd": ("SSD Persistent Disk", 100, "10GB-65536GB"),
}
"""Description, default size in GB, sizes that may be asked for."""


def machine_types() -> Iterator[Body]:
    for name, (cpus, gigabytes) in SHARED.items():
        yield _machine(name, cpus, int(gigabytes * 1024), shared=True)
    yield _machine("n1-standard-1", 1, 3840)
    for family, gigabytes in GB_PER_CPU.items():
        for cpus in CPUS:
            yield _machine(f"{family}-{cpus}", cpus, int(cpus * gigabytes * 1024))


def _machine(name: str, cpus: int, megabytes: int, *, shared: bool = False) -> Body:
    return {
        "name": name,
        "description": f"{cpus} vCPUs, {megabytes / 1024:.4g} GB RAM",
        "guestCpus": cpus,
        "memoryMb": megabytes,
        "isSharedCpu": shared,
        "imageSpaceGb": 0,
        "maximumPersistentDisks": 16 if shared else 128,
        "maximumPersistentDisksSizeGb": "3072" if shared else "263168",
        "architecture": "X86_64",
    }


class MachineTypes(ComputeKind):
    """What a machine type is; custom ones exist by their name alone and are in no list."""

    collection = "compute.machineTypes"
    singular = "machineType"
    scope = "zone"
    entries: ClassVar[dict[str, Body]] = {each["name"]: each for each in machine_types()}

    @on("get", "{collection}.get")
    def get(self, call: Call) -> Body:
        entry, folder = self.entry(self.named(call)), self.folder(call)
        if entry is None:
            raise errors.not_found(f"The resource '{folder}/{self.named(call)}' was not found")
        return self.placed(entry, self.project_of(call).id, self.place(call))

    @on("list", "{collection}.list")
    def listed(self, call: Call) -> Body:
        folder, project, place = self.folder(call), self.project_of(call).id, self.place(call)
        items, token = chosen([self.placed(each, project, place) for each in self.entries.values()], call)
        return {"kind": f"{self.type_name}List", "id": folder, "items": items, "selfLink": f"{GOOGLE}/{folder}"} | token

    @on("aggregatedList", "{collection}.list")
    def aggregated(self, call: Call) -> Body:
        """All zones' entries, on pages as in a list."""
        project = self.project_of(call).id
        places = self.cloud.places(self.scope)
        everything = [self.placed(each, project, place) for place in places for each in self.entries.values()]
        items, token = chosen(everything, call)
        scopes: dict[str, Body] = {}
        for item in items:
            place = f"zones/{item['zone'].rpartition('/')[2]}"
            scopes.setdefault(place, {self.plural: []})[self.plural].append(item)
        folder = f"projects/{project}/aggregated/{self.plural}"
        answer = {"kind": f"{self.type_name}AggregatedList", "id": folder, "items": scopes}
        return answer | {"selfLink": f"{GOOGLE}/{folder}"} | token

    def entry(self, name: str) -> Body | None:
        return self.entries.get(name) or custom(name)

    def placed(self, entry: Body, project: str, place: str) -> Body:
        """An entry as one zone shows it. Source of `zone` being a bare name: the reference's example of a response."""
        number = zlib.crc32(f"{self.plural}/{entry['name']}".encode())
        link = f"{GOOGLE}/projects/{project}/{place}/{self.plural}/{entry['name']}"
        zone = place.rpartition("/")[2] if self.plural == "machineTypes" else f"{GOOGLE}/projects/{project}/{place}"
        return entry | {"kind": self.type_name, "id": str(number), "zone": zone, "selfLink": link}


def custom(name: str) -> Body | None:
    """A custom machine type: an even number of vCPUs (or one) and memory in steps of 256 MB."""
    found = CUSTOM.fullmatch(name)
    if found is None:
        return None
    cpus, megabytes = int(found[2]), int(found[3])
    fits = (cpus == 1 or cpus % 2 == 0) and 0 < cpus <= 96 and megabytes % 256 == 0
    return _machine(name, cpus, megabytes) if fits else None


class DiskTypes(MachineTypes):
    """What a disk type is."""

    collection = "compute.diskTypes"
    singular = "diskType"
    entries: ClassVar[dict[str, Body]] = {
        name: {"name": name, "description": text, "defaultDiskSizeGb": str(size), "validDiskSize": sizes}
        for name, (text, size, sizes) in DISK_TYPES.items()
    }

    def entry(self, name: str) -> Body | None:
        return self.entries.get(name)


def machine_type(link: str, project: str, zone: str, field: str) -> str:
    """The full link of a machine type that the zone has; 400 for another.

    Source of the words: GoogleCloudPlatform/bank-of-anthos#1234.
    """
    name = link.rpartition("/")[2]
    found = re.search(r"zones/([^/]+)/machineTypes/[^/]+$", link)
    if found is None:
        raise errors.invalid(f"Invalid value for field '{field}': '{link}'. The URL is malformed.")
    if found[1] != zone or not (name in MachineTypes.entries or custom(name)):
        raise errors.invalid(
            f"Invalid value for field '{field}': '{link}'. Machine type with name '{name}' does not exist in zone "
            f"'{zone}'."
        )
    return f"{GOOGLE}/projects/{project}/zones/{zone}/machineTypes/{name}"


def disk_type(link: str, project: str, zone: str, field: str) -> str:
    """The full link of a disk type, given by name or link; 400 for one that there is not."""
    name = link.rpartition("/")[2]
    if name not in DISK_TYPES:
        raise errors.invalid(
            f"Invalid value for field '{field}': '{link}'. The referenced diskType resource cannot be found."
        )
    return f"{GOOGLE}/projects/{project}/zones/{zone}/diskTypes/{name}"


KINDS = (MachineTypes, DiskTypes)
