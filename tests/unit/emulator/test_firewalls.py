"""Firewall rules through google-cloud-compute. Source: https://cloud.google.com/firewall/docs/firewalls"""

from __future__ import annotations

from typing import Any

import pytest
from google.api_core.exceptions import BadRequest, GoogleAPICallError, NotFound
from google.cloud import compute_v1

from tests.unit.emulator.conftest import Emulated
from tests.unit.emulator.vpc import Vpc

SSH = [compute_v1.Allowed(I_p_protocol="tcp", ports=["22"])]
ALL = [compute_v1.Denied(I_p_protocol="all")]


@pytest.fixture
def vpc(google: Emulated) -> Vpc:
    """A project with a network."""
    made = Vpc(google)
    made.network("one")
    return made


@pytest.fixture
def firewalls(vpc: Vpc) -> compute_v1.FirewallsClient:
    return vpc.client(compute_v1.FirewallsClient)


def make(vpc: Vpc, name: str = "rule", **fields: Any) -> compute_v1.Firewall:
    body = compute_v1.Firewall(name=name, **({"network": "global/networks/one"} | fields))
    client = vpc.client(compute_v1.FirewallsClient)
    client.insert_unary(project=vpc.project, firewall_resource=body)
    return client.get(project=vpc.project, firewall=name)


def test_an_ingress_rule_is_the_default_and_from_everywhere(vpc: Vpc) -> None:
    """Source: hashicorp/terraform-provider-google#6789 (0.0.0.0/0)"""
    made = make(vpc, allowed=SSH)
    assert (made.direction, made.priority, made.disabled) == ("INGRESS", 1000, False)
    assert (list(made.source_ranges), made.log_config.enable) == (["0.0.0.0/0"], False)
    tagged = make(vpc, "tagged", allowed=SSH, source_tags=["web"], target_tags=["db"])
    assert not tagged.source_ranges


def test_an_egress_rule_is_to_everywhere(vpc: Vpc) -> None:
    assert list(make(vpc, denied=ALL, direction="EGRESS").destination_ranges) == ["0.0.0.0/0"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"allowed": SSH, "denied": ALL}, "Should not specify both allowed and denied in the same time"),
        ({}, "Required field 'resource.allowed' not specified"),
        ({"denied": ALL, "direction": "EGRESS", "source_tags": ["a"]},
         "Should not specify source tag or service account for egress direction"),
        ({"allowed": SSH, "source_ranges": ["10.0.0.1/8"]},
         r"'resource.sourceRanges\[0\]': '10.0.0.1/8'. Must be a valid IPV4 CIDR address range"),
        ({"allowed": SSH, "priority": 65536}, "resource.priority"),
        ({"allowed": SSH, "target_tags": ["Web"]}, r"resource.targetTags\[0\]"),
        ({"allowed": SSH, "source_tags": ["a"], "target_service_accounts": ["a@b.iam.gserviceaccount.com"]},
         "Tags and service accounts cannot be specified"),
        ({"allowed": [compute_v1.Allowed(I_p_protocol="tpc")]}, r"resource.allowed\[0\].IPProtocol"),
        ({"allowed": [compute_v1.Allowed(I_p_protocol="icmp", ports=["1"])]}, r"resource.allowed\[0\].ports\[0\]"),
        ({"allowed": [compute_v1.Allowed(I_p_protocol="tcp", ports=["90-80"])]}, r"resource.allowed\[0\].ports\[0\]"),
        ({"allowed": SSH, "log_config": {"enable": False, "metadata": "INCLUDE_ALL_METADATA"}}, "logConfig.metadata"),
    ],
)  # fmt: skip
def test_what_a_rule_may_not_say(vpc: Vpc, fields: dict[str, Any], words: str) -> None:
    """Sources of the words: forseti-security/forseti-security#3844, mchmarny/grunner#6 and the reference."""
    with pytest.raises(BadRequest, match=words):
        make(vpc, **fields)


def test_too_many_service_accounts(vpc: Vpc) -> None:
    """Source: hashicorp/terraform-provider-google#1417 (413)"""
    many = [f"a{number}@b.iam.gserviceaccount.com" for number in range(11)]
    with pytest.raises(GoogleAPICallError, match=r"resource.sourceServiceAccounts") as caught:
        make(vpc, allowed=SSH, source_service_accounts=many)
    assert caught.value.code == 413


