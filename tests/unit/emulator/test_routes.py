"""Routes through google-cloud-compute. Source: https://cloud.google.com/vpc/docs/routes"""

from __future__ import annotations

from typing import Any

import pytest
from google.api_core.exceptions import BadRequest
from google.cloud import compute_v1

from tests.unit.emulator.vpc import REGION, Vpc

GATEWAY = "global/gateways/default-internet-gateway"


@pytest.fixture
def routes(vpc: Vpc) -> compute_v1.RoutesClient:
    return vpc.client(compute_v1.RoutesClient)


def make(vpc: Vpc, **fields: Any) -> compute_v1.Route:
    asked = {"network": "global/networks/one", "dest_range": "192.0.2.0/24", "priority": 1000} | fields
    client = vpc.client(compute_v1.RoutesClient)
    client.insert_unary(project=vpc.project, route_resource=compute_v1.Route(name="route", **asked))
    return client.get(project=vpc.project, route="route")


def of_network(vpc: Vpc) -> dict[str, compute_v1.Route]:
    return {each.dest_range: each for each in vpc.client(compute_v1.RoutesClient).list(project=vpc.project)}


def test_a_network_comes_with_its_routes_and_takes_them_along(vpc: Vpc) -> None:
    """Source: https://cloud.google.com/vpc/docs/routes#subnet-routes and #routingpacketsinternet"""
    found = of_network(vpc)
    assert found.keys() == {"0.0.0.0/0", "10.0.0.0/24"}
    assert found["0.0.0.0/0"].next_hop_gateway == vpc.link(GATEWAY)
    local = found["10.0.0.0/24"]
    assert (local.next_hop_network, local.priority) == (vpc.link("global/networks/one"), 0)
    vpc.client(compute_v1.SubnetworksClient).delete_unary(project=vpc.project, region=REGION, subnetwork="sub")
    assert of_network(vpc).keys() == {"0.0.0.0/0"}
    vpc.client(compute_v1.NetworksClient).delete_unary(project=vpc.project, network="one")
    assert of_network(vpc) == {}


def test_the_way_to_the_internet_can_be_taken_away_a_subnetworks_route_not(
    vpc: Vpc, routes: compute_v1.RoutesClient
) -> None:
    found = of_network(vpc)
    with pytest.raises(BadRequest, match="The local route cannot be deleted"):
        routes.delete_unary(project=vpc.project, route=found["10.0.0.0/24"].name)
    routes.delete_unary(project=vpc.project, route=found["0.0.0.0/0"].name)
    assert of_network(vpc).keys() == {"10.0.0.0/24"}


def test_a_static_route_keeps_its_network(vpc: Vpc) -> None:
    made = make(vpc, next_hop_gateway=GATEWAY, tags=["out"])
    assert (made.next_hop_gateway, made.route_type) == (vpc.link(GATEWAY), "STATIC")
    vpc.client(compute_v1.SubnetworksClient).delete_unary(project=vpc.project, region=REGION, subnetwork="sub")
    failed = vpc.client(compute_v1.NetworksClient).delete_unary(project=vpc.project, network="one").error.errors
    assert f"already being used by 'projects/{vpc.project}/global/routes/route'" in failed[0].message


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "A Route must specify at least one type of next hop"),
        ({"next_hop_gateway": GATEWAY, "next_hop_ip": "10.0.0.9"}, "only one type of next hop"),
        ({"next_hop_ip": "10.0.0"}, "resource.nextHopIp"),
        ({"next_hop_gateway": "global/gateways/another"}, "resource.nextHopGateway"),
        ({"next_hop_gateway": GATEWAY, "dest_range": "10.0.0.5/32"},
         r"10.0.0.5/32 hides the address space of the network \(10.0.0.0/24\)"),
        ({"next_hop_gateway": GATEWAY, "dest_range": "192.0.2.1/24"}, "Must be a valid IPV4 CIDR address range"),
        ({"next_hop_gateway": GATEWAY, "priority": 70000}, "resource.priority"),
    ],
)  # fmt: skip
def test_what_a_route_may_not_say(vpc: Vpc, fields: dict[str, Any], words: str) -> None:
    """Sources: terraform-google-modules/terraform-google-network#63, SUSE/ha-sap-terraform-deployments#655"""
    with pytest.raises(BadRequest, match=words):
        make(vpc, **fields)
