"""A VPC network of a test's project, made through google-cloud-compute."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from google.cloud import compute_v1

from tests.emulator.cloud import OWNER

if TYPE_CHECKING:
    from tests.unit.emulator.conftest import Emulated

REGION = "europe-west1"
Client = TypeVar("Client")


@dataclass(frozen=True)
class Vpc:
    """Clients of one caller, and what most tests begin with."""

    google: Emulated
    member: str = OWNER

    @property
    def project(self) -> str:
        return self.google.project

    def client(self, kind: type[Client]) -> Client:
        credentials = self.google.credentials_of(self.member)
        return kind(credentials=credentials, client_options=self.google.options("compute"))  # type: ignore[call-arg]

    def link(self, path: str) -> str:
        """`global/networks/one` in full."""
        return f"https://www.googleapis.com/compute/v1/projects/{self.project}/{path}"

    def network(self, name: str = "one", **fields: Any) -> str:
        """Make a network; its link."""
        body = compute_v1.Network(name=name, auto_create_subnetworks=False, **fields)
        self.client(compute_v1.NetworksClient).insert_unary(project=self.project, network_resource=body)
        return self.link(f"global/networks/{name}")

    def subnetwork(
        self, name: str = "sub", cidr: str = "10.0.0.0/24", network: str = "one", region: str = REGION, **fields: Any
    ) -> str:
        """Make a subnetwork of a network, given by name or link; its link."""
        link = network if "/" in network else f"global/networks/{network}"
        body = compute_v1.Subnetwork(name=name, ip_cidr_range=cidr, network=link, **fields)
        client = self.client(compute_v1.SubnetworksClient)
        client.insert_unary(project=self.project, region=region, subnetwork_resource=body)
        return self.link(f"regions/{region}/subnetworks/{name}")

    def address(self, name: str = "ip", region: str = REGION, **fields: Any) -> compute_v1.Address:
        """Reserve an address, and read it back."""
        client, where = self.client(compute_v1.AddressesClient), {"project": self.project, "region": region}
        client.insert_unary(**where, address_resource=compute_v1.Address(name=name, **fields))
        return client.get(**where, address=name)
