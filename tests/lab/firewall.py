"""The chains of iptables that a topology is: rules of the VPCs, ways out, the way to Google's services. Pure text.

Packets between machines of one subnetwork pass them, too, as at Google: bridged ones are shown to iptables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product

from tests.emulator.world import relative
from tests.lab.topology import Body, Machine, Topology

METADATA = "169.254.169.254"
PROTOCOLS = {"all": "", "ipip": "4"}
"""Protocols that iptables calls otherwise."""


@dataclass(frozen=True)
class Place:
    """Where a lab is on this machine.

    Attributes:
        prefix: How its chains begin, `NAME-`.
        bridges: How its bridges begin.
        bridge: The bridge of a subnetwork, by its full name.
        google: Range of addresses of this machine at which Google's services are.
        metadata: Address and port of the metadata server.
        resolver: Address of the name server, port 53.
        uplink: The interface by which this machine reaches the world.
    """

    prefix: str
    bridges: str
    bridge: Callable[[str], str]
    google: str
    metadata: str
    resolver: str
    uplink: str

    @property
    def hooks(self) -> list[tuple[str, str, str]]:
        """Table, chain of this machine, and our chain that it jumps to."""
        return [
            ("filter", "DOCKER-USER", f"{self.prefix}FORWARD"),
            ("filter", "INPUT", f"{self.prefix}INPUT"),
            ("nat", "PREROUTING", f"{self.prefix}PREROUTING"),
            ("nat", "POSTROUTING", f"{self.prefix}POSTROUTING"),
        ]


def chains(place: Place, there: Topology) -> str:
    """What `iptables-restore --noflush` takes: all chains of the lab in one piece."""
    filters = {"FORWARD": _forward, "INPUT": _input, "EGRESS": _egress, "INGRESS": _ingress}
    nats = {"PREROUTING": _prerouting, "POSTROUTING": _postrouting}
    return _table("filter", place, there, filters) + _table("nat", place, there, nats)


Lines = Callable[[Place, Topology], Iterator[str]]


def _table(name: str, place: Place, there: Topology, chained: Mapping[str, Lines]) -> str:
    declared = [f":{place.prefix}{chain} - [0:0]" for chain in chained]
    lines = [f"-A {place.prefix}{chain} {line}" for chain, each in chained.items() for line in each(place, there)]
    return "\n".join([f"*{name}", *declared, *lines, "COMMIT", ""])


def _forward(place: Place, there: Topology) -> Iterator[str]:
    """From machine to machine, to services of Google in other networks, and out."""
    ours, theirs = f"-i {place.bridges}+", f"-o {place.bridges}+"
    for side in (ours, theirs):
        yield f"{side} -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT"
    yield f"! {ours} {theirs} -j DROP"  # nobody calls in from outside
    yield f"{ours} -j {place.prefix}EGRESS"
    yield from _to_services(there)
    for one, other in product(there.subnets, there.subnets):
        if one.network != other.network:
            yield f"-i {place.bridge(one.name)} -o {place.bridge(other.name)} -j DROP"
    yield f"{ours} {theirs} -j {place.prefix}INGRESS"
    for source in there.outward():
        yield f"{ours} -s {source} -o {place.uplink} -j ACCEPT"
    yield f"{ours} -j DROP"


def _input(place: Place, there: Topology) -> Iterator[str]:
    """To this machine: the metadata server and names always, Google's services to those that reach them, no more."""
    address, _, port = place.metadata.partition(":")
    yield f"! -i {place.bridges}+ -j RETURN"
    yield "-m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT"
    yield f"-d {address} -p tcp --dport {port} -j ACCEPT"
    for protocol in ("udp", "tcp"):
        yield f"-d {place.resolver} -p {protocol} --dport 53 -j ACCEPT"
    yield f"-j {place.prefix}EGRESS"
    yield from _to_services(there)
    for source in there.to_google():
        yield f"-s {source} -d {place.google} -p tcp -m multiport --dports 80,443 -j ACCEPT"
    yield "-j DROP"


def _to_services(there: Topology) -> Iterator[str]:
    """Google's services in ranges that a network is connected to."""
    for network, ranges in there.services.items():
        for subnet, service in product(there.of(network), ranges):
            yield f"-s {subnet.range} -d {service} -j ACCEPT"


def _egress(place: Place, there: Topology) -> Iterator[str]:
    """What machines may call: by the rules, the first that fits, and else everything."""
    for rule in (each for each in there.rules if each["direction"] == "EGRESS"):
        for source, target, what in product(_targets(there, rule), rule["destinationRanges"], _protocols(rule)):
            yield f"-s {source} -d {target} {what}-j {'RETURN' if 'allowed' in rule else 'DROP'}"


def _ingress(place: Place, there: Topology) -> Iterator[str]:
    """Who may call machines: by the rules, the first that fits, and else nobody."""
    for rule in (each for each in there.rules if each["direction"] == "INGRESS"):
        for source, target, what in product(_sources(there, rule), _targets(there, rule), _protocols(rule)):
            yield f"-s {source} -d {target} {what}-j {'ACCEPT' if 'allowed' in rule else 'DROP'}"
    yield "-j DROP"


def _targets(there: Topology, rule: Body) -> list[str]:
    """Addresses that a rule is for; the ranges of the whole network where it names nobody."""
    tags, accounts = rule.get("targetTags"), rule.get("targetServiceAccounts")
    if not tags and not accounts:
        return [each.range for each in there.of(_network(rule))]
    return [each.address for each in _named(there, rule, tags, accounts)]


def _sources(there: Topology, rule: Body) -> list[str]:
    named = _named(there, rule, rule.get("sourceTags"), rule.get("sourceServiceAccounts"))
    return [*rule.get("sourceRanges", ()), *(each.address for each in named)]


def _named(there: Topology, rule: Body, tags: list[str] | None, accounts: list[str] | None) -> Iterator[Machine]:
    for each in there.machines:
        if each.network == _network(rule) and (each.tags & set(tags or ()) or each.account in (accounts or ())):
            yield each


def _network(rule: Body) -> str:
    return relative(rule["network"])


def _protocols(rule: Body) -> Iterator[str]:
    """Protocol and ports, a match each."""
    for each in rule.get("allowed") or rule["denied"]:
        name = PROTOCOLS.get(each["IPProtocol"], each["IPProtocol"])
        protocol = f"-p {name} " if name else ""
        for ports in each.get("ports", ()):
            yield f"{protocol}--dport {ports.replace('-', ':')} "
        if not each.get("ports"):
            yield protocol


def _prerouting(place: Place, there: Topology) -> Iterator[str]:
    """The metadata server's address, which is the name server's, too."""
    told = f"-i {place.bridges}+ -d {METADATA}"
    yield f"{told} -p tcp --dport 80 -j DNAT --to-destination {place.metadata}"
    for protocol in ("udp", "tcp"):
        yield f"{told} -p {protocol} --dport 53 -j DNAT --to-destination {place.resolver}:53"


def _postrouting(place: Place, there: Topology) -> Iterator[str]:
    for source in there.outward():
        yield f"-s {source} -o {place.uplink} -j MASQUERADE"
