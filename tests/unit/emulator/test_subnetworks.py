"""Subnetworks through google-cloud-compute. Source: https://cloud.google.com/vpc/docs/subnets"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from google.api_core.exceptions import BadRequest, NotFound, PreconditionFailed
from google.cloud import compute_v1

from tests.unit.emulator.conftest import Emulated
from tests.unit.emulator.vpc import REGION, Vpc


@pytest.fixture
def vpc(google: Emulated) -> Vpc:
    """A project with a network called one."""
    made = Vpc(google)
    made.network("one")
    return made


@pytest.fixture
def subnetworks(vpc: Vpc) -> compute_v1.SubnetworksClient:
    return vpc.client(compute_v1.SubnetworksClient)


def read(vpc: Vpc, name: str = "sub") -> compute_v1.Subnetwork:
    client = vpc.client(compute_v1.SubnetworksClient)
    return client.get(project=vpc.project, region=REGION, subnetwork=name)


def patch(vpc: Vpc, **fields: Any) -> None:
    body = compute_v1.Subnetwork(**fields)
    vpc.client(compute_v1.SubnetworksClient).patch_unary(
        project=vpc.project, region=REGION, subnetwork="sub", subnetwork_resource=body
    )


def ranges(**named: str) -> list[compute_v1.SubnetworkSecondaryRange]:
    return [compute_v1.SubnetworkSecondaryRange(range_name=name, ip_cidr_range=cidr) for name, cidr in named.items()]


def test_a_subnetwork_gets_its_gateway_and_defaults(vpc: Vpc) -> None:
    vpc.subnetwork(cidr="10.1.2.0/24")
    made = read(vpc)
    assert (made.gateway_address, made.purpose, made.stack_type) == ("10.1.2.1", "PRIVATE", "IPV4_ONLY")
    assert made.network == vpc.link("global/networks/one")
    assert (made.region, made.private_ip_google_access) == (vpc.link(f"regions/{REGION}"), False)


@pytest.mark.parametrize("cidr", ["10.0.0.1/24", "10.0.0.0", "10.0.0.0/30", "127.0.0.0/24", "169.254.0.0/24", "10/8"])
def test_a_range_that_no_subnetwork_may_have(vpc: Vpc, cidr: str) -> None:
    """Source: https://cloud.google.com/vpc/docs/subnets#ipv4-ranges"""
    with pytest.raises(BadRequest, match=f"'resource.ipCidrRange': '{cidr}'"):
        vpc.subnetwork(cidr=cidr)


def test_a_range_overlaps_no_other_of_the_network(vpc: Vpc) -> None:
    """Source of the words: tranquilitybase-io/tb-gcp#160."""
    vpc.subnetwork("a", "192.168.0.0/24", region="us-east1")
    words = (
        "Invalid value for field 'resource.ipCidrRange': '192.168.0.0/28'. Invalid IPCidrRange: 192.168.0.0/28 "
        "conflicts with existing subnetwork 'a' in region 'us-east1'."
    )
    with pytest.raises(BadRequest, match=words):
        vpc.subnetwork("b", "192.168.0.0/28")
    vpc.network("two")
    vpc.subnetwork("c", "192.168.0.0/28", network="two")


def test_secondary_ranges_are_named_once_and_overlap_nothing(vpc: Vpc) -> None:
    """Source of the words: terraform-google-modules/terraform-google-network#20."""
    vpc.subnetwork(secondary_ip_ranges=ranges(pods="10.4.0.0/16"))
    with pytest.raises(
        BadRequest, match=r"secondaryIpRanges\[0\].ipCidrRange.*conflicts with existing subnetwork 'sub'"
    ):
        vpc.subnetwork("b", "10.0.1.0/24", secondary_ip_ranges=ranges(pods="10.4.8.0/24"))
    with pytest.raises(BadRequest, match=r"secondaryIpRanges\[1\].rangeName"):
        twice = ranges(pods="10.5.0.0/16") + ranges(pods="10.6.0.0/16")
        vpc.subnetwork("b", "10.0.1.0/24", secondary_ip_ranges=twice)
    with pytest.raises(BadRequest, match=r"secondaryIpRanges\[0\].ipCidrRange"):
        vpc.subnetwork("b", "10.0.1.0/24", secondary_ip_ranges=ranges(own="10.0.1.0/28"))


