"""Networks and peerings through google-cloud-compute.

Source: https://cloud.google.com/compute/docs/reference/rest/v1/networks
"""

from __future__ import annotations

import pytest
from google.api_core.exceptions import BadRequest, Conflict, NotFound
from google.cloud import compute_v1

from tests.unit.emulator.conftest import Emulated
from tests.unit.emulator.vpc import Vpc


@pytest.fixture
def vpc(google: Emulated) -> Vpc:
    return Vpc(google)


@pytest.fixture
def networks(vpc: Vpc) -> compute_v1.NetworksClient:
    return vpc.client(compute_v1.NetworksClient)


def test_a_network_is_made_read_listed_and_deleted(vpc: Vpc, networks: compute_v1.NetworksClient) -> None:
    vpc.network("one")
    network = networks.get(project=vpc.project, network="one")
    assert (network.routing_config.routing_mode, network.mtu) == ("REGIONAL", 0)
    assert [each.name for each in networks.list(project=vpc.project)] == ["one"]
    networks.delete_unary(project=vpc.project, network="one")
    with pytest.raises(NotFound, match=f"The resource 'projects/{vpc.project}/global/networks/one' was not found"):
        networks.get(project=vpc.project, network="one")


def test_a_name_is_taken_once(vpc: Vpc) -> None:
    vpc.network("one")
    with pytest.raises(Conflict, match="already exists"):
        vpc.network("one")


def test_a_name_follows_the_rule(vpc: Vpc) -> None:
    with pytest.raises(BadRequest, match="Must be a match of regex"):
        vpc.network("One")


def test_an_operation_takes_its_time_and_wait_waits(slow_google: Emulated) -> None:
    """Until then the network is there but not ready. Source: terraform-google-modules/terraform-google-network#365."""
    vpc = Vpc(slow_google)
    networks = vpc.client(compute_v1.NetworksClient)
    body = compute_v1.Network(name="one", auto_create_subnetworks=False)
    started = networks.insert_unary(project=vpc.project, network_resource=body)
    assert (started.status, started.start_time) == (compute_v1.Operation.Status.PENDING, "")
    slow_google.advance(1)
    operations = vpc.client(compute_v1.GlobalOperationsClient)
    now = operations.get(project=vpc.project, operation=started.name)
    assert (now.status, now.start_time != "") == (compute_v1.Operation.Status.RUNNING, True)
    with pytest.raises(BadRequest, match="networks/one' is not ready"):
        vpc.subnetwork()
    assert operations.wait(project=vpc.project, operation=started.name).status == compute_v1.Operation.Status.DONE
    vpc.subnetwork()


def test_the_same_request_id_has_one_effect(vpc: Vpc, networks: compute_v1.NetworksClient) -> None:
    body = compute_v1.Network(name="one", auto_create_subnetworks=False)
    request = compute_v1.InsertNetworkRequest(project=vpc.project, network_resource=body)
    request.request_id = "2f1b0f1e-57a5-4a55-8b8b-0d7d9d5f0f11"
    first = networks.insert_unary(request=request)
    assert networks.insert_unary(request=request).name == first.name
    request.request_id = "00000000-0000-0000-0000-000000000000"
    with pytest.raises(BadRequest, match="requestId"):
        networks.insert_unary(request=request)


def test_routing_and_mtu_can_be_patched_and_nothing_else(vpc: Vpc, networks: compute_v1.NetworksClient) -> None:
    vpc.network("one")
    change = compute_v1.Network(mtu=1500, routing_config=compute_v1.NetworkRoutingConfig(routing_mode="GLOBAL"))
    networks.patch_unary(project=vpc.project, network="one", network_resource=change)
    network = networks.get(project=vpc.project, network="one")
    assert (network.routing_config.routing_mode, network.mtu) == ("GLOBAL", 1500)
    with pytest.raises(BadRequest, match=r"resource.description"):
        networks.patch_unary(
            project=vpc.project, network="one", network_resource=compute_v1.Network(description="another")
        )
    with pytest.raises(BadRequest, match=r"resource.mtu"):
        networks.patch_unary(project=vpc.project, network="one", network_resource=compute_v1.Network(mtu=9000))


def test_a_network_shows_its_subnetworks(vpc: Vpc, networks: compute_v1.NetworksClient) -> None:
    vpc.network("one")
    subnetwork = vpc.subnetwork()
    assert list(networks.get(project=vpc.project, network="one").subnetworks) == [subnetwork]


def test_deleting_a_network_in_use_fails_in_the_operation(vpc: Vpc, networks: compute_v1.NetworksClient) -> None:
    """Source: genevieve/leftovers#6 (an operation error, where a subnetwork's is an immediate one)."""
    vpc.network("one")
    vpc.subnetwork()
    operation = networks.delete_unary(project=vpc.project, network="one")
    words = (
        f"The network resource 'projects/{vpc.project}/global/networks/one' is already being used by "
        f"'projects/{vpc.project}/regions/europe-west1/subnetworks/sub'"
    )
    assert [(each.code, each.message) for each in operation.error.errors] == [
        ("RESOURCE_IN_USE_BY_ANOTHER_RESOURCE", words)
    ]
    assert networks.get(project=vpc.project, network="one").name == "one"
    vpc.client(compute_v1.SubnetworksClient).delete_unary(project=vpc.project, region="europe-west1", subnetwork="sub")
    assert not networks.delete_unary(project=vpc.project, network="one").error.errors


