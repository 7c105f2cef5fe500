"""Faults on demand. Source of what clients meet: https://cloud.google.com/apis/design/errors#error_retries"""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from google.api_core.exceptions import ServiceUnavailable, TooManyRequests
from google.cloud import compute_v1

from tests.unit.emulator.conftest import Emulated


@pytest.fixture
def networks(google: Emulated) -> compute_v1.NetworksClient:
    return compute_v1.NetworksClient(credentials=google.credentials, client_options=google.options("compute"))


def lay(google: Emulated, kind: str, **rule: Any) -> None:
    google.http().post("/_emulator/faults", json={"kind": kind, **rule}).raise_for_status()


def insert(google: Emulated, networks: compute_v1.NetworksClient, name: str = "one") -> compute_v1.Operation:
    body = compute_v1.Network(name=name, auto_create_subnetworks=False)
    return networks.insert_unary(project=google.project, network_resource=body, retry=None)


def names(google: Emulated, networks: compute_v1.NetworksClient) -> list[str]:
    return [each.name for each in networks.list(project=google.project)]


def test_the_second_call_alone_is_refused(google: Emulated, networks: compute_v1.NetworksClient) -> None:
    lay(google, "error", method="compute.networks.insert", nth=2, code=503)
    insert(google, networks, "one")
    with pytest.raises(ServiceUnavailable):
        insert(google, networks, "two")
    insert(google, networks, "three")
    assert names(google, networks) == ["one", "three"]


def test_too_many_requests_of_a_service(google: Emulated, networks: compute_v1.NetworksClient) -> None:
    lay(google, "error", service="compute", code=429, message="Quota exceeded.", reason="rateLimitExceeded")
    with pytest.raises(TooManyRequests, match=r"Quota exceeded\."):
        insert(google, networks)


@pytest.mark.parametrize(("kind", "there"), [("reset-before", []), ("reset-after", ["one"])])
def test_a_connection_is_reset(
    google: Emulated, networks: compute_v1.NetworksClient, kind: str, there: list[str]
) -> None:
    lay(google, kind, method="compute.networks.insert")
    path = f"/compute/compute/v1/projects/{google.project}/global/networks"
    with pytest.raises(httpx.ReadError):
        google.http().post(path, json={"name": "one", "autoCreateSubnetworks": False})
    assert names(google, networks) == there


def test_a_slow_answer_is_the_same_answer(google: Emulated, networks: compute_v1.NetworksClient) -> None:
    lay(google, "slow", method="compute.networks.list", seconds=0.3)
    with pytest.raises(httpx.ReadTimeout):
        httpx.get(
            f"{google.address}/compute/compute/v1/projects/{google.project}/global/networks",
            headers={"Authorization": f"Bearer {google.token}"},
            timeout=0.1,
        )
    assert names(google, networks) == []


def test_an_operation_ends_in_error(google: Emulated, networks: compute_v1.NetworksClient) -> None:
    lay(google, "operation-error", method="compute.networks.insert", code=503, reason="ZONE_RESOURCE_POOL_EXHAUSTED")
    operation = insert(google, networks)
    assert operation.status == compute_v1.Operation.Status.DONE
    assert [each.code for each in operation.error.errors] == ["ZONE_RESOURCE_POOL_EXHAUSTED"]


def test_an_operation_never_ends(slow_google: Emulated) -> None:
    options = {"credentials": slow_google.credentials, "client_options": slow_google.options("compute")}
    lay(slow_google, "operation-stuck", method="compute.networks.insert")
    operation = insert(slow_google, compute_v1.NetworksClient(**options))
    waited = compute_v1.GlobalOperationsClient(**options).wait(project=slow_google.project, operation=operation.name)
    assert waited.status == compute_v1.Operation.Status.RUNNING
    slow_google.advance(1800)
    later = compute_v1.GlobalOperationsClient(**options).get(project=slow_google.project, operation=operation.name)
    assert later.status == compute_v1.Operation.Status.RUNNING


def test_a_read_lags_behind_a_write(google: Emulated, networks: compute_v1.NetworksClient) -> None:
    lay(google, "stale", method="compute.networks.list", times=1)
    insert(google, networks)
    assert names(google, networks) == []
    assert names(google, networks) == ["one"]


@pytest.mark.parametrize("rule", [{"kind": "storm"}, {"kind": "slow", "second": 1}, {}])
def test_a_rule_that_is_none_is_refused(google: Emulated, rule: dict[str, Any]) -> None:
    answer = google.http().post("/_emulator/faults", json=rule)
    assert answer.status_code == 400
    assert google.cloud.faults.rules == []