def test_a_missing_network_and_an_unknown_region(vpc: Vpc) -> None:
    """Source of the words: skyplane-project/skyplane#683 (404)."""
    with pytest.raises(NotFound, match=f"The resource 'projects/{vpc.project}/global/networks/none' was not found"):
        vpc.subnetwork(network="none")
    with pytest.raises(BadRequest, match=r"Invalid value for field 'region': 'moon-east1'. Unknown region."):
        vpc.subnetwork(region="moon-east1")
    with pytest.raises(BadRequest, match="Cross-project references"):
        vpc.subnetwork(network="projects/another/global/networks/one")


def test_a_patch_needs_the_present_fingerprint(vpc: Vpc) -> None:
    """Sources: hashicorp/terraform-provider-google#1469 (none), the reference (412)."""
    vpc.subnetwork()
    first = read(vpc).fingerprint
    with pytest.raises(BadRequest, match=r"Required field 'resource.fingerprint' not specified"):
        patch(vpc, secondary_ip_ranges=ranges(pods="10.4.0.0/16"))
    patch(vpc, fingerprint=first, secondary_ip_ranges=ranges(pods="10.4.0.0/16"))
    assert [each.range_name for each in read(vpc).secondary_ip_ranges] == ["pods"]
    with pytest.raises(PreconditionFailed, match="Invalid fingerprint") as caught:
        patch(vpc, fingerprint=first, secondary_ip_ranges=ranges(services="10.5.0.0/16"))
    assert caught.value.errors[0]["reason"] == "conditionNotMet"
    with pytest.raises(BadRequest, match=r"resource.ipCidrRange"):
        patch(vpc, fingerprint=read(vpc).fingerprint, ip_cidr_range="10.9.0.0/24")


def test_flow_logs_are_one_switch_with_two_names(vpc: Vpc) -> None:
    """Source: `enableFlowLogs` and `logConfig` in the reference."""
    vpc.subnetwork(log_config=compute_v1.SubnetworkLogConfig(enable=True))
    made = read(vpc)
    assert (made.enable_flow_logs, made.log_config.flow_sampling) == (True, 0.5)
    patch(vpc, fingerprint=made.fingerprint, log_config=compute_v1.SubnetworkLogConfig(enable=False))
    assert not read(vpc).enable_flow_logs
    with pytest.raises(BadRequest, match=r"logConfig.flowSampling"):
        vpc.subnetwork("b", "10.0.1.0/24", log_config=compute_v1.SubnetworkLogConfig(flow_sampling=0.1))


def test_a_range_is_expanded_never_shrunk(vpc: Vpc, subnetworks: compute_v1.SubnetworksClient) -> None:
    """Source: https://cloud.google.com/vpc/docs/create-modify-vpc-networks#expand-subnet"""
    vpc.subnetwork(cidr="10.0.2.0/24")
    vpc.subnetwork("b", "10.0.4.0/24")

    def expand(cidr: str) -> None:
        request = compute_v1.SubnetworksExpandIpCidrRangeRequest(ip_cidr_range=cidr)
        subnetworks.expand_ip_cidr_range_unary(
            project=vpc.project,
            region=REGION,
            subnetwork="sub",
            subnetworks_expand_ip_cidr_range_request_resource=request,
        )

    for cidr in ("10.0.2.0/25", "10.0.2.0/24", "10.1.0.0/16"):
        with pytest.raises(BadRequest, match="must contain the current range"):
            expand(cidr)
    with pytest.raises(BadRequest, match="conflicts with existing subnetwork 'b'"):
        expand("10.0.0.0/16")
    before = read(vpc).fingerprint
    expand("10.0.2.0/23")
    assert (read(vpc).ip_cidr_range, read(vpc).gateway_address) == ("10.0.2.0/23", "10.0.2.1")
    assert read(vpc).fingerprint != before
    routes = {each.dest_range for each in vpc.client(compute_v1.RoutesClient).list(project=vpc.project)}
    assert routes == {"0.0.0.0/0", "10.0.2.0/23", "10.0.4.0/24"}


