"""Addresses. Source: https://cloud.google.com/sdk/gcloud/reference/compute/addresses

`gcloud compute addresses update` is there in beta alone (version 528) and calls compute's beta API, which is not
emulated: labels are set by a Python client here.
"""

from __future__ import annotations

import pytest
from google.cloud import compute_v1

from tests.gcloud.conftest import Gcloud, Refused

ADDRESSES = ("compute", "addresses")
WHERE = "--region=europe-west1"


def test_addresses_from_reserving_to_releasing(gcloud: Gcloud) -> None:
    gcloud("compute", "networks", "create", "one", "--subnet-mode=custom")
    sub = ("--network=one", WHERE, "--range=10.0.0.0/24")
    gcloud("compute", "networks", "subnets", "create", "sub", *sub)
    gcloud(*ADDRESSES, "create", "outside", WHERE)
    gcloud(*ADDRESSES, "create", "inside", WHERE, "--subnet=sub", "--addresses=10.0.0.9")
    peering = ("--global", "--purpose=VPC_PEERING", "--prefix-length=20", "--network=one")
    gcloud(*ADDRESSES, "create", "range", *peering)
    client = compute_v1.AddressesClient(credentials=gcloud.credentials, client_options=gcloud.options("compute"))
    inside = client.get(project=gcloud.project, region="europe-west1", address="inside")
    assert (inside.address, inside.address_type, inside.status) == ("10.0.0.9", "INTERNAL", "RESERVED")
    everywhere = compute_v1.GlobalAddressesClient(
        credentials=gcloud.credentials, client_options=gcloud.options("compute")
    )
    everywhere.insert_unary(project=gcloud.project, address_resource=compute_v1.Address(name="made"))
    assert everywhere.get(project=gcloud.project, address="range").prefix_length == 20
    assert gcloud(*ADDRESSES, "describe", "made", "--global")["addressType"] == "EXTERNAL"
    assert [each["name"] for each in gcloud(*ADDRESSES, "list")] == ["made", "range", "inside", "outside"]
    with pytest.raises(Refused, match=r"IP '10.0.0.9' is already being used by another resource"):
        gcloud(*ADDRESSES, "create", "again", WHERE, "--subnet=sub", "--addresses=10.0.0.9")
    outside = client.get(project=gcloud.project, region="europe-west1", address="outside")
    labels = compute_v1.RegionSetLabelsRequest(labels={"a": "b"}, label_fingerprint=outside.label_fingerprint)
    client.set_labels_unary(
        project=gcloud.project, region="europe-west1", resource="outside", region_set_labels_request_resource=labels
    )
    assert gcloud(*ADDRESSES, "describe", "outside", WHERE)["labels"] == {"a": "b"}
    gcloud(*ADDRESSES, "delete", "outside", "inside", WHERE)
    gcloud(*ADDRESSES, "delete", "range", "made", "--global")
    assert gcloud(*ADDRESSES, "list") == []
