"""Addresses through google-cloud-compute. Source: https://cloud.google.com/vpc/docs/ip-addresses"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest
from google.api_core.exceptions import BadRequest, Conflict, PreconditionFailed
from google.cloud import compute_v1

from tests.unit.emulator.vpc import REGION, Vpc


def internal(vpc: Vpc, name: str = "ip", **fields: Any) -> compute_v1.Address:
    return vpc.address(name, subnetwork=f"regions/{REGION}/subnetworks/sub", address_type="INTERNAL", **fields)


def reserve(vpc: Vpc, name: str = "range", **fields: Any) -> compute_v1.Operation:
    """A range for private services access."""
    asked = {"purpose": "VPC_PEERING", "address_type": "INTERNAL", "network": "global/networks/one"} | fields
    client = vpc.client(compute_v1.GlobalAddressesClient)
    body = compute_v1.Address(name=name, **asked)
    operation: compute_v1.Operation = client.insert_unary(project=vpc.project, address_resource=body)
    return operation


def test_an_external_address_is_one_of_its_own(vpc: Vpc) -> None:
    one, two = vpc.address("one"), vpc.address("two")
    assert (one.address_type, one.network_tier, one.status) == ("EXTERNAL", "PREMIUM", "RESERVED")
    assert ip_address(one.address).is_global
    assert one.address != two.address


def test_an_external_address_is_not_the_callers_choice(vpc: Vpc) -> None:
    """Source: https://cloud.google.com/vpc/docs/reserve-static-external-ip-address#promote_ephemeral_ip"""
    with pytest.raises(BadRequest, match=r"resource.address"):
        vpc.address(address="8.8.8.8")


def test_an_internal_address_is_the_first_free_one(vpc: Vpc) -> None:
    """Source: https://cloud.google.com/vpc/docs/subnets#unusable-ip-addresses-in-every-subnet"""
    assert internal(vpc, "a", address="10.0.0.3").address == "10.0.0.3"
    assert [internal(vpc, name).address for name in ("b", "c")] == ["10.0.0.2", "10.0.0.4"]
    assert internal(vpc, "d").purpose == "GCE_ENDPOINT"


def test_an_internal_address_of_the_callers_choice(vpc: Vpc) -> None:
    """Source of the words: kubernetes/ingress-gce and its #2735."""
    for address in ("10.0.1.5", "10.0.0.0", "10.0.0.1", "10.0.0.254", "10.0.0.255"):
        with pytest.raises(BadRequest, match="Requested internal IP address is outside the network/subnetwork range"):
            internal(vpc, address=address)
    internal(vpc, "taken", address="10.0.0.9")
    with pytest.raises(Conflict, match=r"IP '10.0.0.9' is already being used by another resource"):
        internal(vpc, address="10.0.0.9")


def test_a_full_subnetwork(vpc: Vpc) -> None:
    """Source of the words: Privatehive/gcp-hosted-github-runner#7."""
    vpc.subnetwork("small", "10.1.0.0/29")
    for number in range(4):
        vpc.address(f"ip{number}", subnetwork=f"regions/{REGION}/subnetworks/small", address_type="INTERNAL")
    with pytest.raises(BadRequest, match=r"Insufficient free IP addresses in the IP range '10.1.0.0/29'"):
        vpc.address("more", subnetwork=f"regions/{REGION}/subnetworks/small", address_type="INTERNAL")


def test_an_internal_address_needs_a_subnetwork(vpc: Vpc) -> None:
    """Source of the words: hashicorp/terraform#19507."""
    with pytest.raises(BadRequest, match="No default subnetwork was found for an address with type INTERNAL"):
        vpc.address(address_type="INTERNAL")


LONG = "a" * 64


@pytest.mark.parametrize("labels", [{"version": "3.8.3"}, {"a": "10.0.0.1/24"}, {"A": "b"}, {"1": "b"}, {"a": LONG}])
def test_labels_follow_the_rule(vpc: Vpc, labels: dict[str, str]) -> None:
    """Source: GoogleCloudPlatform/k8s-config-connector#363, an address; scylladb/scylla-cluster-tests#13147."""
    with pytest.raises(
        BadRequest, match=r"'resource.labels': ''. Label .* violates format constraints. The (key|value)"
    ):
        vpc.address(labels=labels)
    vpc.address(labels={"a": "", "b-1_c": "380-a_" + "a" * 57, "größe": "groß"})
    addresses = vpc.client(compute_v1.AddressesClient)
    where = {"project": vpc.project, "region": REGION}
    fingerprint = addresses.get(**where, address="ip").label_fingerprint
    request = compute_v1.RegionSetLabelsRequest(labels=labels, label_fingerprint=fingerprint)
    with pytest.raises(BadRequest, match=r"'labels': ''. Label .* violates format constraints"):
        addresses.set_labels_unary(**where, resource="ip", region_set_labels_request_resource=request)