def test_private_google_access_is_switched(vpc: Vpc, subnetworks: compute_v1.SubnetworksClient) -> None:
    """Source: https://cloud.google.com/vpc/docs/configure-private-google-access"""
    vpc.subnetwork()
    request = compute_v1.SubnetworksSetPrivateIpGoogleAccessRequest(private_ip_google_access=True)
    subnetworks.set_private_ip_google_access_unary(
        project=vpc.project,
        region=REGION,
        subnetwork="sub",
        subnetworks_set_private_ip_google_access_request_resource=request,
    )
    assert read(vpc).private_ip_google_access


def test_in_use_it_is_not_deleted(vpc: Vpc, subnetworks: compute_v1.SubnetworksClient) -> None:
    """Source of the words: genevieve/leftovers#6."""
    vpc.subnetwork()
    vpc.address(subnetwork=vpc.link(f"regions/{REGION}/subnetworks/sub"), address_type="INTERNAL")
    name = f"projects/{vpc.project}/regions/{REGION}"
    words = f"The subnetwork resource '{name}/subnetworks/sub' is already being used by '{name}/addresses/ip'"
    with pytest.raises(BadRequest, match=words) as caught:
        subnetworks.delete_unary(project=vpc.project, region=REGION, subnetwork="sub")
    assert caught.value.errors[0]["reason"] == "resourceInUseByAnotherResource"


def test_what_is_gone_holds_it_for_a_while(slow_google: Emulated) -> None:
    """Source: https://cloud.google.com/run/docs/configuring/vpc-direct-vpc#delete-subnet"""
    vpc, world = Vpc(slow_google), slow_google.cloud.world
    vpc.network("one")
    slow_google.advance(60)
    vpc.subnetwork()
    slow_google.advance(60)
    name = f"projects/{vpc.project}/regions/{REGION}"
    holder = f"compute/{name}/addresses/serverless-ipv4-1"
    world.hold(f"compute/{name}/subnetworks/sub", holder, world.clock.now() + timedelta(hours=1))

    def delete() -> None:
        """With a token of its own: one lasts no longer than the hold."""
        subnetworks = vpc.client(compute_v1.SubnetworksClient)
        subnetworks.delete_unary(project=vpc.project, region=REGION, subnetwork="sub")

    with pytest.raises(BadRequest, match=f"being used by '{name}/addresses/serverless-ipv4-1'"):
        delete()
    slow_google.advance(3600)
    delete()
    slow_google.advance(60)
    with pytest.raises(NotFound):
        read(vpc)


def test_its_policy_is_its_own(vpc: Vpc, subnetworks: compute_v1.SubnetworksClient) -> None:
    """Source: https://cloud.google.com/vpc/docs/access-control"""
    vpc.subnetwork()
    who, where = "user:networker@example.com", {"project": vpc.project, "region": REGION, "resource": "sub"}
    binding = compute_v1.Binding(role="roles/compute.networkUser", members=[who])
    policy = subnetworks.get_iam_policy(**where)
    request = compute_v1.RegionSetPolicyRequest(policy=compute_v1.Policy(bindings=[binding], etag=policy.etag))
    subnetworks.set_iam_policy(**where, region_set_policy_request_resource=request)
    assert list(subnetworks.get_iam_policy(**where).bindings) == [binding]
    theirs = Vpc(vpc.google, who).client(compute_v1.SubnetworksClient)
    asked = compute_v1.TestPermissionsRequest(permissions=["compute.subnetworks.use", "compute.subnetworks.delete"])
    allowed = theirs.test_iam_permissions(**where, test_permissions_request_resource=asked)
    assert list(allowed.permissions) == ["compute.subnetworks.use"]


def test_lists_over_all_regions(vpc: Vpc, subnetworks: compute_v1.SubnetworksClient) -> None:
    vpc.subnetwork()
    found = dict(subnetworks.aggregated_list(project=vpc.project))
    assert [each.name for each in found[f"regions/{REGION}"].subnetworks] == ["sub"]
    assert found["regions/us-central1"].warning.code == "NO_RESULTS_ON_PAGE"
    usable = list(subnetworks.list_usable(project=vpc.project))
    assert [(each.ip_cidr_range, each.subnetwork) for each in usable] == [
        ("10.0.0.0/24", vpc.link(f"regions/{REGION}/subnetworks/sub"))
    ]
