"""Networks through google-cloud-compute. Source: https://cloud.google.com/compute/docs/reference/rest/v1/networks"""

from __future__ import annotations

import pytest
from google.api_core.exceptions import BadRequest, Conflict, NotFound
from google.cloud import compute_v1

from tests.unit.emulator.conftest import Emulated


@pytest.fixture
def networks(google: Emulated) -> compute_v1.NetworksClient:
    return compute_v1.NetworksClient(credentials=google.credentials, client_options=google.options("compute"))


def made(google: Emulated, networks: compute_v1.NetworksClient, name: str) -> None:
    body = compute_v1.Network(name=name, auto_create_subnetworks=False)
    networks.insert_unary(project=google.project, network_resource=body)


def test_a_network_is_made_read_listed_and_deleted(google: Emulated, networks: compute_v1.NetworksClient) -> None:
    made(google, networks, "one")
    assert networks.get(project=google.project, network="one").routing_config.routing_mode == "REGIONAL"
    assert [each.name for each in networks.list(project=google.project)] == ["one"]
    networks.delete_unary(project=google.project, network="one")
    with pytest.raises(NotFound, match=f"The resource 'projects/{google.project}/global/networks/one' was not found"):
        networks.get(project=google.project, network="one")


def test_a_name_is_taken_once(google: Emulated, networks: compute_v1.NetworksClient) -> None:
    made(google, networks, "one")
    with pytest.raises(Conflict, match="already exists"):
        made(google, networks, "one")


def test_a_name_follows_the_rule(google: Emulated, networks: compute_v1.NetworksClient) -> None:
    with pytest.raises(BadRequest, match="Must be a match of regex"):
        made(google, networks, "One")


def test_an_operation_takes_its_time_and_wait_waits(slow_google: Emulated) -> None:
    networks = compute_v1.NetworksClient(
        credentials=slow_google.credentials, client_options=slow_google.options("compute")
    )
    operations = compute_v1.GlobalOperationsClient(
        credentials=slow_google.credentials, client_options=slow_google.options("compute")
    )
    body = compute_v1.Network(name="one", auto_create_subnetworks=False)
    started = networks.insert_unary(project=slow_google.project, network_resource=body)
    assert started.status == compute_v1.Operation.Status.RUNNING
    done = operations.wait(project=slow_google.project, operation=started.name)
    assert done.status == compute_v1.Operation.Status.DONE