def test_the_network_is_called_default_where_none_is_named(vpc: Vpc) -> None:
    """Source: `network` in the reference."""
    with pytest.raises(NotFound, match=f"'projects/{vpc.project}/global/networks/default' was not found"):
        make(vpc, allowed=SSH, network=None)
    vpc.network("default")
    assert make(vpc, allowed=SSH, network=None).network == vpc.link("global/networks/default")


def test_a_patch_merges_and_an_update_replaces(vpc: Vpc, firewalls: compute_v1.FirewallsClient) -> None:
    make(vpc, allowed=SSH, source_ranges=["10.0.0.0/8"], description="old")
    where = {"project": vpc.project, "firewall": "rule"}
    firewalls.patch_unary(**where, firewall_resource=compute_v1.Firewall(priority=7, disabled=True))
    patched = firewalls.get(**where)
    assert (patched.priority, patched.disabled, list(patched.source_ranges)) == (7, True, ["10.0.0.0/8"])
    assert list(patched.allowed) == SSH
    with pytest.raises(BadRequest, match="Should not specify both allowed and denied"):
        firewalls.patch_unary(**where, firewall_resource=compute_v1.Firewall(denied=ALL))
    firewalls.update_unary(**where, firewall_resource=compute_v1.Firewall(name="rule", denied=ALL))
    updated = firewalls.get(**where)
    assert (list(updated.denied), list(updated.allowed), updated.priority) == (ALL, [], 1000)
    assert (list(updated.source_ranges), updated.network) == (["0.0.0.0/0"], vpc.link("global/networks/one"))
    with pytest.raises(BadRequest, match=r"resource.direction"):
        firewalls.patch_unary(**where, firewall_resource=compute_v1.Firewall(direction="EGRESS"))


def test_the_strongest_rule_comes_first(vpc: Vpc) -> None:
    """Source: https://cloud.google.com/firewall/docs/firewalls#priority_order_for_firewall_rules"""
    make(vpc, "late", allowed=SSH, priority=2000)
    make(vpc, "allow", allowed=SSH)
    make(vpc, "deny", denied=ALL)
    effective = vpc.client(compute_v1.NetworksClient).get_effective_firewalls(project=vpc.project, network="one")
    assert [each.name for each in effective.firewalls] == ["deny", "allow", "late"]


def test_it_keeps_its_network(vpc: Vpc, firewalls: compute_v1.FirewallsClient) -> None:
    """Source: GoogleCloudPlatform/terraform-google-three-tier-web-app#167"""
    make(vpc, allowed=SSH)
    networks = vpc.client(compute_v1.NetworksClient)
    failed = networks.delete_unary(project=vpc.project, network="one").error.errors
    assert f"already being used by 'projects/{vpc.project}/global/firewalls/rule'" in failed[0].message
    firewalls.delete_unary(project=vpc.project, firewall="rule")
    assert not networks.delete_unary(project=vpc.project, network="one").error.errors


def test_it_is_part_of_the_networks_policy(vpc: Vpc) -> None:
    """Source: https://cloud.google.com/compute/docs/reference/rest/v1/firewalls/insert#iam-permissions; the words:
    forseti-security/forseti-security#3424."""
    member, project = "user:limited@example.com", f"projects/{vpc.project}"
    limited = Vpc(vpc.google, member)
    with pytest.raises(
        Exception, match=f"Required 'compute.firewalls.create' permission for '{project}/global/firewalls/rule'"
    ):
        make(limited, allowed=SSH)
    everything = {f"compute.firewalls.{verb}" for verb in ("create", "delete", "get", "update")}
    vpc.google.cloud.access.custom_roles[f"{project}/roles/walls"] = everything
    vpc.google.grant(f"{project}/roles/walls", member)
    make(vpc, allowed=SSH)
    words = f"Required 'compute.networks.updatePolicy' permission for '{project}/global/networks/one'"
    theirs = limited.client(compute_v1.FirewallsClient)
    for attempt in (
        lambda: make(limited, "another", allowed=SSH),
        lambda: theirs.delete_unary(project=vpc.project, firewall="rule"),
        lambda: theirs.patch_unary(
            project=vpc.project, firewall="rule", firewall_resource=compute_v1.Firewall(priority=1)
        ),
    ):
        with pytest.raises(Exception, match=words):
            attempt()
    everything.add("compute.networks.updatePolicy")
    make(limited, "another", allowed=SSH)
