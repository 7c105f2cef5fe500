"""Firewall rules, regions and zones. Source: https://cloud.google.com/sdk/gcloud/reference/compute/firewall-rules"""

from __future__ import annotations

import pytest
from google.cloud import compute_v1

from tests.gcloud.conftest import Gcloud, Refused

RULES = ("compute", "firewall-rules")


def test_a_rule_from_making_to_deleting(gcloud: Gcloud) -> None:
    gcloud("compute", "networks", "create", "one", "--subnet-mode=custom")
    allow = ("--network=one", "--allow=tcp:22,icmp", "--source-ranges=10.0.0.0/8", "--target-tags=web")
    gcloud(*RULES, "create", "rule", *allow)
    client = compute_v1.FirewallsClient(credentials=gcloud.credentials, client_options=gcloud.options("compute"))
    made = client.get(project=gcloud.project, firewall="rule")
    assert [(each.I_p_protocol, list(each.ports)) for each in made.allowed] == [("tcp", ["22"]), ("icmp", [])]
    gcloud(*RULES, "update", "rule", "--priority=7", "--source-ranges=10.1.0.0/16", "--enable-logging")
    updated = client.get(project=gcloud.project, firewall="rule")
    assert (updated.priority, list(updated.source_ranges), updated.log_config.enable) == (7, ["10.1.0.0/16"], True)
    deny = compute_v1.Denied(I_p_protocol="udp")
    made = compute_v1.Firewall(name="made", network="global/networks/one", denied=[deny], direction="EGRESS")
    client.insert_unary(project=gcloud.project, firewall_resource=made)
    assert gcloud(*RULES, "describe", "made")["denied"] == [{"IPProtocol": "udp"}]
    assert [each["name"] for each in gcloud(*RULES, "list", "--filter=network:one AND priority<10")] == ["rule"]
    with pytest.raises(Refused, match="Must be a valid IPV4 CIDR address range"):
        gcloud(*RULES, "create", "bad", "--network=one", "--allow=icmp", "--source-ranges=10.0.0.1/8")
    gcloud(*RULES, "delete", "rule")
    with pytest.raises(Refused, match="was not found"):
        gcloud(*RULES, "describe", "rule")


def test_regions_and_zones(gcloud: Gcloud) -> None:
    assert gcloud("compute", "regions", "describe", "europe-west1")["status"] == "UP"
    assert {"europe-west1", "us-central1"} <= {each["name"] for each in gcloud("compute", "regions", "list")}
    zones = gcloud("compute", "zones", "list", "--filter=region:europe-west1")
    assert [each["name"] for each in zones] == [f"europe-west1-{letter}" for letter in "bcd"]
    assert gcloud("compute", "zones", "describe", "europe-west1-b")["region"].endswith("/regions/europe-west1")
    with pytest.raises(Refused, match="was not found"):
        gcloud("compute", "zones", "describe", "europe-west1-z")
