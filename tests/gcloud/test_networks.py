"""Networks. Source: https://cloud.google.com/sdk/gcloud/reference/compute/networks"""

from __future__ import annotations

import pytest
from google.cloud import compute_v1

from tests.gcloud.conftest import Gcloud, Refused


def test_a_network_from_making_to_deleting(gcloud: Gcloud) -> None:
    gcloud("compute", "networks", "create", "one", "--subnet-mode=custom")
    client = compute_v1.NetworksClient(credentials=gcloud.credentials, client_options=gcloud.options("compute"))
    assert client.get(project=gcloud.project, network="one").name == "one"
    assert [each["name"] for each in gcloud("compute", "networks", "list")] == ["one"]
    gcloud("compute", "networks", "delete", "one")
    with pytest.raises(Refused, match="was not found"):
        gcloud("compute", "networks", "describe", "one")


def test_what_python_made_gcloud_reads(gcloud: Gcloud) -> None:
    client = compute_v1.NetworksClient(credentials=gcloud.credentials, client_options=gcloud.options("compute"))
    body = compute_v1.Network(name="two", auto_create_subnetworks=False)
    client.insert_unary(project=gcloud.project, network_resource=body)
    assert gcloud("compute", "networks", "describe", "two")["routingConfig"]["routingMode"] == "REGIONAL"
