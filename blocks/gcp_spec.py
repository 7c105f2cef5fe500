"""The section of a spec for the target `gcp`: where at Google the stack lies, and how large its parts are.

Google's rules for names and sizes are held here, so that what it would refuse after minutes is refused at once.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

MAPPED_REGIONS = (
    "asia-east1",
    "asia-northeast1",
    "asia-southeast1",
    "europe-north1",
    "europe-west1",
    "europe-west4",
    "us-central1",
    "us-east1",
    "us-east4",
    "us-west1",
)
"""Where a domain can be mapped: https://cloud.google.com/run/docs/mapping-custom-domains"""
TAKEN = ipaddress.IPv4Network("172.17.0.0/16")
"""Docker's own range, on the host as at Cloud SQL: https://cloud.google.com/sql/docs/postgres/private-ip"""
HOST_ADDRESS = 10
"""Which address of its subnetwork the host has; Google keeps the first two and the last two of each."""
ARM = ("a4x", "c4a", "n4a", "t2a")
"""Families of machines with another processor than the releases are made for."""

Project = Annotated[str, Field(pattern=r"^([a-z][a-z0-9-]{4,28}[a-z0-9])?$")]
Region = Annotated[str, Field(pattern=r"^([a-z]+-[a-z]+[0-9]+)?$")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class GcpNetwork(_Part):
    """The stack's own network."""

    host: str = Field("10.60.0.0/24", description="Addresses of the host's subnetwork; the host has the tenth.")
    proxy: str = Field("10.60.1.0/26", description="Addresses of the proxy's subnetwork; Cloud Run wants /26 or more.")
    services_prefix: int = Field(
        20,
        ge=16,
        le=24,
        description="Length of the prefix of the range which Google's services get, such as Cloud SQL.",
    )
    nat: bool = Field(True, description="Whether the host reaches the internet, through Cloud NAT.")
    iap: bool = Field(False, description="Whether Google's Identity-Aware Proxy may reach the host's SSH port.")

    @field_validator("host", "proxy")
    @classmethod
    def _range(cls, value: str) -> str:
        try:
            found = ipaddress.IPv4Network(value)
        except ValueError as error:
            raise ValueError(f"{value!r} is no range of addresses such as 10.60.0.0/24") from error
        if not found.is_private or found.overlaps(TAKEN):
            raise ValueError(f"{value} must be of private addresses, outside {TAKEN}, which Docker and Cloud SQL use")
        return value

    @model_validator(mode="after")
    def _apart(self) -> GcpNetwork:
        host, proxy = ipaddress.IPv4Network(self.host), ipaddress.IPv4Network(self.proxy)
        if host.overlaps(proxy):
            raise ValueError(f"the ranges of host and proxy overlap: {host} and {proxy}")
        if host.prefixlen > 28:
            raise ValueError(f"host = {host} is too small for a tenth address: /28 or larger")
        if proxy.prefixlen > 26:
            raise ValueError(f"proxy = {proxy} is too small for Cloud Run: /26 or larger")
        return self

    @property
    def host_address(self) -> str:
        """The host's static address in its subnetwork."""
        return str(ipaddress.IPv4Network(self.host)[HOST_ADDRESS])


class GcpDatabase(_Part):
    """PostgreSQL at Cloud SQL."""

    tier: str = Field("db-custom-2-7680", description="Machine type: processors and MiB of memory.")
    disk_gb: int = Field(10, ge=10, le=65536, description="GB of disk at first; it grows by itself, never shrinks.")
    protection: bool = Field(True, description="Whether Google refuses to delete it.")
    instance: str | None = Field(
        None,
        description="Name of the instance. Left out: from the stack's name and identity. One that was deleted is not "
        "to be had for a week.",
        pattern=r"^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$",
    )
    backups: int = Field(7, ge=1, le=365, description="Google's own daily backups that are kept, beside the stack's.")
    log_days: int = Field(7, ge=1, le=7, description="Days to any moment of which Google can bring it back.")
    maintenance_day: int = Field(7, ge=1, le=7, description="Day on which Google may restart it; 1 is Monday.")
    maintenance_hour: int = Field(3, ge=0, le=23, description="Hour of that day, UTC.")

    @field_validator("tier")
    @classmethod
    def _tier(cls, value: str) -> str:
        """https://cloud.google.com/sql/docs/postgres/create-instance#machine-types"""
        if value in ("db-f1-micro", "db-g1-small"):
            return value
        found = re.fullmatch(r"db-custom-(\d+)-(\d+)", value)
        if not found:
            raise ValueError(f"{value!r} is no type of the edition ENTERPRISE, such as db-custom-2-7680")
        processors, memory = map(int, found.groups())
        if not (processors == 1 or (processors % 2 == 0 and 2 <= processors <= 96)):
            raise ValueError(f"{value}: processors must be 1, or even up to 96")
        if memory % 256 or memory < 3840 or not 0.9 <= memory / 1024 / processors <= 6.5:
            raise ValueError(f"{value}: memory must be a multiple of 256, 3840 or more, 0.9 to 6.5 GiB a processor")
        return value


class GcpHost(_Part):
    """The machine that the server and the workers run on."""

    machine_type: str = Field(
        "e2-medium", description="Machine type, with an x86-64 processor.", pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)+$"
    )
    disk_gb: int = Field(10, ge=10, le=65536, description="GB of disk; it can grow, never shrink.")
    protection: bool = Field(False, description="Whether Google refuses to delete it.")

    @field_validator("machine_type")
    @classmethod
    def _x86(cls, value: str) -> str:
        if value.partition("-")[0] in ARM:
            raise ValueError(
                f"{value} has an Arm processor, and the releases are for x86-64: take one such as e2-medium"
            )
        return value