def test_an_automatic_network_says_that_it_is_not_emulated(vpc: Vpc, networks: compute_v1.NetworksClient) -> None:
    body = compute_v1.Network(name="auto", auto_create_subnetworks=True)
    with pytest.raises(Exception, match="is not emulated") as caught:
        networks.insert_unary(project=vpc.project, network_resource=body)
    assert caught.value.code == 501  # type: ignore[attr-defined]


def peer(vpc: Vpc, network: str, other: str) -> compute_v1.Operation:
    peering = compute_v1.NetworkPeering(name=f"{network}-{other}", network=f"global/networks/{other}")
    peering.exchange_subnet_routes = True
    body = compute_v1.NetworksAddPeeringRequest(network_peering=peering)
    client = vpc.client(compute_v1.NetworksClient)
    operation: compute_v1.Operation = client.add_peering_unary(
        project=vpc.project, network=network, networks_add_peering_request_resource=body
    )
    return operation


def test_a_peering_is_active_when_both_sides_have_it(vpc: Vpc, networks: compute_v1.NetworksClient) -> None:
    """Source: https://cloud.google.com/vpc/docs/using-vpc-peering#creating_a_peering_configuration"""
    vpc.network("one")
    vpc.network("two")
    peer(vpc, "one", "two")
    assert networks.get(project=vpc.project, network="one").peerings[0].state == "INACTIVE"
    peer(vpc, "two", "one")
    shown = networks.get(project=vpc.project, network="one").peerings[0]
    assert (shown.state, shown.network, shown.export_custom_routes) == (
        "ACTIVE",
        vpc.link("global/networks/two"),
        False,
    )
    with pytest.raises(Conflict, match="already exists"):
        peer(vpc, "one", "two")
    change = compute_v1.NetworkPeering(name="one-two", export_custom_routes=True)
    networks.update_peering_unary(
        project=vpc.project,
        network="one",
        networks_update_peering_request_resource=compute_v1.NetworksUpdatePeeringRequest(network_peering=change),
    )
    assert networks.get(project=vpc.project, network="one").peerings[0].export_custom_routes
    removal = compute_v1.NetworksRemovePeeringRequest(name="two-one")
    networks.remove_peering_unary(project=vpc.project, network="two", networks_remove_peering_request_resource=removal)
    assert networks.get(project=vpc.project, network="one").peerings[0].state == "INACTIVE"
    assert not networks.get(project=vpc.project, network="two").peerings


def test_networks_with_the_same_range_do_not_peer(vpc: Vpc) -> None:
    """Source: https://cloud.google.com/vpc/docs/vpc-peering#overlapping_subnets"""
    vpc.network("one")
    vpc.network("two")
    vpc.subnetwork("a", "10.0.0.0/24", "one")
    vpc.subnetwork("b", "10.0.0.0/23", "two")
    with pytest.raises(BadRequest, match=r"peer network \(10.0.0.0/23\) overlaps"):
        peer(vpc, "one", "two")


def test_peerings_change_one_at_a_time(slow_google: Emulated) -> None:
    """Source: hashicorp/terraform-provider-google#3026"""
    vpc = Vpc(slow_google)
    for name in ("one", "two", "three"):
        vpc.network(name)
    slow_google.advance(60)
    peer(vpc, "one", "two")
    with pytest.raises(BadRequest, match="There is a peering operation in progress on the local or peer network"):
        peer(vpc, "one", "three")
    slow_google.advance(60)
    peer(vpc, "one", "three")


def test_an_insert_that_fails_leaves_nothing(vpc: Vpc, networks: compute_v1.NetworksClient) -> None:
    fault = {"service": "compute", "method": "compute.networks.insert", "kind": "operation-error", "code": 503}
    vpc.google.http().post("/_emulator/faults", json=fault).raise_for_status()
    body = compute_v1.Network(name="one", auto_create_subnetworks=False)
    assert networks.insert_unary(project=vpc.project, network_resource=body).error.errors
    assert list(networks.list(project=vpc.project)) == []


def test_a_change_is_seen_when_it_is_done_and_one_that_fails_never(slow_google: Emulated) -> None:
    """Source: https://cloud.google.com/compute/docs/api/how-tos/api-requests-responses (a change is an operation)"""
    vpc = Vpc(slow_google)
    vpc.network("one")
    slow_google.advance(60)
    networks = vpc.client(compute_v1.NetworksClient)

    def mtu_after(mtu: int, seconds: float) -> int:
        networks.patch_unary(project=vpc.project, network="one", network_resource=compute_v1.Network(mtu=mtu))
        slow_google.advance(seconds)
        return int(networks.get(project=vpc.project, network="one").mtu)

    assert mtu_after(1500, 0) == 0
    slow_google.advance(60)
    assert networks.get(project=vpc.project, network="one").mtu == 1500
    fault = {"service": "compute", "method": "compute.networks.patch", "kind": "operation-error"}
    slow_google.http().post("/_emulator/faults", json=fault).raise_for_status()
    assert mtu_after(1600, 60) == 1500
