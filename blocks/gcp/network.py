"""The stack's own network: a subnetwork for its host and one for its proxy, and who may reach whom.

Nothing of it has an address that is reachable from outside. The host reaches Google's APIs privately, packages through
NAT where the spec has it, and the database through Google's private services.

Source: https://cloud.google.com/run/docs/configuring/vpc-direct-vpc (a /26 or larger, rules by the whole range),
https://cloud.google.com/vpc/docs/configure-private-services-access, CIS Google Cloud 3.1, 3.6, 3.8.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from blocks.gcp.compute import ADDRESS, FIREWALL, NETWORK, RANGE, ROUTER, SUBNETWORK, ComputeResource
from blocks.gcp.google import Google
from blocks.gcp.services_connection import ServicesConnection
from blocks.gcp_spec import GcpNetwork
from blocks.resource import Resource

SERVER_PORT = "4200"
IAP = "35.235.240.0/20"
"""From where Identity-Aware Proxy calls: https://cloud.google.com/iap/docs/using-tcp-forwarding"""
LAST = 65534
"""Priority of a rule which all others go before."""
REGIONAL = {"routing_mode": "REGIONAL"}
FLOW_LOGS = {
    "enable": True,
    "aggregation_interval": "INTERVAL_5_SEC",
    "flow_sampling": 0.5,
    "metadata": "INCLUDE_ALL_METADATA",
}


@dataclass(frozen=True)
class Network:
    """The network of one stack. Its parts are named after the stack."""

    google: Google
    stack: str
    region: str
    host_account: str
    """Service account of the host, by its address: who may be reached is said by it."""
    wanted: GcpNetwork = field(default_factory=GcpNetwork)

    def resources(self) -> list[Resource]:
        listed = [
            self._global(NETWORK, "network", self.stack, auto_create_subnetworks=False, routing_config=REGIONAL),
            self._subnetwork("host", self.wanted.host),
            self._subnetwork("proxy", self.wanted.proxy),
            self._global(
                RANGE,
                "range of Google's services",
                f"{self.stack}-services",
                ("network",),
                network=self.path,
                purpose="VPC_PEERING",
                address_type="INTERNAL",
                prefix_length=self.wanted.services_prefix,
            ),
            self._regional(
                ADDRESS,
                "address of the host",
                f"{self.stack}-host",
                ("subnetwork of the host",),
                subnetwork=self.subnetwork("host"),
                address=self.wanted.host_address,
                address_type="INTERNAL",
                purpose="GCE_ENDPOINT",
            ),
            ServicesConnection(self.google, self.stack, f"{self.stack}-services"),
            self._allows_proxy(),
            self._denies_all(),
        ]
        listed += [self._router()] if self.wanted.nat else []
        return [*listed, self._allows_iap()] if self.wanted.iap else listed

    @property
    def path(self) -> str:
        return f"projects/{self.google.project}/global/networks/{self.stack}"

    def subnetwork(self, part: str) -> str:
        """Path of the subnetwork of `host` or `proxy`."""
        return f"projects/{self.google.project}/regions/{self.region}/subnetworks/{self.stack}-{part}"

    def _subnetwork(self, part: str, addresses: str) -> Resource:
        return self._regional(
            SUBNETWORK,
            f"subnetwork of the {part}",
            f"{self.stack}-{part}",
            ("network",),
            network=self.path,
            ip_cidr_range=addresses,
            private_ip_google_access=True,
            log_config=FLOW_LOGS,
        )

    def _router(self) -> Resource:
        """NAT for the host's subnetwork alone: with it on the proxy's a cold start takes half a minute longer."""
        nat = {
            "name": "host",
            "nat_ip_allocate_option": "AUTO_ONLY",
            "source_subnetwork_ip_ranges_to_nat": "LIST_OF_SUBNETWORKS",
            "subnetworks": [{"name": self.subnetwork("host"), "source_ip_ranges_to_nat": ["ALL_IP_RANGES"]}],
        }
        needs = ("subnetwork of the host",)
        return self._regional(ROUTER, "router with NAT", self.stack, needs, network=self.path, nats=[nat])

    def _allows_proxy(self) -> Resource:
        return self._global(
            FIREWALL,
            "firewall rule: the proxy to the server",
            f"{self.stack}-proxy-to-server",
            ("network", "service account of the host"),
            network=self.path,
            direction="INGRESS",
            priority=1000,
            source_ranges=[self.wanted.proxy],
            target_service_accounts=[self.host_account],
            allowed=[{"I_p_protocol": "tcp", "ports": [SERVER_PORT]}],
            log_config={"enable": True},
        )

    def _allows_iap(self) -> Resource:
        """Whom Google's proxy has let through, by OS Login."""
        return self._global(
            FIREWALL,
            "firewall rule: Identity-Aware Proxy to SSH",
            f"{self.stack}-iap-to-ssh",
            ("network", "service account of the host"),
            network=self.path,
            direction="INGRESS",
            priority=1000,
            source_ranges=[IAP],
            target_service_accounts=[self.host_account],
            allowed=[{"I_p_protocol": "tcp", "ports": ["22"]}],
            log_config={"enable": True},
        )

    def _denies_all(self) -> Resource:
        """Google denies it by itself; this one shows in logs who was denied."""
        return self._global(
            FIREWALL,
            "firewall rule: nobody else",
            f"{self.stack}-nobody-else",
            ("network",),
            network=self.path,
            direction="INGRESS",
            priority=LAST,
            source_ranges=["0.0.0.0/0"],
            denied=[{"I_p_protocol": "all"}],
            log_config={"enable": True},
        )

    def _global(self, kind: Any, words: str, id: str, needs: tuple[str, ...] = (), **body: Any) -> Resource:
        return ComputeResource(self.google, self.stack, kind, words, id, body, needs=needs)

    def _regional(self, kind: Any, words: str, id: str, needs: tuple[str, ...], **body: Any) -> Resource:
        return ComputeResource(self.google, self.stack, kind, words, id, body, place=self.region, needs=needs)
