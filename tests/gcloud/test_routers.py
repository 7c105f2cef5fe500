"""Routers and their NATs. Source: https://cloud.google.com/sdk/gcloud/reference/compute/routers/nats"""

from __future__ import annotations

import pytest
from google.cloud import compute_v1

from tests.gcloud.conftest import Gcloud, Refused

ROUTERS = ("compute", "routers")
WHERE = "--region=europe-west1"


def test_a_router_and_its_nat_from_making_to_deleting(gcloud: Gcloud) -> None:
    gcloud("compute", "networks", "create", "one", "--subnet-mode=custom")
    gcloud(*ROUTERS, "create", "router", "--network=one", WHERE)
    nat = ("--router=router", WHERE)
    everything = ("--auto-allocate-nat-external-ips", "--nat-all-subnet-ip-ranges")
    gcloud(*ROUTERS, "nats", "create", "nat", *nat, *everything)
    client = compute_v1.RoutersClient(credentials=gcloud.credentials, client_options=gcloud.options("compute"))

    def nats() -> list[compute_v1.RouterNat]:
        return list(client.get(project=gcloud.project, region="europe-west1", router="router").nats)

    assert [(each.name, each.nat_ip_allocate_option) for each in nats()] == [("nat", "AUTO_ONLY")]
    with pytest.raises(Refused, match="a Nat with option ALL_SUBNETWORKS_ALL_IP_RANGES exists"):
        gcloud(*ROUTERS, "nats", "create", "other", *nat, *everything)
    gcloud(*ROUTERS, "nats", "update", "nat", *nat, "--min-ports-per-vm=256")
    assert gcloud(*ROUTERS, "nats", "describe", "nat", *nat)["minPortsPerVm"] == 256
    assert [each["name"] for each in gcloud(*ROUTERS, "nats", "list", *nat)] == ["nat"]
    gcloud(*ROUTERS, "nats", "delete", "nat", *nat)
    assert nats() == []
    body = compute_v1.Router(name="made", network="global/networks/one", description="by Python")
    client.insert_unary(project=gcloud.project, region="europe-west1", router_resource=body)
    assert gcloud(*ROUTERS, "describe", "made", WHERE)["description"] == "by Python"
    gcloud(*ROUTERS, "update", "made", WHERE, "--asn=64512")
    assert client.get(project=gcloud.project, region="europe-west1", router="made").bgp.asn == 64512
    assert [each["name"] for each in gcloud(*ROUTERS, "list")] == ["made", "router"]
    with pytest.raises(Refused, match="is not emulated"):
        gcloud(*ROUTERS, "get-status", "router", WHERE)
    gcloud(*ROUTERS, "delete", "router", WHERE)
    with pytest.raises(Refused, match="was not found"):
        gcloud(*ROUTERS, "describe", "router", WHERE)
