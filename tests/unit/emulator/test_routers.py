"""Routers and the NATs on them through google-cloud-compute. Source: https://cloud.google.com/nat/docs/overview"""

from __future__ import annotations

from typing import Any

import pytest
from google.api_core.exceptions import BadRequest, NotFound
from google.cloud import compute_v1

from tests.unit.emulator.vpc import REGION, Vpc

EVERYTHING = "ALL_SUBNETWORKS_ALL_IP_RANGES"


@pytest.fixture
def routers(vpc: Vpc) -> compute_v1.RoutersClient:
    return vpc.client(compute_v1.RoutersClient)


def nat(name: str = "nat", **fields: Any) -> compute_v1.RouterNat:
    asked = {"nat_ip_allocate_option": "AUTO_ONLY", "source_subnetwork_ip_ranges_to_nat": EVERYTHING} | fields
    return compute_v1.RouterNat(name=name, **{key: value for key, value in asked.items() if value is not None})


def listed(*ranges: str, **fields: Any) -> compute_v1.RouterNat:
    """A NAT for one subnetwork."""
    one = compute_v1.RouterNatSubnetworkToNat(
        name=f"regions/{REGION}/subnetworks/sub", source_ip_ranges_to_nat=list(ranges)
    )
    return nat(source_subnetwork_ip_ranges_to_nat="LIST_OF_SUBNETWORKS", subnetworks=[one], **fields)


def make(vpc: Vpc, *nats: compute_v1.RouterNat, name: str = "router", region: str = REGION) -> None:
    body = compute_v1.Router(name=name, network="global/networks/one", nats=list(nats))
    vpc.client(compute_v1.RoutersClient).insert_unary(project=vpc.project, region=region, router_resource=body)


def read(vpc: Vpc, name: str = "router") -> compute_v1.Router:
    return vpc.client(compute_v1.RoutersClient).get(project=vpc.project, region=REGION, router=name)


def test_a_router_with_a_nat(vpc: Vpc, routers: compute_v1.RoutersClient) -> None:
    make(vpc, nat())
    made = read(vpc).nats[0]
    assert (made.type_, list(made.endpoint_types), made.auto_network_tier) == (
        "PUBLIC",
        ["ENDPOINT_TYPE_VM"],
        "PREMIUM",
    )
    assert read(vpc).network == vpc.link("global/networks/one")
    routers.delete_unary(project=vpc.project, region=REGION, router="router")
    with pytest.raises(NotFound):
        read(vpc)


def test_nats_come_and_go_by_patch(vpc: Vpc, routers: compute_v1.RoutersClient) -> None:
    """As gcloud does it: the list is replaced whole. Source: https://cloud.google.com/nat/docs/set-up-manage-network-address-translation"""
    make(vpc)
    where = {"project": vpc.project, "region": REGION, "router": "router"}
    routers.patch_unary(**where, router_resource=compute_v1.Router(nats=[nat(min_ports_per_vm=128)]))
    assert [each.min_ports_per_vm for each in read(vpc).nats] == [128]
    body = compute_v1.Router(name="router", network="global/networks/one", description="new")
    routers.update_unary(**where, router_resource=body)
    assert (list(read(vpc).nats), read(vpc).description) == ([], "new")


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        (nat(nat_ip_allocate_option=None), "natIpAllocateOption"),
        (nat(source_subnetwork_ip_ranges_to_nat=None), "sourceSubnetworkIpRangesToNat"),
        (nat(nat_ip_allocate_option="MANUAL_ONLY"), "natIps"),
        (nat(source_subnetwork_ip_ranges_to_nat="LIST_OF_SUBNETWORKS"), "subnetworks"),
        (nat("Bad"), "name"),
        (nat(enable_dynamic_port_allocation=True, min_ports_per_vm=100), "minPortsPerVm"),
        (
            nat(enable_dynamic_port_allocation=True, enable_endpoint_independent_mapping=True),
            "enableEndpointIndependentMapping",
        ),
    ],
)
def test_what_a_nat_must_say(vpc: Vpc, wrong: compute_v1.RouterNat, field: str) -> None:
    """Source: `nats[]` in the reference."""
    with pytest.raises(BadRequest, match=rf"resource.nats\[0\].{field}'"):
        make(vpc, wrong)


