"""Lists of Compute Engine through google-cloud-compute: filters, order, pages, scopes; regions and zones.

Source: https://cloud.google.com/compute/docs/reference/rest/v1/firewalls/list (its parameters), https://google.aip.dev/160
"""

from __future__ import annotations

import pytest
from google.api_core.exceptions import BadRequest, NotFound
from google.cloud import compute_v1

from tests.unit.emulator.conftest import Emulated
from tests.unit.emulator.vpc import REGION, Vpc

RULES = {"web-1": (100, False), "web-2": (200, True), "db-1": (1000, False)}


@pytest.fixture
def vpc(google: Emulated) -> Vpc:
    """A project with a network and three firewall rules, made one second after the other."""
    made = Vpc(google)
    made.network("one")
    client = made.client(compute_v1.FirewallsClient)
    for name, (priority, disabled) in RULES.items():
        body = compute_v1.Firewall(name=name, network="global/networks/one", priority=priority, disabled=disabled)
        body.allowed = [compute_v1.Allowed(I_p_protocol="tcp", ports=["22", "443"])]
        client.insert_unary(project=made.project, firewall_resource=body)
        google.advance(1)
    return made


def listed(vpc: Vpc, **fields: object) -> list[str]:
    request = compute_v1.ListFirewallsRequest(project=vpc.project, **fields)
    return [each.name for each in vpc.client(compute_v1.FirewallsClient).list(request=request)]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("name = web-1", ["web-1"]),
        ("name=web-*", ["web-1", "web-2"]),
        ('name != "web-1"', ["db-1", "web-2"]),
        ("name:web", ["web-1", "web-2"]),
        ("disabled = true", ["web-2"]),
        ("priority > 150", ["db-1", "web-2"]),
        ("priority <= 200", ["web-1", "web-2"]),
        ("(priority = 100)(disabled = false)", ["web-1"]),
        ("(priority = 100) OR (name = db-1)", ["db-1", "web-1"]),
        ("name = db-1 OR name = web-1 AND disabled = true", []),
        ("NOT name:web", ["db-1"]),
        ("-(name:web AND disabled=true)", ["db-1", "web-1"]),
        ("allowed.ports = 443 AND logConfig.enable = false", ["db-1", "web-1", "web-2"]),
        ("description:*", ["db-1", "web-1", "web-2"]),
        ("targetTags:*", []),
        ("name eq web-.*", ["web-1", "web-2"]),
        ("name ne '.*-1'", ["web-2"]),
        ('(name eq "web-.*") (disabled eq false)', ["web-1"]),
        ("name eq web", []),
    ],
)
def test_what_a_filter_keeps(vpc: Vpc, text: str, names: list[str]) -> None:
    assert listed(vpc, filter=text) == names


@pytest.mark.parametrize(
    "text",
    [
        "name",
        "name = ",
        "(name = a",
        "name = a)",
        "nonsense = a",
        "name.first = a",
        "name ~ a",
        "name eq [",
        "(name eq a) (disabled = false)",
        "(name eq a) OR (name eq b)",
    ],
)
def test_what_is_no_filter(vpc: Vpc, text: str) -> None:
    """The two languages are not mixed; an unknown field is no field: https://google.aip.dev/160#validation."""
    with pytest.raises(BadRequest, match=r"Invalid value for field 'filter'.*Invalid list filter expression"):
        listed(vpc, filter=text)


def test_the_order_is_by_name_or_the_newest_first(vpc: Vpc) -> None:
    assert listed(vpc) == ["db-1", "web-1", "web-2"]
    assert listed(vpc, order_by="name") == ["db-1", "web-1", "web-2"]
    assert listed(vpc, order_by="creationTimestamp desc") == ["db-1", "web-2", "web-1"]
    with pytest.raises(BadRequest, match="orderBy"):
        listed(vpc, order_by="priority")


