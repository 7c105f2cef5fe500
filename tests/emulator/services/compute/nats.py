"""Cloud NAT: what a router's `nats` may say.

Sources: https://cloud.google.com/compute/docs/reference/rest/v1/routers, https://cloud.google.com/nat/docs/overview
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.emulator import errors
from tests.emulator.cloud import Cloud
from tests.emulator.kind import Body
from tests.emulator.services.compute.base import check_name
from tests.emulator.services.compute.networking import wrong
from tests.emulator.world import Record, relative

NOT_EMULATED = ("rules", "nat64Subnetworks", "sourceSubnetworkIpRangesToNat64")
DEFAULTS = {"type": "PUBLIC", "endpointTypes": ["ENDPOINT_TYPE_VM"], "enableEndpointIndependentMapping": False}
LISTED = "LIST_OF_SUBNETWORKS"
SECONDARY = "LIST_OF_SECONDARY_IP_RANGES"


def settle_nats(cloud: Cloud, router: Record) -> None:
    """Complete and check all NATs of a router, which has the links in them in full."""
    nats = router.body.get("nats", [])
    names = [nat.get("name", "") for nat in nats]
    for number, nat in enumerate(nats):
        where = f"nats[{number}]"
        check_name(names[number], f"resource.{where}.name")
        if names.index(names[number]) != number:  # no source for the words
            raise wrong(f"{where}.name", names[number], "Nat names must be unique within a router.")
        _settle(nat, where)
        _check_addresses(cloud, router, nat, where)
        _check_sources(cloud, router, nat, where)
        _check_others(nat, where, [*nats[:number], *_of_others(cloud, router)])


def _settle(nat: Body, where: str) -> None:
    for field in NOT_EMULATED:
        if nat.get(field):
            raise errors.not_emulated(f"{field} of a NAT")
    for key, value in DEFAULTS.items():
        nat.setdefault(key, list(value) if isinstance(value, list) else value)
    if nat["type"] != "PUBLIC" or nat["endpointTypes"] != ["ENDPOINT_TYPE_VM"]:
        raise errors.not_emulated("a NAT that is not a public one for machines")
    if nat.get("enableDynamicPortAllocation"):
        _check_ports(nat, where)


def _check_ports(nat: Body, where: str) -> None:
    """Source: the reference says of dynamic ports what they exclude; no source for the words."""
    if nat["enableEndpointIndependentMapping"]:
        raise wrong(f"{where}.enableEndpointIndependentMapping", "true", "Not with dynamic port allocation.")
    for field in ("minPortsPerVm", "maxPortsPerVm"):
        ports = nat.get(field, 64)
        if ports < 32 or ports & (ports - 1):
            raise wrong(f"{where}.{field}", ports, "Must be a power of two, 32 at least.")


def _check_addresses(cloud: Cloud, router: Record, nat: Body, where: str) -> None:
    """Google's own addresses, or the caller's, which must be external ones of the region. No source for the words."""
    option, given = nat.get("natIpAllocateOption"), nat.get("natIps", [])
    if option is None:
        raise wrong(f"{where}.natIpAllocateOption", "", "A Nat IP allocation option must be specified.")
    if option == "AUTO_ONLY" and given:
        raise wrong(f"{where}.natIps", given[0], "No Nat IPs should be provided with AUTO_ONLY.")
    if option == "MANUAL_ONLY" and not given:
        raise wrong(f"{where}.natIps", "", "At least one Nat IP must be provided with MANUAL_ONLY.")
    if option == "AUTO_ONLY":
        nat.setdefault("autoNetworkTier", "PREMIUM")
    for number, link in enumerate(given):
        address = cloud.world.records[f"compute/{relative(link)}"]
        if address.body["addressType"] != "EXTERNAL" or address.name.split("/")[3:5] != router.name.split("/")[3:5]:
            raise wrong(f"{where}.natIps[{number}]", link, "Must be an external address of the router's region.")


def _check_sources(cloud: Cloud, router: Record, nat: Body, where: str) -> None:
    """Which subnetworks. Source of the words: terraform-google-modules/terraform-google-cloud-router#8 (secondary)."""
    option, listed = nat.get("sourceSubnetworkIpRangesToNat"), nat.get("subnetworks", [])
    if option is None:
        raise wrong(f"{where}.sourceSubnetworkIpRangesToNat", "", "The ranges to Nat must be specified.")
    if (option == LISTED) != bool(listed):
        raise wrong(f"{where}.subnetworks", "", f"Subnetworks are given with {LISTED}, and only with it.")
    for number, each in enumerate(listed):
        here = f"{where}.subnetworks[{number}]"
        subnetwork = cloud.world.records[f"compute/{relative(each['name'])}"]
        if subnetwork.body["network"] != router.body["network"]:
            raise wrong(f"{here}.name", each["name"], "The subnetwork is not in the router's network.")
        if not each.setdefault("sourceIpRangesToNat", ["ALL_IP_RANGES"]):
            each["sourceIpRangesToNat"] = ["ALL_IP_RANGES"]
        if each.get("secondaryIpRangeNames") and SECONDARY not in each["sourceIpRangesToNat"]:
            words = f"No secondary IP ranges should be provided if the subnetwork is not configured with {SECONDARY}."
            raise wrong(f"{here}.secondaryIpRangeNames", "", words)


def _of_others(cloud: Cloud, router: Record) -> Iterator[Body]:
    """NATs of the other routers of the same network and region."""
    for other in cloud.world.of("compute.routers"):
        near = other.name.rpartition("/")[0] == router.name.rpartition("/")[0]
        if near and other.name != router.name and other.body["network"] == router.body["network"]:
            yield from other.body.get("nats", ())


def _check_others(nat: Body, where: str, others: list[Body]) -> None:
    """A range goes through one NAT.

    Source of the words: google/osv.dev#5629, forseti-security/terraform-google-forseti#203.
    """
    option = nat["sourceSubnetworkIpRangesToNat"]
    for other in others:
        theirs = other["sourceSubnetworkIpRangesToNat"]
        if theirs != LISTED or option != LISTED:
            words = f"Can not create new Nats since a Nat with option {theirs} exists."
            raise wrong(f"{where}.sourceSubnetworkIpRangesToNat", option, words)
        taken = {each["name"]: each["sourceIpRangesToNat"] for each in other["subnetworks"]}
        for number, each in enumerate(nat["subnetworks"]):
            if each["name"] in taken:
                words = (
                    f"The subnetwork is already configured with {taken[each['name']][0]} for Nat which conflicts with "
                    "the specified IpRangeToNatOption options in this Nat."
                )
                raise wrong(f"{where}.subnetworks[{number}].sourceIpRangesToNat", "", words)
