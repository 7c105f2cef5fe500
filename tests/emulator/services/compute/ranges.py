"""Address ranges of a VPC network: which are valid, and which are taken.

Sources: https://cloud.google.com/vpc/docs/subnets#ipv4-ranges (valid, prohibited and minimal ranges),
https://cloud.google.com/vpc/docs/subnets#unusable-ip-addresses-in-every-subnet
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from tests.emulator import errors
from tests.emulator.cloud import Cloud
from tests.emulator.services.compute.networking import wrong
from tests.emulator.world import Record

PROHIBITED = tuple(
    IPv4Network(each)
    for each in ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "255.255.255.255/32",
                 "199.36.153.4/30", "199.36.153.8/30")
)  # fmt: skip
SHORTEST, LONGEST = 4, 29
"""Prefix lengths a range of a subnetwork may have."""
PRIVATE = IPv4Network("10.0.0.0/8")
"""Where a range is chosen from when the caller leaves that to Google. No source for which."""


@dataclass(frozen=True)
class Taken:
    """A range that something in a network has: its record, and the name of a secondary range."""

    range: IPv4Network
    record: Record
    secondary: str = ""

    def refusal(self, field: str, asked: IPv4Network) -> errors.ApiError:
        """Source of the words: tranquilitybase-io/tb-gcp#160 (subnetworks); for reserved ranges what Kubernetes
        Engine passes on, "conflicts with reserved IP range '172.16.0.0/16'"."""
        other = f"reserved IP range '{self.range}'"
        if self.record.collection == "compute.subnetworks":
            region = self.record.name.split("/")[4]
            other = f"existing subnetwork '{self.record.body['name']}' in region '{region}'"
        return wrong(field, asked, f"Invalid IPCidrRange: {asked} conflicts with {other}.")


def cidr(field: str, text: str) -> IPv4Network:
    """A range as the caller writes it; 400 with host bits or without a prefix. Words: cloudflare/…-cloudflare#86."""
    try:
        return IPv4Network(text if "/" in text else "")
    except ValueError:
        raise wrong(field, text, "Must be a valid IPV4 CIDR address range.") from None


def subnet_range(field: str, text: str) -> IPv4Network:
    """A range a subnetwork may have. No source for the words."""
    given = cidr(field, text)
    if not SHORTEST <= given.prefixlen <= LONGEST:
        raise wrong(field, text, f"The prefix length must be between {SHORTEST} and {LONGEST}, inclusive.")
    if any(given.overlaps(each) for each in PROHIBITED):
        raise wrong(field, text, "The IP range is not allowed for subnetworks.")
    return given


def taken(cloud: Cloud, network: str) -> Iterator[Taken]:
    """All ranges of a network, given by its link: of subnetworks, and those reserved for peering."""
    for record in cloud.world.of("compute.subnetworks"):
        if record.body["network"] == network:
            yield from ranges_of(record)
    for record in cloud.world.of("compute.globalAddresses"):
        if record.body.get("network") == network:
            yield Taken(IPv4Network(f"{record.body['address']}/{record.body['prefixLength']}"), record)


def ranges_of(subnetwork: Record) -> Iterator[Taken]:
    yield Taken(IPv4Network(subnetwork.body["ipCidrRange"]), subnetwork)
    for each in subnetwork.body.get("secondaryIpRanges", ()):
        yield Taken(IPv4Network(each["ipCidrRange"]), subnetwork, each["rangeName"])


def free_range(cloud: Cloud, network: str, prefix: int) -> IPv4Network:
    """The first range of a length that nothing in the network has."""
    used = [each.range for each in taken(cloud, network)]
    for each in PRIVATE.subnets(new_prefix=max(prefix, PRIVATE.prefixlen)):
        if not any(each.overlaps(other) for other in used):
            return each
    raise errors.invalid("There is no free IP range of this size.")


def addresses_in(cloud: Cloud, subnetwork: Record) -> set[str]:
    """Internal addresses that are reserved or in use in a subnetwork."""
    link = subnetwork.body["selfLink"]
    reserved = (each.body for each in cloud.world.of("compute.addresses") if each.body.get("subnetwork") == link)
    interfaces = (
        interface
        for each in cloud.world.of("compute.instances")
        for interface in each.body.get("networkInterfaces", ())
        if interface.get("subnetwork") == link
    )
    used = {each["address"] for each in reserved} | {each.get("networkIP", "") for each in interfaces}
    return used - {""}


def free_address(cloud: Cloud, subnetwork: Record) -> str:
    """The first address of the primary range that is neither reserved nor unusable; 400 where there is none.

    Source of the words: Privatehive/gcp-hosted-github-runner#7.
    """
    used, primary = addresses_in(cloud, subnetwork), IPv4Network(subnetwork.body["ipCidrRange"])
    for number in range(int(primary.network_address) + 2, int(primary.broadcast_address) - 1):
        if (address := str(IPv4Address(number))) not in used:
            return address
    name = subnetwork.name.removeprefix("compute/")
    raise errors.invalid(
        f"IP space of '{name}' is exhausted. Insufficient free IP addresses in the IP range '{primary}'. Consider "
        "expanding the current IP range or selecting an alternative IP range. If this is a secondary range, consider "
        "adding an additional secondary range.",
        reason="ipSpaceExhaustedWithDetails",
    )


def check_address(cloud: Cloud, subnetwork: Record, address: str, field: str) -> None:
    """Refuse an address that the subnetwork does not have, or has given away.

    Source of the words: kubernetes/ingress-gce ("outside the network/subnetwork range" in its tests) and
    kubernetes/ingress-gce#2735 (in use, 409).
    """
    primary = IPv4Network(subnetwork.body["ipCidrRange"])
    usable = range(int(primary.network_address) + 2, int(primary.broadcast_address) - 1)
    try:
        inside = int(IPv4Address(address)) in usable
    except ValueError:
        raise wrong(field, address, "Must be a valid IPV4 address.") from None
    if not inside:
        raise wrong(field, address, "Requested internal IP address is outside the network/subnetwork range.")
    if address in addresses_in(cloud, subnetwork):
        words = f"IP_IN_USE_BY_ANOTHER_RESOURCE - IP '{address}' is already being used by another resource."
        raise errors.ApiError(409, words, reason="ipInUseByAnotherResource", status="ABORTED")