def test_pages(vpc: Vpc) -> None:
    request = compute_v1.ListFirewallsRequest(project=vpc.project, max_results=2)
    pages = list(vpc.client(compute_v1.FirewallsClient).list(request=request).pages)
    assert [[each.name for each in page.items] for page in pages] == [["db-1", "web-1"], ["web-2"]]
    assert [bool(page.next_page_token) for page in pages] == [True, False]
    with pytest.raises(BadRequest, match=r"Values must be within the range: \[0, 500\]"):
        listed(vpc, max_results=501)
    with pytest.raises(BadRequest, match="pageToken"):
        listed(vpc, page_token="another")


def test_an_aggregated_list_has_all_scopes_on_request(vpc: Vpc) -> None:
    """Source: `includeAllScopes` in the reference."""
    client = vpc.client(compute_v1.SubnetworksClient)
    scopes = dict(client.aggregated_list(project=vpc.project)).keys()
    assert {scope.partition("/")[0] for scope in scopes} == {"regions"}
    request = compute_v1.AggregatedListSubnetworksRequest(project=vpc.project, include_all_scopes=True)
    everywhere = dict(client.aggregated_list(request=request)).keys()
    assert {scope.partition("/")[0] for scope in everywhere} == {"global", "regions", "zones"}


def test_an_aggregated_list_is_filtered_too(vpc: Vpc) -> None:
    vpc.subnetwork("a", "10.0.0.0/24")
    vpc.subnetwork("b", "10.0.1.0/24")
    request = compute_v1.AggregatedListSubnetworksRequest(project=vpc.project, filter="ipCidrRange = 10.0.1.0/24")
    found = dict(vpc.client(compute_v1.SubnetworksClient).aggregated_list(request=request))
    assert [each.name for each in found[f"regions/{REGION}"].subnetworks] == ["b"]


def test_what_shared_vpc_and_utilization_would_show_is_not_emulated(vpc: Vpc) -> None:
    request = compute_v1.AggregatedListSubnetworksRequest(project=vpc.project, service_project_number=1)
    with pytest.raises(Exception, match="is not emulated"):
        list(vpc.client(compute_v1.SubnetworksClient).aggregated_list(request=request))
    with pytest.raises(Exception, match="views of a subnetwork is not emulated"):
        list(
            vpc.client(compute_v1.SubnetworksClient).list(
                compute_v1.ListSubnetworksRequest(project=vpc.project, region=REGION, views="WITH_UTILIZATION")
            )
        )


def test_a_resource_is_found_by_its_number(vpc: Vpc) -> None:
    client = vpc.client(compute_v1.FirewallsClient)
    number = client.get(project=vpc.project, firewall="web-1").id
    assert client.get(project=vpc.project, firewall=str(number)).name == "web-1"


def test_regions_have_zones_and_zones_a_region(vpc: Vpc) -> None:
    """Source: https://cloud.google.com/compute/docs/regions-zones"""
    regions, zones = vpc.client(compute_v1.RegionsClient), vpc.client(compute_v1.ZonesClient)
    region = regions.get(project=vpc.project, region=REGION)
    assert (region.status, list(region.zones)) == ("UP", [vpc.link(f"zones/{REGION}-{letter}") for letter in "bcd"])
    vpc.address()
    limits = {each.metric: each.usage for each in regions.get(project=vpc.project, region=REGION).quotas}
    assert limits["STATIC_ADDRESSES"] == 1
    assert zones.get(project=vpc.project, zone=f"{REGION}-b").region == vpc.link(f"regions/{REGION}")
    assert REGION in [each.name for each in regions.list(project=vpc.project)]
    only = compute_v1.ListZonesRequest(project=vpc.project, filter=f'region eq ".*{REGION}"')
    assert [each.name for each in zones.list(request=only)] == [f"{REGION}-{letter}" for letter in "bcd"]
    with pytest.raises(NotFound, match="regions/moon-east1' was not found"):
        regions.get(project=vpc.project, region="moon-east1")