def test_labels_carry_a_fingerprint(vpc: Vpc) -> None:
    """Source: https://cloud.google.com/compute/docs/labeling-resources"""
    made = vpc.address(labels={"a": "b"})
    addresses = vpc.client(compute_v1.AddressesClient)
    where = {"project": vpc.project, "region": REGION}

    def label(fingerprint: str) -> None:
        request = compute_v1.RegionSetLabelsRequest(labels={"c": "d"}, label_fingerprint=fingerprint)
        addresses.set_labels_unary(**where, resource="ip", region_set_labels_request_resource=request)

    label(made.label_fingerprint)
    assert dict(addresses.get(**where, address="ip").labels) == {"c": "d"}
    with pytest.raises(PreconditionFailed, match="Labels fingerprint"):
        label(made.label_fingerprint)


def test_a_nat_has_it_in_use(vpc: Vpc) -> None:
    """Source: https://cloud.google.com/compute/docs/reference/rest/v1/addresses (`status`, `users`)"""
    link = vpc.address().self_link
    nat = compute_v1.RouterNat(
        name="nat",
        nat_ip_allocate_option="MANUAL_ONLY",
        source_subnetwork_ip_ranges_to_nat="ALL_SUBNETWORKS_ALL_IP_RANGES",
        nat_ips=[link],
    )
    router = compute_v1.Router(name="router", network="global/networks/one", nats=[nat])
    where = {"project": vpc.project, "region": REGION}
    vpc.client(compute_v1.RoutersClient).insert_unary(**where, router_resource=router)
    addresses = vpc.client(compute_v1.AddressesClient)
    shown = addresses.get(**where, address="ip")
    assert (shown.status, list(shown.users)) == ("IN_USE", [vpc.link(f"regions/{REGION}/routers/router")])
    with pytest.raises(
        BadRequest, match=f"already being used by 'projects/{vpc.project}/regions/{REGION}/routers/router'"
    ):
        addresses.delete_unary(**where, address="ip")


def test_a_range_for_private_services_access(vpc: Vpc) -> None:
    """Source: https://cloud.google.com/vpc/docs/configure-private-services-access"""
    reserve(vpc, prefix_length=16)
    client = vpc.client(compute_v1.GlobalAddressesClient)
    made = client.get(project=vpc.project, address="range")
    assert (made.status, made.prefix_length, made.address) == ("RESERVED", 16, "10.1.0.0")
    assert made.self_link == vpc.link("global/addresses/range")
    with pytest.raises(BadRequest, match=r"10.1.2.0/24 conflicts with reserved IP range '10.1.0.0/16'"):
        vpc.subnetwork("b", "10.1.2.0/24")
    found = dict(vpc.client(compute_v1.AddressesClient).aggregated_list(project=vpc.project))
    assert [each.name for each in found["global"].addresses] == ["range"]


def test_a_range_that_is_taken_fails_in_the_operation(vpc: Vpc) -> None:
    """Source of the words: GoogleCloudPlatform/cloud-foundation-fabric#576."""
    reserve(vpc, "first", address="10.128.63.0", prefix_length=24)
    failed = reserve(vpc, "second", address="10.128.63.0", prefix_length=24).error.errors
    words = (
        "Invalid IP CIDR range: 10.128.63.0/24 conflicts with IP range 10.128.63.0/24 that was allocated by resource "
        f"projects/{vpc.project}/global/addresses/first."
    )
    assert [each.message for each in failed] == [words]
    names = [each.name for each in vpc.client(compute_v1.GlobalAddressesClient).list(project=vpc.project)]
    assert names == ["first"]


def test_what_a_range_may_not_say(vpc: Vpc) -> None:
    """Source of the words: hashicorp/terraform-provider-google#9649."""
    with pytest.raises(BadRequest, match=r"'VPC_PEERING'. The field cannot be specified with external address."):
        reserve(vpc, address_type="EXTERNAL", prefix_length=16)
    with pytest.raises(BadRequest, match=r"resource.prefixLength"):
        reserve(vpc)
    with pytest.raises(BadRequest, match="Must be a valid IPV4 CIDR"):
        reserve(vpc, address="10.0.0.5", prefix_length=16)


def test_internal_ones_have_permissions_of_their_own(vpc: Vpc) -> None:
    """Source: https://cloud.google.com/compute/docs/access/iam-permissions"""
    project = f"projects/{vpc.project}"
    vpc.google.cloud.access.custom_roles[f"{project}/roles/inside"] = {"compute.addresses.createInternal"}
    vpc.google.grant(f"{project}/roles/inside", "user:insider@example.com")
    insider = Vpc(vpc.google, "user:insider@example.com")
    with pytest.raises(Exception, match=r"Required 'compute.addresses.create' permission for"):
        insider.address()
    words = f"Required 'compute.subnetworks.use' permission for '{project}/regions/{REGION}/subnetworks/sub'"
    with pytest.raises(Exception, match=words):
        internal(insider)
