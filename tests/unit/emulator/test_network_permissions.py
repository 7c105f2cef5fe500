"""Who may change a network: besides the method's permission, those on what it refers to.

Source: "IAM Permissions" on the methods' pages of https://cloud.google.com/compute/docs/reference/rest/v1 and
world-federation-of-advertisers/cross-media-measurement#2956; no source found for routers and routes.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from google.api_core.exceptions import Forbidden
from google.cloud import compute_v1

from tests.unit.emulator.vpc import REGION, Vpc

LIMITED = "user:limited@example.com"
Attempt = Callable[[Vpc], object]


def limited(vpc: Vpc, *permissions: str) -> Vpc:
    """The same project for a caller who has these permissions alone."""
    role = f"projects/{vpc.project}/roles/limited"
    vpc.google.cloud.access.custom_roles[role] = set(permissions)
    vpc.google.grant(role, LIMITED)
    return Vpc(vpc.google, LIMITED)


def add_route(vpc: Vpc) -> None:
    body = compute_v1.Route(name="route", network="global/networks/one", dest_range="192.0.2.0/24", priority=1)
    body.next_hop_ip = "10.0.0.9"
    vpc.client(compute_v1.RoutesClient).insert_unary(project=vpc.project, route_resource=body)


def add_router(vpc: Vpc) -> None:
    body = compute_v1.Router(name="router", network="global/networks/one")
    vpc.client(compute_v1.RoutersClient).insert_unary(project=vpc.project, region=REGION, router_resource=body)


@pytest.mark.parametrize(
    ("permission", "attempt"),
    [
        ("compute.routes.create", add_route),
        ("compute.routers.create", add_router),
        ("compute.subnetworks.create", lambda vpc: vpc.subnetwork("b", "10.0.1.0/24")),
    ],
)
def test_what_is_part_of_a_networks_policy(vpc: Vpc, permission: str, attempt: Attempt) -> None:
    network = f"projects/{vpc.project}/global/networks/one"
    theirs = limited(vpc, permission)
    with pytest.raises(Forbidden, match=f"Required 'compute.networks.updatePolicy' permission for '{network}'"):
        attempt(theirs)
    limited(vpc, permission, "compute.networks.updatePolicy")
    attempt(theirs)


def test_a_reserved_range_uses_its_network(vpc: Vpc) -> None:
    """Source: https://cloud.google.com/vpc/docs/configure-private-services-access#permissions"""
    body = compute_v1.Address(name="range", purpose="VPC_PEERING", address_type="INTERNAL", prefix_length=24)
    body.network = "global/networks/one"
    theirs = limited(vpc, "compute.globalAddresses.createInternal").client(compute_v1.GlobalAddressesClient)
    words = f"Required 'compute.networks.use' permission for 'projects/{vpc.project}/global/networks/one'"
    with pytest.raises(Forbidden, match=words):
        theirs.insert_unary(project=vpc.project, address_resource=body)
    limited(vpc, "compute.globalAddresses.createInternal", "compute.networks.use")
    theirs.insert_unary(project=vpc.project, address_resource=body)


def test_a_subnetworks_own_policy_gives_its_use(vpc: Vpc) -> None:
    """Source: https://cloud.google.com/vpc/docs/access-control"""
    theirs = limited(vpc, "compute.addresses.createInternal", "compute.addresses.get")
    where = {"project": vpc.project, "region": REGION, "resource": "sub"}
    policy = compute_v1.Policy(bindings=[compute_v1.Binding(role="roles/compute.networkUser", members=[LIMITED])])
    request = compute_v1.RegionSetPolicyRequest(policy=policy)
    subnetwork = f"regions/{REGION}/subnetworks/sub"
    with pytest.raises(Forbidden, match=r"compute\.subnetworks\.use"):
        theirs.address(subnetwork=subnetwork, address_type="INTERNAL")
    vpc.client(compute_v1.SubnetworksClient).set_iam_policy(**where, region_set_policy_request_resource=request)
    assert theirs.address(subnetwork=subnetwork, address_type="INTERNAL").address == "10.0.0.2"


def test_a_network_admin_and_a_security_admin(vpc: Vpc) -> None:
    """Source: https://cloud.google.com/compute/docs/access/iam: firewalls are the one's, all else is the other's."""
    vpc.google.grant("roles/compute.networkAdmin", LIMITED)
    theirs = Vpc(vpc.google, LIMITED)
    theirs.network("two")
    body = compute_v1.Firewall(name="rule", network="global/networks/one")
    body.allowed = [compute_v1.Allowed(I_p_protocol="all")]
    firewalls = theirs.client(compute_v1.FirewallsClient)
    with pytest.raises(Forbidden, match=r"compute\.firewalls\.create"):
        firewalls.insert_unary(project=vpc.project, firewall_resource=body)
    vpc.google.grant("roles/compute.securityAdmin", LIMITED)
    firewalls.insert_unary(project=vpc.project, firewall_resource=body)
