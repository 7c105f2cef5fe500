"""Subnetworks. Source: https://cloud.google.com/sdk/gcloud/reference/compute/networks/subnets"""

from __future__ import annotations

import pytest
from google.cloud import compute_v1

from tests.gcloud.conftest import Gcloud, Refused

SUBNETS = ("compute", "networks", "subnets")
WHERE = "--region=europe-west1"


def test_a_subnetwork_from_making_to_deleting(gcloud: Gcloud) -> None:
    networks = compute_v1.NetworksClient(credentials=gcloud.credentials, client_options=gcloud.options("compute"))
    body = compute_v1.Network(name="one", auto_create_subnetworks=False)
    networks.insert_unary(project=gcloud.project, network_resource=body)
    gcloud(
        *SUBNETS, "create", "sub", "--network=one", WHERE, "--range=10.0.0.0/24", "--secondary-range=pods=10.4.0.0/16"
    )
    client = compute_v1.SubnetworksClient(credentials=gcloud.credentials, client_options=gcloud.options("compute"))

    def read() -> compute_v1.Subnetwork:
        return client.get(project=gcloud.project, region="europe-west1", subnetwork="sub")

    made = compute_v1.Subnetwork(name="made", network="global/networks/one", ip_cidr_range="10.2.0.0/24")
    client.insert_unary(project=gcloud.project, region="europe-west1", subnetwork_resource=made)
    assert gcloud(*SUBNETS, "describe", "made", WHERE)["gatewayAddress"] == "10.2.0.1"
    assert (read().gateway_address, read().secondary_ip_ranges[0].range_name) == ("10.0.0.1", "pods")
    with pytest.raises(Refused, match=r"Invalid IPCidrRange: 10.0.0.0/25 conflicts with existing subnetwork 'sub'"):
        gcloud(*SUBNETS, "create", "other", "--network=one", WHERE, "--range=10.0.0.0/25")
    gcloud(*SUBNETS, "update", "sub", WHERE, "--enable-private-ip-google-access")
    gcloud(*SUBNETS, "update", "sub", WHERE, "--enable-flow-logs")
    gcloud(*SUBNETS, "expand-ip-range", "sub", WHERE, "--prefix-length=23")
    assert (read().private_ip_google_access, read().enable_flow_logs) == (True, True)
    listed = gcloud(*SUBNETS, "list", "--network=one")
    assert [(each["name"], each["ipCidrRange"]) for each in listed] == [("made", "10.2.0.0/24"), ("sub", "10.0.0.0/23")]
    assert len(gcloud(*SUBNETS, "list-usable")) == 2
    role = ("--member=user:a@example.com", "--role=roles/compute.networkUser")
    gcloud(*SUBNETS, "add-iam-policy-binding", "sub", WHERE, *role)
    policy = client.get_iam_policy(project=gcloud.project, region="europe-west1", resource="sub")
    assert list(policy.bindings[0].members) == ["user:a@example.com"]
    gcloud(*SUBNETS, "delete", "sub", WHERE)
    with pytest.raises(Refused, match="was not found"):
        gcloud(*SUBNETS, "describe", "sub", WHERE)
