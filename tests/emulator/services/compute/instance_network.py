"""Network interfaces of an instance: which subnetwork, which addresses.

Sources: https://cloud.google.com/compute/docs/ip-addresses,
https://cloud.google.com/vpc/docs/subnets#unusable-ip-addresses-in-every-subnet
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from tests.emulator import errors
from tests.emulator.cloud import Cloud
from tests.emulator.kind import Body
from tests.emulator.services.compute.base import fingerprint
from tests.emulator.services.compute.links import referenced
from tests.emulator.services.compute.ranges import free_address
from tests.emulator.world import Record, relative

NOT_DONE = ("aliasIpRanges", "ipv6AccessConfigs", "networkAttachment", "queueCount", "vlan", "parentNicName")


def interface(cloud: Cloud, project: str, zone: str, given: Body, number: int) -> Body:
    """The interface as the API shows it. It still lacks what `address` finds out.

    Source of the words: hashicorp/terraform-provider-google#175 (custom network), #2140 (subnetwork).
    """
    field = f"resource.networkInterfaces[{number}]"
    for name in NOT_DONE:
        if given.get(name):
            raise errors.not_emulated(f"a network interface with {name}")
    if given.get("stackType", "IPV4_ONLY") != "IPV4_ONLY":
        raise errors.not_emulated("a network interface with IPv6")
    network = given.get("network") or ("" if given.get("subnetwork") else "global/networks/default")
    named = referenced(cloud, network, project, f"{field}.network", "network") if network else None
    if not given.get("subnetwork"):
        words = "Subnetwork should be specified for custom subnetmode network"
        raise errors.invalid(f"Invalid value for field '{field}': ''. {words}")
    subnetwork = referenced(cloud, given["subnetwork"], project, f"{field}.subnetwork", "subnetwork")
    _check_place(subnetwork, named, zone, field)
    body = {"kind": "compute#networkInterface", "name": f"nic{number}", "stackType": "IPV4_ONLY"}
    body |= {"network": subnetwork.body["network"], "subnetwork": subnetwork.body["selfLink"]}
    chosen = {key: given[key] for key in ("networkIP", "nicType") if given.get(key)}
    if "accessConfigs" in given:
        external = [access_config(cloud, each, zone, f"{field}.accessConfigs[0]") for each in given["accessConfigs"]]
        chosen["accessConfigs"] = external
    return body | chosen


def _check_place(subnetwork: Record, network: Record | None, zone: str, field: str) -> None:
    """no source for the words; the rules are in https://cloud.google.com/vpc/docs/subnets"""
    path, region = relative(subnetwork.body["selfLink"]), zone.rpartition("-")[0]
    if subnetwork.body["region"].rpartition("/")[2] != region:
        words = f"Subnetwork '{path}' is not in region '{region}'."
        raise errors.invalid(f"Invalid value for field '{field}.subnetwork': '{path}'. {words}")
    if network is not None and network.body["selfLink"] != subnetwork.body["network"]:
        words = f"Subnetwork '{path}' does not belong to network '{relative(network.body['selfLink'])}'."
        raise errors.invalid(f"Invalid value for field '{field}.subnetwork': '{path}'. {words}")


def address(cloud: Cloud, body: Body, field: str) -> errors.ApiError | None:
    """Give an interface its internal address, a reserved one only where it is asked for; what is in the way ends the
    operation.

    Sources of the words: hashicorp/terraform#18998, GoogleCloudPlatform/compute-image-tools#659.
    """
    subnetwork = cloud.world.records[f"compute/{relative(body['subnetwork'])}"]
    wanted = body.get("networkIP")
    try:
        body["networkIP"] = wanted or free_address(cloud, subnetwork)
    except errors.ApiError as exhausted:
        body["networkIP"] = ""
        return exhausted
    body["fingerprint"] = fingerprint(body)
    if wanted and not _inside(subnetwork, wanted):
        words = "Requested internal IP address is outside the network/subnetwork range."
        raise errors.invalid(f"Invalid value for field '{field}.networkIP': '{wanted}'. {words}")
    if wanted and wanted in _held(cloud, body["subnetwork"]):
        words = f"IP '{wanted}' is already being used by another resource."
        return errors.invalid(words, reason="IP_IN_USE_BY_ANOTHER_RESOURCE")
    return None


def _inside(subnetwork: Record, wanted: str) -> bool:
    """All of the range but the first two and the last two addresses, which Google keeps."""
    primary = ipaddress.IPv4Network(subnetwork.body["ipCidrRange"])
    try:
        number = int(ipaddress.IPv4Address(wanted))
    except ValueError:
        return False
    return int(primary.network_address) + 2 <= number <= int(primary.broadcast_address) - 2


def _held(cloud: Cloud, subnetwork: str) -> set[str]:
    """Addresses that instances have in a subnetwork, given by its link."""
    parts = (part for each in cloud.world.of("compute.instances") for part in each.body["networkInterfaces"])
    return {part["networkIP"] for part in parts if part["subnetwork"] == subnetwork}


def access_config(cloud: Cloud, given: Body, zone: str, field: str) -> Body:
    """An external address: a reserved one, or any as long as the instance runs.

    Source of the words: hashicorp/terraform-provider-google#435.
    """
    if given.get("type", "ONE_TO_ONE_NAT") != "ONE_TO_ONE_NAT" or given.get("setPublicPtr"):
        raise errors.not_emulated("an access configuration of another type, or with a PTR record")
    region, wanted = zone.rpartition("-")[0], given.get("natIP")
    body = {"kind": "compute#accessConfig", "type": "ONE_TO_ONE_NAT", "name": given.get("name", "External NAT")}
    body["networkTier"] = given.get("networkTier", "PREMIUM")
    if not wanted:
        return body
    reserved = (each for each in cloud.world.of("compute.addresses") if each.body.get("address") == wanted)
    if not any(each.body.get("region", "").endswith(f"/{region}") for each in reserved):
        words = f"The specified external IP address '{wanted}' was not found in region '{region}'."
        raise errors.invalid(f"Invalid value for field '{field}.natIP': '{wanted}'. {words}")
    return body | {"natIP": wanted}


def go_online(cloud: Cloud, body: Body) -> None:
    """Give every access configuration without an address one, as each start does."""
    for each in _access_configs(body):
        each.setdefault("natIP", str(ipaddress.IPv4Address((34 << 24) + cloud.world.number() % 2**24)))


def go_offline(cloud: Cloud, body: Body) -> None:
    """Give up external addresses that are not reserved.

    Source: https://cloud.google.com/compute/docs/ip-addresses/configure-static-external-ip-address (ephemeral ones are
    released when the instance stops)
    """
    reserved = {each.body.get("address") for each in cloud.world.of("compute.addresses")}
    for each in _access_configs(body):
        if each.get("natIP") not in reserved:
            each.pop("natIP", None)


def _access_configs(body: Body) -> Iterator[Body]:
    return (each for part in body["networkInterfaces"] for each in part.get("accessConfigs", []))
