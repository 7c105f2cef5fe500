"""Service Networking through google-api-python-client, and private addresses of Cloud SQL.

Sources: https://cloud.google.com/vpc/docs/configure-private-services-access,
https://cloud.google.com/sql/docs/postgres/configure-private-ip, and the public issues that the emulator names.
"""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from google.api_core.exceptions import InvalidArgument
from google.cloud import compute_v1
from googleapiclient.errors import HttpError

from tests.unit.emulator.conftest import Emulated
from tests.unit.emulator.sql import Grpc, built, connected, network_with_range, reserved

SERVICE = "services/servicenetworking.googleapis.com"
CONNECTION = f"{SERVICE}/connections/servicenetworking-googleapis-com"


def private(network: str, **more: Any) -> dict[str, Any]:
    return {"ipv4_enabled": False, "private_network": network, **more}


def connections(google: Emulated, member: str = "user:owner@example.com") -> Any:
    return built(google, "servicenetworking", "v1", member).services().connections()


def deleted(google: Emulated, network: str) -> Any:
    return connections(google).deleteConnection(name=CONNECTION, body={"consumerNetwork": network}).execute()


def networks(google: Emulated) -> compute_v1.NetworksClient:
    return compute_v1.NetworksClient(credentials=google.credentials, client_options=google.options("compute"))


def add_range(google: Emulated, network: str, name: str, first: str) -> None:
    client = compute_v1.GlobalAddressesClient(credentials=google.credentials, client_options=google.options("compute"))
    client.insert_unary(project=google.project, address_resource=reserved(network, name, first, 24))


def test_a_connection_is_made_listed_and_shown_as_a_peering(google: Emulated) -> None:
    network = network_with_range(google)
    operation = connected(google, network)
    assert operation["done"]
    operations = built(google, "servicenetworking", "v1").operations()
    assert operations.get(name=operation["name"]).execute() == operation
    (listed,) = connections(google).list(parent=SERVICE, network=network).execute()["connections"]
    number = google.cloud.world.projects[google.project].number
    assert listed == {
        "network": f"projects/{number}/global/networks/main",
        "peering": "servicenetworking-googleapis-com",
        "reservedPeeringRanges": ["reserved"],
        "service": SERVICE,
    }
    (peering,) = networks(google).get(project=google.project, network="main").peerings
    assert (peering.name, peering.state) == ("servicenetworking-googleapis-com", "ACTIVE")


def test_other_ranges_want_a_patch(google: Emulated) -> None:
    network = network_with_range(google)
    connected(google, network)
    add_range(google, network, "more", "10.200.0.0")
    error = connected(google, network, ("more",))["error"]
    assert error["code"] == 9
    assert error["message"].startswith(
        "Cannot modify allocated ranges in CreateConnection. Please use UpdateConnection."
    )
    body = {"network": network, "reservedPeeringRanges": ["more"]}
    patch = connections(google).patch
    assert patch(name=CONNECTION, body=body).execute()["error"]["code"] == 9
    assert "error" not in patch(name=CONNECTION, body=body, force=True).execute()
    (listed,) = connections(google).list(parent=SERVICE, network=network).execute()["connections"]
    assert listed["reservedPeeringRanges"] == ["more"]


def test_a_range_must_be_reserved_for_peering(google: Emulated) -> None:
    error = connected(google, network_with_range(google), ("nowhere",))["error"]
    assert (error["code"], error["message"]) == (9, "Allocated IP range 'nowhere' not found in network.")


def test_the_network_stays_while_it_is_peered(google: Emulated) -> None:
    network = network_with_range(google)
    connected(google, network)
    client = networks(google)
    client.delete_unary(project=google.project, network="main")
    assert client.get(project=google.project, network="main").name == "main"
    deleted(google, network)
    assert not client.get(project=google.project, network="main").peerings


def test_who_may_not_add_a_peering(google: Emulated) -> None:
    network = network_with_range(google)
    google.grant("roles/compute.networkViewer", "user:viewer@example.com")
    body = {"network": network, "reservedPeeringRanges": ["reserved"]}
    with pytest.raises(HttpError, match="Permission denied to add peering for service"):
        connections(google, "user:viewer@example.com").create(parent=SERVICE, body=body).execute()


def test_a_private_address_comes_from_the_reserved_range(google: Emulated) -> None:
    network = network_with_range(google)
    connected(google, network)
    sql = Grpc(google)
    addresses = [sql.made(name, ip_configuration=private(network)).ip_addresses for name in ("one", "two")]
    assert [each.type_.name for (each,) in addresses] == ["PRIVATE", "PRIVATE"]
    one, two = (ipaddress.ip_address(each.ip_address) for (each,) in addresses)
    assert one != two
    assert {one in ipaddress.ip_network("10.100.0.0/24"), two in ipaddress.ip_network("10.100.0.0/24")} == {True}


