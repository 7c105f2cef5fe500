"""A network, a subnetwork and an account, and instances in them: what tests of instances begin with."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from google.cloud import compute_v1

from tests.emulator.accounts import email_of, put_account
from tests.unit.emulator.conftest import Emulated

REGION = "europe-west1"
ZONE = "europe-west1-b"
DEBIAN = "projects/debian-cloud/global/images/family/debian-12"
ALL_SCOPES = "https://www.googleapis.com/auth/cloud-platform"


@dataclass
class Machines:
    """Instances of one project, through google-cloud-compute."""

    google: Emulated

    def client(self, kind: Any, member: str = "") -> Any:
        credentials = self.google.credentials_of(member) if member else self.google.credentials
        return kind(credentials=credentials, client_options=self.google.options("compute"))

    @cached_property
    def instances(self) -> compute_v1.InstancesClient:
        return self.client(compute_v1.InstancesClient)  # type: ignore[no-any-return]

    @cached_property
    def disks(self) -> compute_v1.DisksClient:
        return self.client(compute_v1.DisksClient)  # type: ignore[no-any-return]

    @cached_property
    def operations(self) -> compute_v1.ZoneOperationsClient:
        return self.client(compute_v1.ZoneOperationsClient)  # type: ignore[no-any-return]

    @cached_property
    def zone(self) -> dict[str, str]:
        """The parameters every call has."""
        return {"project": self.google.project, "zone": ZONE}

    def prepare(self) -> Machines:
        """The network `vpc` with the subnetwork `hosts` (10.0.0.0/24)."""
        project = self.google.project
        network = compute_v1.Network(name="vpc", auto_create_subnetworks=False)
        made = self.client(compute_v1.NetworksClient).insert_unary(project=project, network_resource=network)
        self.client(compute_v1.GlobalOperationsClient).wait(project=project, operation=made.name)
        hosts = compute_v1.Subnetwork(name="hosts", network="global/networks/vpc", ip_cidr_range="10.0.0.0/24")
        subnetworks = self.client(compute_v1.SubnetworksClient)
        made = subnetworks.insert_unary(project=project, region=REGION, subnetwork_resource=hosts)
        self.client(compute_v1.RegionOperationsClient).wait(project=project, region=REGION, operation=made.name)
        return self

    def account(self, name: str = "worker") -> str:
        """The email of a service account of the project."""
        project = self.google.cloud.world.projects[self.google.project]
        return str(put_account(self.google.cloud.world, project, email_of(project, name)).body["email"])

    def body(self, name: str = "one", **fields: Any) -> compute_v1.Instance:
        """An instance as small as it can be."""
        boot = compute_v1.AttachedDisk(
            boot=True,
            auto_delete=True,
            initialize_params=compute_v1.AttachedDiskInitializeParams(source_image=DEBIAN),
        )
        told: dict[str, Any] = {
            "machine_type": f"zones/{ZONE}/machineTypes/e2-small",
            "disks": [boot],
            "network_interfaces": [compute_v1.NetworkInterface(subnetwork=f"regions/{REGION}/subnetworks/hosts")],
        }
        return compute_v1.Instance(name=name, **(told | fields))

    def insert(self, name: str = "one", member: str = "", **fields: Any) -> compute_v1.Operation:
        """The operation that makes it."""
        client = self.client(compute_v1.InstancesClient, member) if member else self.instances
        operation: compute_v1.Operation = client.insert_unary(**self.zone, instance_resource=self.body(name, **fields))
        return operation

    def made(self, name: str = "one", **fields: Any) -> compute_v1.Instance:
        self.insert(name, **fields)
        return self.get(name)

    def get(self, name: str = "one") -> compute_v1.Instance:
        return self.instances.get(**self.zone, instance=name)

    def stopped(self, name: str = "one", **fields: Any) -> compute_v1.Instance:
        self.insert(name, **fields)
        self.instances.stop_unary(**self.zone, instance=name)
        return self.get(name)

    def with_account(self, email: str) -> dict[str, Any]:
        """Fields of an instance that has this account."""
        return {"service_accounts": [compute_v1.ServiceAccount(email=email, scopes=[ALL_SCOPES])]}


def metadata(**items: str) -> compute_v1.Metadata:
    """Metadata; `a_b` stands for the key `a-b`."""
    return compute_v1.Metadata(items=[{"key": key.replace("_", "-"), "value": value} for key, value in items.items()])
