"""Routes: those that come with a network and its subnetworks, and static ones.

Sources: https://cloud.google.com/compute/docs/reference/rest/v1/routes, https://cloud.google.com/vpc/docs/routes
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from tests.emulator import errors
from tests.emulator.clock import rfc3339
from tests.emulator.cloud import Cloud
from tests.emulator.kind import Body
from tests.emulator.services.compute.base import GOOGLE
from tests.emulator.services.compute.links import absolute
from tests.emulator.services.compute.networking import NetworkingKind, project_of, wrong
from tests.emulator.services.compute.ranges import cidr, taken
from tests.emulator.world import Record

HOPS = ("nextHopGateway", "nextHopInstance", "nextHopIp", "nextHopIlb", "nextHopVpnTunnel")
GATEWAY = "global/gateways/default-internet-gateway"


class Routes(NetworkingKind):
    """A route; a static one is never changed, and keeps its network and its next hop in use."""

    collection = "compute.routes"
    singular = "route"
    referred = ("network", "nextHopInstance")
    not_emulated = ("nextHopIlb", "nextHopVpnTunnel", "nextHopNetwork", "params")
    polices = True

    def settle(self, record: Record, before: Body | None) -> None:
        body = record.body
        for field in ("network", "destRange"):
            if not body.get(field):
                raise errors.invalid(f"Required field 'resource.{field}' not specified", reason="required")
        body.setdefault("priority", 1000)
        if not 0 <= body["priority"] <= 65535:
            raise wrong("priority", body["priority"], "Must be between 0 and 65535.")
        self._check_hop(record)
        self._check_range(body)
        body |= {"routeType": "STATIC"}

    def _check_hop(self, record: Record) -> None:
        """One next hop.

        Source of the words: terraform-google-modules/terraform-google-network#63 (none); no source for the others.
        """
        body = record.body
        given = [hop for hop in HOPS if body.get(hop)]
        if len(given) != 1:
            words = "at least one type of next hop" if not given else "only one type of next hop"
            message = f"Invalid resource usage: 'A Route must specify {words}.'."
            raise errors.invalid(message, reason="invalidResourceUsage")
        gateway = f"projects/{project_of(record)}/{GATEWAY}"
        if given == ["nextHopGateway"]:
            link = absolute(body["nextHopGateway"], project_of(record), "resource.nextHopGateway")
            if link != f"{GOOGLE}/{gateway}":
                raise wrong("nextHopGateway", link, "Only the default internet gateway may be a next hop.")
            body["nextHopGateway"] = link
        if given == ["nextHopIp"]:
            check_ip("nextHopIp", body["nextHopIp"])

    def _check_range(self, body: Body) -> None:
        """A static route may not lead elsewhere what a subnetwork has.

        Source of the words: SUSE/ha-sap-terraform-deployments#655.
        """
        wanted = cidr("destRange", body["destRange"])
        for other in taken(self.cloud, body["network"]):
            if wanted.subnet_of(other.range):
                raise wrong(
                    "destRange",
                    wanted,
                    f"{wanted} hides the address space of the network ({other.range}). Cannot change the routing of "
                    "packets destined for the network.",
                )

    def check_unused(self, record: Record) -> None:
        """A subnetwork's own route stays.

        Source: https://cloud.google.com/vpc/docs/routes#subnet-routes; no source for the words.
        """
        if "nextHopNetwork" in record.body:
            name = record.name.removeprefix("compute/")
            raise errors.invalid(f"The local route cannot be deleted. The route '{name}' belongs to a subnetwork.")
        super().check_unused(record)

    def references(self, record: Record) -> Iterator[str]:
        """Routes that came with a network do not keep it."""
        return iter(()) if record.hidden.get("default") else super().references(record)


def check_ip(field: str, text: str) -> None:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        raise wrong(field, text, "Must be a valid IPV4 address.") from None


def add_default_route(cloud: Cloud, network: Record) -> None:
    """To the internet. Source: https://cloud.google.com/vpc/docs/routes#routingpacketsinternet"""
    hop = {"nextHopGateway": f"{GOOGLE}/projects/{project_of(network)}/{GATEWAY}"}
    _add(cloud, network, network, "0.0.0.0/0", 1000, "Default route to the Internet.", hop)


def settle_subnet_routes(cloud: Cloud, network: Record, subnetwork: Record, ranges: list[str]) -> None:
    """One for each range it has now. Source: https://cloud.google.com/vpc/docs/routes#subnet-routes"""
    there = {route.body["destRange"]: route for route in came_with(cloud, subnetwork)}
    for each in there.keys() - set(ranges):
        cloud.world.drop(there[each].name)
    for each in ranges:
        if each not in there:
            words = f"Default local route to the subnetwork {each}."
            _add(cloud, network, subnetwork, each, 0, words, {"nextHopNetwork": network.body["selfLink"]})


def _add(
    cloud: Cloud, network: Record, owner: Record, dest: str, priority: int, description: str, hop: dict[str, str]
) -> None:
    number = cloud.world.number()
    name = f"default-route-{number:016x}"
    full = f"projects/{project_of(network)}/global/routes/{name}"
    body = {
        "kind": "compute#route",
        "id": str(number),
        "creationTimestamp": rfc3339(cloud.world.clock.now()),
        "name": name,
        "description": description,
        "network": network.body["selfLink"],
        "destRange": dest,
        "priority": priority,
        "selfLink": f"{GOOGLE}/{full}",
    }
    cloud.world.put(Record(f"compute/{full}", "compute.routes", body | hop, {"default": owner.name}))


def came_with(cloud: Cloud, owner: Record) -> list[Record]:
    """The routes that came with a network or a subnetwork."""
    return [route for route in cloud.world.of("compute.routes") if route.hidden.get("default") == owner.name]


def drop_routes(cloud: Cloud, owner: Record) -> None:
    for route in came_with(cloud, owner):
        cloud.world.drop(route.name)


KINDS = (Routes,)
