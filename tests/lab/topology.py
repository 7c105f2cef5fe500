"""What the emulated world says of networks: which machine is where, who may call whom, who gets out. Pure.

Sources: https://cloud.google.com/firewall/docs/firewalls, https://cloud.google.com/vpc/docs/routes,
https://cloud.google.com/nat/docs/overview, https://cloud.google.com/vpc/docs/private-google-access
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.emulator.world import Record, World, relative

Body = dict[str, Any]
EVERYWHERE = "0.0.0.0/0"


@dataclass(frozen=True)
class Subnet:
    """A subnetwork: its full name and its network's, as `projects/…`, and its primary range."""

    name: str
    network: str
    range: str
    google: bool
    """Whether its machines reach Google's services without a way out: Private Google Access."""
    nat: bool


@dataclass(frozen=True)
class Machine:
    """An instance with its internal address, by what firewall rules name it by."""

    network: str
    subnet: str
    address: str
    external: bool
    tags: frozenset[str]
    account: str


@dataclass(frozen=True)
class Topology:
    """All of it.

    Attributes:
        rules: Firewall rules as the API shows them, those that come first first; disabled ones are not among them.
        services: By network the ranges of Google's services that it is connected to.
        routed: Networks with a default route to the internet.
    """

    subnets: list[Subnet] = field(default_factory=list)
    machines: list[Machine] = field(default_factory=list)
    rules: list[Body] = field(default_factory=list)
    services: dict[str, list[str]] = field(default_factory=dict)
    routed: frozenset[str] = frozenset()

    def of(self, network: str) -> list[Subnet]:
        return [each for each in self.subnets if each.network == network]

    def outward(self) -> list[str]:
        """Ranges and addresses that get out: by a NAT, or by an external address of their own."""
        ranges = [each.range for each in self.subnets if each.nat and each.network in self.routed]
        return ranges + [each.address for each in self.machines if each.external and each.network in self.routed]

    def to_google(self) -> list[str]:
        """Ranges and addresses that reach Google's services, be it privately or by the way out."""
        private = [each.range for each in self.subnets if each.google and each.network in self.routed]
        return list(dict.fromkeys([*private, *self.outward()]))


def topology(world: World) -> Topology:
    """What the world says now."""
    rules = [each.body for each in world.of("compute.firewalls") if not each.body.get("disabled") and not each.busy]
    nats = [(router, nat) for router in world.of("compute.routers") for nat in router.body.get("nats", ())]
    return Topology(
        subnets=[_subnet(each, nats) for each in world.of("compute.subnetworks") if not each.busy],
        machines=[_machine(each) for each in world.of("compute.instances") if _placed(each)],
        rules=sorted(rules, key=lambda body: (body["priority"], "allowed" in body)),
        services=dict(_services(world)),
        routed=frozenset(_routed(world)),
    )


def _subnet(record: Record, nats: Iterable[tuple[Record, Body]]) -> Subnet:
    body = record.body
    return Subnet(
        name=relative(record.name),
        network=relative(body["network"]),
        range=body["ipCidrRange"],
        google=bool(body.get("privateIpGoogleAccess")),
        nat=any(_through(router, nat, body) for router, nat in nats),
    )


def _through(router: Record, nat: Body, subnet: Body) -> bool:
    """Whether a NAT is for a subnetwork's primary range."""
    near = (router.body["network"], router.body["region"]) == (subnet["network"], subnet["region"])
    listed = [relative(each["name"]) for each in nat.get("subnetworks", ())]
    everyone = nat["sourceSubnetworkIpRangesToNat"] != "LIST_OF_SUBNETWORKS"
    return near and (everyone or relative(subnet["selfLink"]) in listed)


def _placed(record: Record) -> bool:
    return bool(record.body["networkInterfaces"][0].get("networkIP"))


def _machine(record: Record) -> Machine:
    body, interface = record.body, record.body["networkInterfaces"][0]
    accounts = [each["email"] for each in body.get("serviceAccounts", ())]
    return Machine(
        network=relative(interface["network"]),
        subnet=relative(interface["subnetwork"]),
        address=interface["networkIP"],
        external=any(each.get("natIP") for each in interface.get("accessConfigs", ())),
        tags=frozenset(body.get("tags", {}).get("items", ())),
        account=accounts[0] if accounts else "",
    )


def _services(world: World) -> Iterator[tuple[str, list[str]]]:
    """By network the ranges of a connection whose peering is there."""
    for record in world.of("servicenetworking.services.connections"):
        network = record.hidden["network"]
        found = world.find(f"compute/{network}")
        peerings = found.body.get("peerings", ()) if found else ()
        project = network.split("/")[1]
        names = [f"compute/projects/{project}/global/addresses/{each}" for each in record.body["reservedPeeringRanges"]]
        ranges = [each.body for name in names if (each := world.find(name))]
        if any(each["name"] == record.body["peering"] for each in peerings):
            yield network, [f"{each['address']}/{each['prefixLength']}" for each in ranges]


def _routed(world: World) -> Iterator[str]:
    for record in world.of("compute.routes"):
        if record.body["destRange"] == EVERYWHERE and record.body.get("nextHopGateway"):
            yield relative(record.body["network"])
