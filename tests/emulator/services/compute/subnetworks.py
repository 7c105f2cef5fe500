"""Subnetworks. Sources: https://cloud.google.com/compute/docs/reference/rest/v1/subnetworks,
https://cloud.google.com/vpc/docs/subnets
"""

from __future__ import annotations

from typing import Any

from tests.emulator import errors
from tests.emulator.kind import Body, Call, on
from tests.emulator.services.compute.base import GOOGLE, check_name, mutation
from tests.emulator.services.compute.filters import chosen
from tests.emulator.services.compute.networking import NetworkingKind, wrong
from tests.emulator.services.compute.ranges import cidr, ranges_of, subnet_range, taken
from tests.emulator.services.compute.routes import drop_routes, settle_subnet_routes
from tests.emulator.world import Record

LOG_DEFAULTS = {"aggregationInterval": "INTERVAL_5_SEC", "flowSampling": 0.5, "metadata": "EXCLUDE_ALL_METADATA"}
"""Source: the reference's `logConfig`."""


class Subnetworks(NetworkingKind):
    """An IPv4 subnetwork for instances; those for proxies and for Private Service Connect are not emulated."""

    collection = "compute.subnetworks"
    singular = "subnetwork"
    scope = "region"
    referred = ("network",)
    unanswered = (*NetworkingKind.unanswered, "views", "drainTimeoutSeconds")
    marked = True
    polices = True
    fixed = ("network", "ipCidrRange", "description", "purpose")
    not_emulated = ("externalIpv6Prefix", "internalIpv6Prefix", "ipv6AccessType", "ipCollection", "role", "params",
                    "reservedInternalRange", "allowSubnetCidrRoutesOverlap", "resolveSubnetMask")  # fmt: skip

    def settle(self, record: Record, before: Body | None) -> None:
        body = record.body
        if not body.get("network") or not body.get("ipCidrRange"):
            missing = "network" if not body.get("network") else "ipCidrRange"
            raise errors.invalid(f"Required field 'resource.{missing}' not specified", reason="required")
        if (
            body.setdefault("purpose", "PRIVATE") != "PRIVATE"
            or body.setdefault("stackType", "IPV4_ONLY") != "IPV4_ONLY"
        ):
            raise errors.not_emulated("a subnetwork that is not an IPv4 one for instances")
        primary = subnet_range("ipCidrRange", body["ipCidrRange"])
        body["gatewayAddress"] = str(primary.network_address + 1)
        body.setdefault("privateIpGoogleAccess", False)
        body.setdefault("privateIpv6GoogleAccess", "DISABLE_GOOGLE_ACCESS")
        _settle_logs(body, before)
        self._settle_secondary(body)
        self.check_ranges(record)

    def _settle_secondary(self, body: Body) -> None:
        """Source: "must be unique within the subnetwork" in the reference; no source for the words."""
        names = [each.get("rangeName", "") for each in body.get("secondaryIpRanges", ())]
        for number, (name, each) in enumerate(zip(names, body.get("secondaryIpRanges", ()), strict=True)):
            here = f"secondaryIpRanges[{number}]"
            check_name(name, f"resource.{here}.rangeName")
            if names.index(name) != number:
                raise wrong(f"{here}.rangeName", name, "Range names must be unique within a subnetwork.")
            subnet_range(f"{here}.ipCidrRange", each.get("ipCidrRange", ""))

    def check_ranges(self, record: Record) -> None:
        """No range may overlap one of the network, nor another of the same subnetwork."""
        others = [each for each in taken(self.cloud, record.body["network"]) if each.record.name != record.name]
        mine = list(ranges_of(record))
        for number, each in enumerate(mine):
            field = f"secondaryIpRanges[{number - 1}].ipCidrRange" if number else "ipCidrRange"
            for other in [*others, *mine[:number]]:
                if each.range.overlaps(other.range):
                    raise other.refusal(field, each.range)

    def finished(self, record: Record) -> None:
        self.changed(record)

    def changed(self, record: Record) -> None:
        ranges = [str(each.range) for each in ranges_of(record)]
        settle_subnet_routes(self.cloud, self.network_of(record), record, ranges)

    def gone(self, record: Record) -> None:
        drop_routes(self.cloud, record)
        super().gone(record)

    @mutation("expandIpCidrRange", "compute.subnetworks.expandIpCidrRange")
    def expand(self, call: Call) -> Body:
        """Only to a range that holds the old one.

        Source: https://cloud.google.com/vpc/docs/create-modify-vpc-networks#expand-subnet; no source for the words.
        """
        record = self.existing(call)
        now, asked = cidr("ipCidrRange", record.body["ipCidrRange"]), call.body.get("ipCidrRange", "")
        new = subnet_range("ipCidrRange", asked)
        if not now.subnet_of(new) or now == new:
            raise wrong("ipCidrRange", asked, f"The new range must contain the current range {now} and be larger.")
        after = Record(record.name, record.collection, record.body | {"ipCidrRange": str(new)})
        self.check_ranges(after)
        changes = {"ipCidrRange": str(new), "gatewayAddress": str(new.network_address + 1)}
        return self.begin(call, "expandIpCidrRange", record, lambda: self._take(record, changes))

    @mutation("setPrivateIpGoogleAccess", "compute.subnetworks.setPrivateIpGoogleAccess")
    def set_private_access(self, call: Call) -> Body:
        """Source: https://cloud.google.com/vpc/docs/configure-private-google-access"""
        record = self.existing(call)
        changes = {"privateIpGoogleAccess": call.body.get("privateIpGoogleAccess", False)}
        return self.begin(call, "setPrivateIpGoogleAccess", record, lambda: self._take(record, changes))

    def _take(self, record: Record, changes: dict[str, Any]) -> None:
        record.body.update(changes)
        self.mark(record)
        self.changed(record)

    @on("listUsable", "compute.subnetworks.list")
    def usable(self, call: Call) -> Body:
        """Those the caller may use. Source: https://cloud.google.com/compute/docs/reference/rest/v1/subnetworks/listUsable"""
        project = self.project_of(call).id
        records = self.cloud.world.under(f"compute/projects/{project}/regions/", self.collection)
        items, token = chosen([_usable(each) for each in records], call)
        folder = f"projects/{project}/aggregated/subnetworks"
        answer = {"kind": "compute#usableSubnetworksAggregatedList", "id": f"{folder}/listUsable", "items": items}
        return answer | {"selfLink": f"{GOOGLE}/{folder}/listUsable"} | token


