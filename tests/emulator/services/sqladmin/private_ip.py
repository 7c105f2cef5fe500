"""Private IP: the service connection it needs, and the address it takes from a range reserved for the connection.

Sources: https://cloud.google.com/sql/docs/postgres/configure-private-ip,
https://cloud.google.com/vpc/docs/configure-private-services-access (a subnet of /24 for each region, at least).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from tests.emulator import errors
from tests.emulator.cloud import Cloud
from tests.emulator.errors import ApiError
from tests.emulator.kind import Body
from tests.emulator.services.servicenetworking.connections import NETWORK, SERVICE, by_id, connection_name, peering_of
from tests.emulator.services.sqladmin.answers import refused
from tests.emulator.world import Record, relative

RESERVED = 2
"""Addresses of a subnet that its network takes: its own and its gateway's; the last one is the second last's."""


def check_connected(cloud: Cloud, project: str, instance: str, settings: Body) -> None:
    """400 unless the private network has its service connection.

    Sources: terraform-google-modules/terraform-google-sql-db#281 (NETWORK_NOT_PEERED), opstrace/opstrace#293
    (NETWORK_PEERING_DELETED); the other two are of the same list, `ValidateConsumerConfigResponse` in the reference of
    Service Networking.
    """
    given = settings["ipConfiguration"]
    if not given.get("privateNetwork"):
        return
    if not NETWORK.fullmatch(relative(given["privateNetwork"])):
        raise refused(f"Invalid private network: {given['privateNetwork']}")  # no source for the words
    network = by_id(cloud, given["privateNetwork"])
    wrong = _wrong(cloud, project, network)
    if wrong:
        raise refused(f"Incorrect Service Networking config for instance: {project}:{instance}:{wrong}")
    wanted, connection = given.get("allocatedIpRange"), cloud.world.records[connection_name(cloud, network)]
    if wanted and wanted not in connection.body["reservedPeeringRanges"]:
        raise refused(f"Incorrect Service Networking config for instance: {project}:{instance}:RANGE_NOT_RESERVED")


def _wrong(cloud: Cloud, project: str, network: str) -> str:
    found = cloud.world.project(project)
    if found is None or SERVICE not in found.services:
        return "SERVICE_NETWORKING_NOT_ENABLED"
    if cloud.world.find(f"compute/{network}") is None:
        return "NETWORK_NOT_FOUND"
    if cloud.world.find(connection_name(cloud, network)) is None:
        return "NETWORK_NOT_PEERED"
    return "" if peering_of(cloud, network) else "NETWORK_PEERING_DELETED"


def take_address(cloud: Cloud, instance: Record) -> str:
    """An address for the instance out of its region's subnet, which is cut from a reserved range where there is none.

    The failure is the operation's. Source of the words: the reports of "Couldn't find free blocks in allocated IP
    ranges" against hashicorp/terraform-provider-google; of the state the instance is left in
    crossplane-contrib/provider-gcp#226.
    """
    given = instance.body["settings"]["ipConfiguration"]
    network = by_id(cloud, given["privateNetwork"])
    connection = cloud.world.find(connection_name(cloud, network))
    if connection is None:
        raise ApiError(400, _again(cloud, network), reason="INTERNAL_ERROR")
    blocks: dict[str, str] = connection.hidden.setdefault("blocks", {})
    taken = {address["ipAddress"] for each in cloud.world.of("sql.instances") for address in _shown(each)}
    ranges = [given["allocatedIpRange"]] if given.get("allocatedIpRange") else connection.body["reservedPeeringRanges"]
    for block in _candidates(cloud, network, ranges):
        if blocks.setdefault(str(block), instance.body["region"]) == instance.body["region"]:
            free = (str(host) for host in list(block.hosts())[RESERVED:] if str(host) not in taken)
            found = next(free, None)
            if found:
                return found
    raise ApiError(
        400,
        "Failed to create subnetwork. Couldn't find free blocks in allocated IP ranges. Please allocate new ranges for "
        "this service provider.",
        reason="INTERNAL_ERROR",
    )


def _again(cloud: Cloud, network: str) -> str:
    project = cloud.world.project(network.split("/")[1])
    number = project.number if project else 0
    return (
        f"Failed to create subnetwork. Please create Service Networking connection with service '{SERVICE}' from "
        f"consumer project '{number}' network '{network.rpartition('/')[2]}' again."
    )


def _shown(instance: Record) -> list[Body]:
    addresses: list[Body] = instance.body.get("ipAddresses", [])
    return addresses


def _candidates(cloud: Cloud, network: str, ranges: list[str]) -> Iterator[ipaddress.IPv4Network]:
    """The subnets of /24 in the ranges; a smaller range has none."""
    for name in ranges:
        record = cloud.world.find(f"compute/projects/{network.split('/')[1]}/global/addresses/{name}")
        if record is not None and record.body["prefixLength"] <= 24:
            whole = ipaddress.IPv4Network((record.body["address"], record.body["prefixLength"]), strict=False)
            yield from whole.subnets(new_prefix=24)


def check_kept(before: Body, after: Body) -> None:
    """Source: configure-private-ip: private IP stays, and so does its network. No source for the words."""
    old, new = (each["ipConfiguration"].get("privateNetwork") for each in (before, after))
    if old and (not new or relative(old) != relative(new)):
        raise errors.invalid("Invalid request: The private network of an instance cannot be changed or removed.")