class GcpProxy(_Part):
    """The front door at Cloud Run."""

    min_instances: int = Field(1, ge=0, le=100, description="Instances that are always there.")
    max_instances: int = Field(3, ge=1, le=100, description="Instances at most.")
    concurrency: int = Field(250, ge=1, le=1000, description="Requests and open sockets an instance has at one time.")
    cpu_idle: bool = Field(True, description="Whether a processor is had, and paid, only while requests are open.")
    memory: str = Field("512Mi", description="Memory of an instance.", pattern=r"^([0-9]+Mi|[0-9]+Gi)$")
    build: Literal["either", "docker", "cloud-build"] = Field(
        "either", description="What builds its image; `either`: this machine's Docker engine if there is one."
    )

    @model_validator(mode="after")
    def _order(self) -> GcpProxy:
        if self.min_instances > self.max_instances:
            raise ValueError(f"min_instances {self.min_instances} is above max_instances {self.max_instances}")
        return self


class Gcp(_Part):
    """Where at Google Cloud the stack lies."""

    project: Project = Field(
        "", description="Id of the project, such as `acme-data-42`; must be given for this target."
    )
    region: Region = Field("", description="Region, such as `europe-west1`; must be given for this target.")
    zone: str | None = Field(
        None, description="Zone of the host. Left out: REGION-b.", pattern=r"^[a-z]+-[a-z]+[0-9]+-[a-z]$"
    )
    domain: str | None = Field(
        None,
        description="Host name of the front door, such as `prefect.example.com`. Left out: the one of Cloud Run.",
        pattern=r"^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}$",
    )
    network: GcpNetwork = GcpNetwork()
    database: GcpDatabase = GcpDatabase()
    host: GcpHost = GcpHost()
    proxy: GcpProxy = GcpProxy()

    @property
    def of_zone(self) -> str:
        return self.zone or f"{self.region}-b"

    @model_validator(mode="after")
    def _consistent(self) -> Gcp:
        if self.zone and self.zone.rpartition("-")[0] != self.region:
            raise ValueError(f"the zone {self.zone} is not in the region {self.region!r}")
        if self.domain and self.region not in ("", *MAPPED_REGIONS):
            raise ValueError(f"a domain can be mapped in {', '.join(MAPPED_REGIONS)} alone, not in {self.region}")
        room = ipaddress.IPv4Network(self.network.proxy).num_addresses // 4
        if self.proxy.max_instances > room:  # two each, and twice as many while a revision takes over
            raise ValueError(
                f"proxy.max_instances {self.proxy.max_instances}: {self.network.proxy} is enough for {room}"
            )
        return self


def faults(name: str, gcp: Gcp) -> list[str]:
    """Why a stack of that name cannot be made there, each a sentence; empty where it can."""
    found = [f"gcp.{key} must be given for this target" for key in ("project", "region") if not getattr(gcp, key)]
    if len(name) > 24:  # service accounts are STACK-PART, of 6 to 30 characters
        found.append(f"name {name!r} is too long for Google's service accounts: at most 24 characters")
    if name.startswith("goog") or "google" in name:
        found.append(f"name {name!r}: Google refuses buckets with its own name in theirs")
    return found
