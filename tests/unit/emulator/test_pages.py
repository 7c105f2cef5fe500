"""Lists of all services alike: what page is wrong, and that an empty list is no field at all.

Sources: https://google.aip.dev/158 (INVALID_ARGUMENT for a negative size and for a token that was never given),
https://protobuf.dev/programming-guides/json/ (fields without a value are left out)
"""

from __future__ import annotations

import pytest

from tests.unit.emulator.conftest import Emulated

LISTS = {
    "networks": "/compute/compute/v1/projects/{}/global/networks",
    "SQL instances": "/sqladmin/v1/projects/{}/instances",
    "services": "/run/v2/projects/{}/locations/us-central1/services",
    "knative services": "/run/apis/serving.knative.dev/v1/namespaces/{}/services",
    "repositories": "/artifactregistry/v1/projects/{}/locations/us-central1/repositories",
    "secrets": "/secretmanager/v1/projects/{}/secrets",
    "roles": "/iam/v1/projects/{}/roles",
    "builds": "/cloudbuild/v1/projects/{}/builds",
}
BY_SIZE = ("services", "repositories", "secrets", "roles", "builds")
EMPTY = ("SQL instances", *BY_SIZE)


@pytest.mark.parametrize("kind", LISTS)
@pytest.mark.parametrize("token", ["none", "LTE=", "8J+Yig==", "MTIzNDU2Nzg5MDEyMzQ1Njc4OTA="])
def test_a_token_that_was_never_given(google: Emulated, kind: str, token: str) -> None:
    name = "continue" if kind == "knative services" else "pageToken"
    answer = google.http().get(LISTS[kind].format(google.project), params={name: token})
    assert answer.status_code == 400, answer.text


@pytest.mark.parametrize("kind", BY_SIZE)
def test_a_size_below_nothing(google: Emulated, kind: str) -> None:
    answer = google.http().get(LISTS[kind].format(google.project), params={"pageSize": "-1"})
    assert answer.status_code == 400, answer.text


@pytest.mark.parametrize("kind", EMPTY)
def test_nothing_to_list(google: Emulated, kind: str) -> None:
    answer = google.http().get(LISTS[kind].format(google.project))
    assert answer.status_code == 200
    assert [] not in answer.json().values()