def test_no_private_address_without_a_connection(google: Emulated) -> None:
    network = network_with_range(google)
    words = f"Incorrect Service Networking config for instance: {google.project}:db:"
    with pytest.raises(InvalidArgument, match=f"{words}NETWORK_NOT_PEERED."):
        Grpc(google).made(ip_configuration=private(network))
    with pytest.raises(InvalidArgument, match=f"{words}NETWORK_NOT_FOUND."):
        Grpc(google).made(ip_configuration=private(f"projects/{google.project}/global/networks/nowhere"))
    with pytest.raises(InvalidArgument, match="Invalid private network: main"):
        Grpc(google).made(ip_configuration=private("main"))
    connected(google, network)
    networks(google).remove_peering_unary(
        project=google.project,
        network="main",
        networks_remove_peering_request_resource=compute_v1.NetworksRemovePeeringRequest(
            name="servicenetworking-googleapis-com"
        ),
    )
    with pytest.raises(InvalidArgument, match=f"{words}NETWORK_PEERING_DELETED."):
        Grpc(google).made(ip_configuration=private(network))
    google.cloud.world.projects[google.project].services.discard("servicenetworking.googleapis.com")
    with pytest.raises(InvalidArgument, match=f"{words}SERVICE_NETWORKING_NOT_ENABLED."):
        Grpc(google).made(ip_configuration=private(network))


def test_a_range_without_a_free_block_leaves_a_failed_instance(google: Emulated) -> None:
    network = network_with_range(google, prefix=25)
    connected(google, network)
    sql = Grpc(google)
    assert sql.made(ip_configuration=private(network)).state.name == "FAILED"
    (failed,) = sql.operations.list(request={"project": google.project}).items
    assert "Couldn't find free blocks in allocated IP ranges." in failed.error.errors[0].message


def test_a_second_region_takes_a_block_of_its_own(google: Emulated) -> None:
    network = network_with_range(google, prefix=23)
    connected(google, network)
    sql = Grpc(google)
    sql.made("one", ip_configuration=private(network))
    settings = {"edition": "ENTERPRISE", "tier": "db-f1-micro", "ip_configuration": private(network)}
    found = {}
    for name, region in (("two", "us-central1"), ("three", "us-east1")):
        body = {"name": name, "database_version": "POSTGRES_18", "region": region, "settings": settings}
        sql.instances.insert(request={"project": google.project, "body": body})
        found[name] = sql.read(name)
    assert found["two"].ip_addresses[0].ip_address.startswith("10.100.1.")
    assert found["three"].state.name == "FAILED"


def test_the_private_network_of_an_instance_stays(google: Emulated) -> None:
    network = network_with_range(google)
    connected(google, network)
    sql = Grpc(google)
    sql.made(ip_configuration=private(network))
    body = {"settings": {"edition": "ENTERPRISE", "tier": "db-f1-micro", "ip_configuration": {"ipv4_enabled": True}}}
    with pytest.raises(InvalidArgument, match="private network of an instance cannot be changed or removed"):
        sql.instances.update(request={"project": google.project, "instance": "db", "body": body})


def test_a_public_instance_gets_a_private_address_too(google: Emulated) -> None:
    network = network_with_range(google)
    connected(google, network)
    sql = Grpc(google)
    sql.made()
    body = {"settings": {"ip_configuration": {"private_network": network}}}
    sql.instances.patch(request={"project": google.project, "instance": "db", "body": body})
    assert [each.type_.name for each in sql.read().ip_addresses] == ["PRIMARY", "OUTGOING", "PRIVATE"]


def test_the_connection_is_in_use_for_a_while_after_its_instance(slow_google: Emulated) -> None:
    network = network_with_range(slow_google)
    slow_google.advance(600)
    connected(slow_google, network)
    slow_google.advance(600)
    sql = Grpc(slow_google)
    sql.made(ip_configuration=private(network))
    slow_google.advance(3600)
    sql.instances.delete(request={"project": slow_google.project, "instance": "db"})
    slow_google.advance(600)
    assert _outcome(slow_google, network)["error"] == {
        "code": 9,
        "message": "Failed to delete connection; Producer services (e.g. CloudSQL, Cloud Memstore, etc.) are still "
        "using this connection.",
    }
    slow_google.advance(4 * 3600)
    assert "error" not in _outcome(slow_google, network)
    assert connections(slow_google).list(parent=SERVICE, network=network).execute() == {}


def _outcome(google: Emulated, network: str) -> Any:
    """What a deletion ends with, a while later."""
    name = deleted(google, network)["name"]
    google.advance(600)
    return built(google, "servicenetworking", "v1").operations().get(name=name).execute()


def test_a_call_names_its_network_in_full(google: Emulated) -> None:
    with pytest.raises(HttpError, match="Invalid network 'main'") as caught:
        connections(google).list(parent=SERVICE, network="main").execute()
    assert caught.value.status_code == 400
