"""What iptables is told of a topology: by the rules, in their order, and never more than they allow."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lab.firewall import Place, chains
from tests.lab.topology import Machine, Subnet, Topology

NETWORK, OTHER = "projects/p/global/networks/n", "projects/p/global/networks/other"
PLACE = Place(
    prefix="LAB-x-",
    bridges="lx-",
    bridge=lambda name: f"lx-{name}",
    google="198.18.1.0/24",
    metadata="198.18.1.1:8080",
    resolver="198.18.1.1",
    uplink="eth9",
)


def subnet(name: str, range_: str, network: str = NETWORK, **said: bool) -> Subnet:
    return Subnet(name, network, range_, said.get("google", False), said.get("nat", False))


def machine(address: str, account: str = "", external: bool = False, tags: tuple[str, ...] = ()) -> Machine:
    return Machine(NETWORK, "a", address, external, frozenset(tags), account)


def rule(direction: str = "INGRESS", action: str = "allowed", **fields: Any) -> dict[str, Any]:
    base = {"network": f"https://www.googleapis.com/compute/v1/{NETWORK}", "direction": direction}
    return base | {action: [{"IPProtocol": "tcp", "ports": ["80", "8000-8010"]}]} | fields


def lines(there: Topology, chain: str) -> list[str]:
    start = f"-A LAB-x-{chain} "
    return [line.removeprefix(start) for line in chains(PLACE, there).splitlines() if line.startswith(start)]


def test_without_a_rule_nobody_is_called_and_everybody_may_call() -> None:
    there = Topology(subnets=[subnet("a", "10.1.0.0/24")])
    assert (lines(there, "INGRESS"), lines(there, "EGRESS")) == (["-j DROP"], [])


def test_a_rule_for_an_account_is_one_for_its_machines_by_source_and_port() -> None:
    machines = [machine("10.1.0.2", "web@p"), machine("10.1.0.3", "db@p")]
    there = Topology(
        subnets=[subnet("a", "10.1.0.0/24")],
        machines=machines,
        rules=[rule(sourceRanges=["10.2.0.0/26"], targetServiceAccounts=["web@p"])],
    )
    assert lines(there, "INGRESS") == [
        "-s 10.2.0.0/26 -d 10.1.0.2 -p tcp --dport 80 -j ACCEPT",
        "-s 10.2.0.0/26 -d 10.1.0.2 -p tcp --dport 8000:8010 -j ACCEPT",
        "-j DROP",
    ]


def test_tags_name_sources_and_targets() -> None:
    machines = [machine("10.1.0.2", tags=("web",)), machine("10.1.0.3", tags=("door",))]
    tagged = rule(sourceTags=["door"], targetTags=["web"], allowed=[{"IPProtocol": "all"}])
    there = Topology(subnets=[subnet("a", "10.1.0.0/24")], machines=machines, rules=[tagged])
    assert lines(there, "INGRESS") == ["-s 10.1.0.3 -d 10.1.0.2 -j ACCEPT", "-j DROP"]


@pytest.mark.parametrize("said", [{"nat": True}, {"nat": False}])
def test_a_subnetwork_gets_out_by_its_nat_alone(said: dict[str, bool]) -> None:
    there = Topology(subnets=[subnet("a", "10.1.0.0/24", **said)], routed=frozenset({NETWORK}))
    out = "-s 10.1.0.0/24 -o eth9 -j MASQUERADE"
    assert (out in lines(there, "POSTROUTING")) == said["nat"]
    assert ("-i lx-+ -s 10.1.0.0/24 -o eth9 -j ACCEPT" in lines(there, "FORWARD")) == said["nat"]
    assert lines(there, "FORWARD")[-1] == "-i lx-+ -j DROP"


def test_an_external_address_is_a_way_out_of_one_machine_where_there_is_a_route() -> None:
    told = {"subnets": [subnet("a", "10.1.0.0/24")], "machines": [machine("10.1.0.2", external=True)]}
    assert lines(Topology(**told, routed=frozenset({NETWORK})), "POSTROUTING") == ["-s 10.1.0.2 -o eth9 -j MASQUERADE"]
    assert lines(Topology(**told), "POSTROUTING") == []


@pytest.mark.parametrize(("said", "reaches"), [({}, False), ({"google": True}, True), ({"nat": True}, True)])
def test_services_of_google_are_reached_privately_or_by_a_way_out(said: dict[str, bool], reaches: bool) -> None:
    there = Topology(subnets=[subnet("a", "10.1.0.0/24", **said)], routed=frozenset({NETWORK}))
    line = "-s 10.1.0.0/24 -d 198.18.1.0/24 -p tcp -m multiport --dports 80,443 -j ACCEPT"
    assert (line in lines(there, "INPUT")) == reaches


def test_services_in_a_range_are_reached_from_the_connected_network_alone() -> None:
    subnets = [subnet("a", "10.1.0.0/24"), subnet("b", "10.2.0.0/24", OTHER)]
    there = Topology(subnets=subnets, services={NETWORK: ["10.9.0.0/20"]})
    assert [line for line in lines(there, "FORWARD") if "10.9.0.0/20" in line] == [
        "-s 10.1.0.0/24 -d 10.9.0.0/20 -j ACCEPT"
    ]


def test_networks_do_not_meet() -> None:
    there = Topology(subnets=[subnet("a", "10.1.0.0/24"), subnet("b", "10.2.0.0/24", OTHER)])
    assert {"-i lx-a -o lx-b -j DROP", "-i lx-b -o lx-a -j DROP"} <= set(lines(there, "FORWARD"))
