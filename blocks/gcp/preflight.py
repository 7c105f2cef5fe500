"""What would be in the way of a stack in a project of Google's: all of it at once, before anything is made.

The APIs are to be enabled before: without them, nothing can be asked. Source of each: the function that asks it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from google.api_core import exceptions

from blocks.errors import Blocked, NotReady, SelfhostError
from blocks.gcp import domain
from blocks.gcp.google import Google, explained
from blocks.gcp.permissions import DEPLOYER
from blocks.gcp_spec import Gcp
from blocks.resource import Resource

BATCH = 100
"""Permissions that Google tells of in one call."""
WITH_ALL_BUCKETS = ("storage.buckets.create", "storage.buckets.delete", "storage.buckets.list")
"""What an owner of the project may do with any bucket. The rest he may do with those whose policy says so, as that of a
new one does: https://cloud.google.com/storage/docs/access-control/iam-roles#basic-roles"""
READERS = 8
"""Resources that are looked at at one time."""
OF_ITS_BUCKET = {each for each in DEPLOYER if each.startswith("storage.") and each not in WITH_ALL_BUCKETS}
NEW = {
    "network": {"NETWORKS": 1.0},
    "subnetwork of the host": {"SUBNETWORKS": 1.0},
    "subnetwork of the proxy": {"SUBNETWORKS": 1.0},
    "firewall rule: the proxy to the server": {"FIREWALLS": 1.0},
    "firewall rule: nobody else": {"FIREWALLS": 1.0},
    "router with NAT": {"ROUTERS": 1.0},
    "range of Google's services": {"GLOBAL_INTERNAL_ADDRESSES": 1.0},
}
"""Resource → what it counts for, by the names of Google's quotas, where it is not there yet."""


def faults(google: Google, gcp: Gcp, resources: Iterable[Resource]) -> list[str]:
    """Why a stack cannot be made as its spec says, each a sentence; empty where it can.

    Args:
        gcp: The spec's section.
        resources: All that is to stand outside the host.
    """
    return Preflight(google, gcp, list(resources)).faults()


@dataclass(frozen=True)
class Preflight:
    """One look at a project."""

    google: Google
    gcp: Gcp
    resources: list[Resource]

    def faults(self) -> list[str]:
        lacking = _told(self._lacking)
        if lacking:
            return lacking  # the rest could not be looked at, and would say the same once more for each
        place = _told(self._place)
        return [*place, *(_told(self._quotas) if not place else []), *_told(self._domain), *self._in_the_way]

    def _lacking(self) -> list[str]:
        """Permissions which the caller has not.

        Source: https://cloud.google.com/resource-manager/reference/rest/v3/projects/testIamPermissions
        """
        asked, held = sorted(DEPLOYER), set[str]()
        for begin in range(0, len(asked), BATCH):
            body = {"permissions": asked[begin : begin + BATCH]}
            path = f"v3/projects/{self.google.project}:testIamPermissions"
            answer = self.google.rest("asking what this account may do", "POST", "cloudresourcemanager", path, body)
            held |= set(answer.get("permissions", ()))
        lacking = [each for each in asked if each not in held]
        if set(lacking) == OF_ITS_BUCKET:  # an owner of the project has those on each bucket that is made in it
            return []
        hint = f"selfhost permissions --project {self.google.project} prints a role with all it takes"
        return [f"this account lacks {', '.join(lacking)} in {self.google.project} ({hint})"] if lacking else []

    def _place(self) -> list[str]:
        """What the region and the zone do not have.

        Source: https://cloud.google.com/compute/docs/reference/rest/v1/machineTypes/get
        """
        region = self._find("Regions", region=self.gcp.region)
        if region is None:
            return [f"there is no region {self.gcp.region!r} (gcloud compute regions list)"]
        zones = sorted(each.rpartition("/")[2] for each in region.zones)
        if self.gcp.of_zone not in zones:
            return [f"{self.gcp.region} has no zone {self.gcp.of_zone} (it has {', '.join(zones)})"]
        if self._machine_type is None:
            what = f"{self.gcp.of_zone} has no machines of type {self.gcp.host.machine_type}"
            return [f"{what} (gcloud compute machine-types list --zones {self.gcp.of_zone})"]
        return []

    def _quotas(self) -> list[str]:
        """What the project may not have so many more of.

        Source: https://cloud.google.com/compute/resource-usage, `quotas` of projects and regions
        """
        looked = {self.google.project: self._find("Projects")}
        looked[self.gcp.region] = self._find("Regions", region=self.gcp.region)
        found = []
        for where, quota in ((where, each) for where, seen in looked.items() for each in seen.quotas):
            wanted = self._demand.get(quota.metric, 0.0)
            if wanted > quota.limit - quota.usage:
                what = f"the quota {quota.metric} of {where} is {quota.limit:g}, {quota.usage:g} in use"
                found.append(f"{what}; {wanted:g} more are needed (ask for more below IAM & Admin, Quotas)")
        return found

    @cached_property
    def _demand(self) -> Mapping[str, float]:
        """What is not there yet counts for."""
        kind = self._machine_type
        cpus = float(kind.guest_cpus) if kind else 0.0
        machine = {"CPUS": cpus, "CPUS_ALL_REGIONS": cpus, "SSD_TOTAL_GB": float(self.gcp.host.disk_gb)}
        found: dict[str, float] = {}
        for name, counts in {**NEW, "machine": machine}.items():
            for metric, wanted in counts.items() if name in self._missing else ():
                found[metric] = found.get(metric, 0.0) + wanted
        return found

    def _domain(self) -> list[str]:
        told = domain.unverified(self.google, self.gcp.domain) if self.gcp.domain else ""
        return [told] if told else []

    @cached_property
    def _looks(self) -> Mapping[str, str | None]:
        """Resource → what is in its way, empty where nothing is; None where it is not there yet."""
        with ThreadPoolExecutor(READERS) as executor:
            return dict(zip((each.name for each in self.resources), executor.map(_look, self.resources), strict=True))

    @property
    def _missing(self) -> set[str]:
        return {name for name, told in self._looks.items() if told is None}

    @property
    def _in_the_way(self) -> list[str]:
        return [told for told in self._looks.values() if told]

    @cached_property
    def _machine_type(self) -> Any:
        return self._find("MachineTypes", zone=self.gcp.of_zone, machine_type=self.gcp.host.machine_type)

    def _find(self, kind: str, **named: str) -> Any:
        """A thing that Google has, None where it has none of that name."""
        try:
            with explained(f"reading {kind}"):
                return self.google.compute(kind).get(project=self.google.project, **named)
        except exceptions.NotFound:
            return None


def _told(look: Callable[[], list[str]]) -> list[str]:
    """What a look finds, or what kept it from looking."""
    try:
        return look()
    except SelfhostError as error:
        return [str(error)]


def _look(resource: Resource) -> str | None:
    try:
        actual = resource.find()
        if actual is None:
            return None
        resource.require_ours(actual)
        resource.check(actual)
    except NotReady:
        return None  # what it needs is not there yet, or it is under way
    except Blocked as error:
        return str(error)
    return ""