def _settle_logs(body: Body, before: Body | None) -> None:
    """`enableFlowLogs` and `logConfig.enable` are one switch; the rest of `logConfig` goes with logs alone.

    Source: `logConfig` in the reference; no source for the words.
    """
    was = bool(before and before["enableFlowLogs"])
    config = body.get("logConfig", {})
    told = {body.get("enableFlowLogs", was), config.get("enable", was)}
    body["enableFlowLogs"] = enabled = was is not ((not was) in told)
    if not enabled and not was and (extra := sorted(config.keys() - {"enable"})):
        raise wrong(f"logConfig.{extra[0]}", config[extra[0]], "Can only be specified if VPC flow logging is enabled.")
    if not 0 <= config.get("flowSampling", 0) <= 1:
        raise wrong("logConfig.flowSampling", config["flowSampling"], "Must be in [0, 1].")
    body["logConfig"] = {**LOG_DEFAULTS, **config, "enable": True} if enabled else {"enable": False}


def _usable(record: Record) -> Body:
    body = record.body
    same = ("network", "ipCidrRange", "purpose", "stackType")
    secondary = [{key: each[key] for key in ("rangeName", "ipCidrRange")} for each in body.get("secondaryIpRanges", ())]
    shown = {key: body[key] for key in same} | {"subnetwork": body["selfLink"]}
    return shown | ({"secondaryIpRanges": secondary} if secondary else {})


KINDS = (Subnetworks,)
