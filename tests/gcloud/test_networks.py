"""Networks, their peerings and routes. Source: https://cloud.google.com/sdk/gcloud/reference/compute/networks"""

from __future__ import annotations

import pytest
from google.cloud import compute_v1

from tests.gcloud.conftest import Gcloud, Refused


def made(gcloud: Gcloud, name: str) -> None:
    """By a Python client."""
    client = compute_v1.NetworksClient(credentials=gcloud.credentials, client_options=gcloud.options("compute"))
    body = compute_v1.Network(name=name, auto_create_subnetworks=False)
    client.insert_unary(project=gcloud.project, network_resource=body)


def test_a_network_from_making_to_deleting(gcloud: Gcloud) -> None:
    gcloud("compute", "networks", "create", "one", "--subnet-mode=custom")
    client = compute_v1.NetworksClient(credentials=gcloud.credentials, client_options=gcloud.options("compute"))
    assert client.get(project=gcloud.project, network="one").name == "one"
    assert [each["name"] for each in gcloud("compute", "networks", "list")] == ["one"]
    gcloud("compute", "networks", "update", "one", "--bgp-routing-mode=global")
    assert client.get(project=gcloud.project, network="one").routing_config.routing_mode == "GLOBAL"
    gcloud("compute", "networks", "delete", "one")
    with pytest.raises(Refused, match="was not found"):
        gcloud("compute", "networks", "describe", "one")
    done = gcloud("compute", "operations", "list", "--global", "--sort-by=insertTime")
    assert [each["operationType"] for each in done] == ["insert", "patch", "delete"]
    assert gcloud("compute", "operations", "describe", done[0]["name"], "--global")["status"] == "DONE"
    operations = compute_v1.GlobalOperationsClient(
        credentials=gcloud.credentials, client_options=gcloud.options("compute")
    )
    assert operations.get(project=gcloud.project, operation=done[0]["name"]).operation_type == "insert"
    with pytest.raises(Refused, match="was not found"):
        gcloud("compute", "operations", "describe", "none", "--global")


def test_what_python_made_gcloud_reads_and_cannot_delete_in_use(gcloud: Gcloud) -> None:
    made(gcloud, "two")
    assert gcloud("compute", "networks", "describe", "two")["routingConfig"]["routingMode"] == "REGIONAL"
    gcloud("compute", "firewall-rules", "create", "rule", "--network=two", "--allow=icmp")
    effective = gcloud("compute", "networks", "get-effective-firewalls", "two")
    assert [each["name"] for each in effective["firewalls"]] == ["rule"]
    with pytest.raises(Refused, match=r"already being used by 'projects/.*/global/firewalls/rule'"):
        gcloud("compute", "networks", "delete", "two")


def test_a_peering(gcloud: Gcloud) -> None:
    """Source: https://cloud.google.com/sdk/gcloud/reference/compute/networks/peerings"""
    made(gcloud, "one")
    made(gcloud, "two")
    gcloud("compute", "networks", "peerings", "create", "there", "--network=one", "--peer-network=two")
    gcloud("compute", "networks", "peerings", "create", "back", "--network=two", "--peer-network=one")
    shown = gcloud("compute", "networks", "peerings", "list", "--network=one")
    assert [(each["name"], each["state"]) for each in shown[0]["peerings"]] == [("there", "ACTIVE")]
    gcloud("compute", "networks", "peerings", "update", "there", "--network=one", "--export-custom-routes")
    gcloud("compute", "networks", "peerings", "delete", "back", "--network=two")
    (left,) = gcloud("compute", "networks", "describe", "one")["peerings"]
    assert (left["exportCustomRoutes"], left["state"]) == (True, "INACTIVE")


def test_a_route(gcloud: Gcloud) -> None:
    """Source: https://cloud.google.com/sdk/gcloud/reference/compute/routes"""
    made(gcloud, "one")
    hop = "--next-hop-gateway=default-internet-gateway"
    gcloud("compute", "routes", "create", "out", "--network=one", "--destination-range=192.0.2.0/24", hop)
    client = compute_v1.RoutesClient(credentials=gcloud.credentials, client_options=gcloud.options("compute"))
    assert client.get(project=gcloud.project, route="out").next_hop_gateway.endswith("default-internet-gateway")
    made_too = compute_v1.Route(
        name="made",
        network="global/networks/one",
        dest_range="198.51.100.0/24",
        priority=900,
        next_hop_gateway="global/gateways/default-internet-gateway",
    )
    client.insert_unary(project=gcloud.project, route_resource=made_too)
    assert gcloud("compute", "routes", "describe", "made")["priority"] == 900
    shown = gcloud("compute", "routes", "list", "--filter=network:one")
    assert sorted(each["destRange"] for each in shown) == ["0.0.0.0/0", "192.0.2.0/24", "198.51.100.0/24"]
    gcloud("compute", "routes", "delete", "out")
    with pytest.raises(Refused, match="was not found"):
        gcloud("compute", "routes", "describe", "out")