def test_names_of_nats_are_unique_in_a_router(vpc: Vpc) -> None:
    with pytest.raises(BadRequest, match=r"resource.nats\[1\].name"):
        make(vpc, listed("PRIMARY_IP_RANGE"), nat())


def test_addresses_of_a_nat_exist_and_are_external(vpc: Vpc) -> None:
    """Source of the 404: terraform-google-modules/terraform-google-cloud-nat#74."""
    missing = f"projects/{vpc.project}/regions/{REGION}/addresses/none"
    with pytest.raises(NotFound, match=f"The resource '{missing}' was not found"):
        make(vpc, nat(nat_ip_allocate_option="MANUAL_ONLY", nat_ips=[missing]))
    inside = vpc.address(subnetwork=f"regions/{REGION}/subnetworks/sub", address_type="INTERNAL").self_link
    with pytest.raises(BadRequest, match=r"natIps\[0\]"):
        make(vpc, nat(nat_ip_allocate_option="MANUAL_ONLY", nat_ips=[inside]))
    with pytest.raises(BadRequest, match="natIps"):
        make(vpc, nat(nat_ips=[vpc.address("outside").self_link]))


def test_one_nat_for_everything(vpc: Vpc) -> None:
    """Source of the words: google/osv.dev#5629."""
    make(vpc, nat())
    words = f"Can not create new Nats since a Nat with option {EVERYTHING} exists."
    with pytest.raises(BadRequest, match=words):
        make(vpc, nat("other"), name="second")
    make(vpc, nat("other"), name="second", region="us-east1")


def test_one_nat_for_a_subnetwork(vpc: Vpc) -> None:
    """Source of the words: forseti-security/terraform-google-forseti#203."""
    make(vpc, listed())
    assert list(read(vpc).nats[0].subnetworks[0].source_ip_ranges_to_nat) == ["ALL_IP_RANGES"]
    with pytest.raises(BadRequest, match="The subnetwork is already configured with ALL_IP_RANGES for Nat"):
        make(vpc, listed("PRIMARY_IP_RANGE"), name="second")


def test_secondary_ranges_only_where_they_are_asked_for(vpc: Vpc) -> None:
    """Source of the words: terraform-google-modules/terraform-google-cloud-router#8."""
    wrong = listed("PRIMARY_IP_RANGE")
    wrong.subnetworks[0].secondary_ip_range_names = ["pods"]
    with pytest.raises(BadRequest, match="No secondary IP ranges should be provided if the subnetwork is not"):
        make(vpc, wrong)


def test_it_keeps_its_network_and_its_subnetworks(vpc: Vpc) -> None:
    make(vpc, listed())
    router = f"projects/{vpc.project}/regions/{REGION}/routers/router"
    with pytest.raises(BadRequest, match=f"already being used by '{router}'"):
        vpc.client(compute_v1.SubnetworksClient).delete_unary(project=vpc.project, region=REGION, subnetwork="sub")


def test_its_status_and_bgp_are_not_emulated(vpc: Vpc, routers: compute_v1.RoutersClient) -> None:
    make(vpc)
    with pytest.raises(Exception, match="is not emulated"):
        routers.get_router_status(project=vpc.project, region=REGION, router="router")
    body = compute_v1.Router(bgp_peers=[compute_v1.RouterBgpPeer(name="peer")])
    with pytest.raises(Exception, match="bgpPeers of a router is not emulated"):
        routers.patch_unary(project=vpc.project, region=REGION, router="router", router_resource=body)
