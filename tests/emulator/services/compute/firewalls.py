"""Firewall rules of a VPC network.

Sources: https://cloud.google.com/compute/docs/reference/rest/v1/firewalls, https://cloud.google.com/firewall/docs/firewalls
"""

from __future__ import annotations

import re

from tests.emulator import errors
from tests.emulator.kind import Body, Call
from tests.emulator.services.compute.base import GOOGLE, NAME, mutation
from tests.emulator.services.compute.networking import NetworkingKind, project_of, wrong
from tests.emulator.services.compute.ranges import cidr
from tests.emulator.world import Record

PROTOCOLS = ("tcp", "udp", "icmp", "esp", "ah", "sctp", "ipip", "all")
WITH_PORTS = ("tcp", "udp", "sctp", "6", "17", "132")
SOURCES = ("sourceRanges", "sourceTags", "sourceServiceAccounts")
ACCOUNTS = ("sourceServiceAccounts", "targetServiceAccounts")
TAGS = ("sourceTags", "targetTags")
LISTS = ("sourceRanges", "destinationRanges", *TAGS, *ACCOUNTS)


class Firewalls(NetworkingKind):
    """A rule that allows or denies, never both, in one direction."""

    collection = "compute.firewalls"
    singular = "firewall"
    referred = ("network",)
    fixed = ("network", "direction")
    not_emulated = ("params",)
    polices = True

    @mutation("update", "{collection}.update")
    def update(self, call: Call) -> Body:
        record = self.existing(call)
        return self.change(call, "update", record, self.replaced(call, record))

    def settle(self, record: Record, before: Body | None) -> None:
        body = record.body
        for field in LISTS:
            if body.get(field) == []:
                del body[field]
        body.setdefault("network", f"{GOOGLE}/projects/{project_of(record)}/global/networks/default")
        self.check_references(record)
        body.setdefault("direction", "INGRESS")
        body.setdefault("priority", 1000)
        body.setdefault("disabled", False)
        body.setdefault("description", "")
        if not 0 <= body["priority"] <= 65535:  # bounds by the reference; no source for the words
            raise wrong("priority", body["priority"], "Must be between 0 and 65535.")
        check_action(body)
        check_ends(body)
        check_members(body)
        check_accounts(body)
        check_logs(body)


def check_action(body: Body) -> None:
    """Source of the words: forseti-security/forseti-security#3844 (both); no source for none."""
    allowed, denied = body.get("allowed"), body.get("denied")
    if allowed and denied:
        raise wrong("allowed[0]", "", "Should not specify both allowed and denied in the same time.")
    if not allowed and not denied:
        raise errors.invalid("Required field 'resource.allowed' not specified", reason="required")
    body.pop("denied" if allowed else "allowed", None)
    action = "allowed" if allowed else "denied"
    for number, rule in enumerate(body[action]):
        check_protocol(rule, f"{action}[{number}]")


def check_protocol(rule: Body, where: str) -> None:
    """Source of the values: `allowed[]` in the reference; no source for the words."""
    protocol = str(rule.get("IPProtocol", "")).lower()
    numbered = protocol.isdigit() and int(protocol) <= 255
    if protocol not in PROTOCOLS and not numbered:
        raise wrong(f"{where}.IPProtocol", rule.get("IPProtocol", ""), "Must be a well known protocol or a number.")
    rule["IPProtocol"] = protocol
    for number, ports in enumerate(rule.get("ports", ())):
        field = f"{where}.ports[{number}]"
        if protocol not in WITH_PORTS:
            raise wrong(field, ports, f"Ports may only be specified on rules whose protocol is one of {WITH_PORTS}.")
        first, _, last = ports.partition("-")
        if not re.fullmatch(r"\d{1,5}(-\d{1,5})?", ports) or not int(first) <= int(last or first) <= 65535:
            raise wrong(field, ports, "Ports must be an integer or a range of integers, 0 to 65535.")


def check_ends(body: Body) -> None:
    """What a rule may say of where packets come from and go to, by its direction; everywhere where it says nothing.

    Sources: mchmarny/grunner#6 (source tags of an egress rule), hashicorp/terraform-provider-google#4031 and #6789
    (0.0.0.0/0).
    """
    if body["direction"] == "EGRESS":
        if body.get("sourceTags") or body.get("sourceServiceAccounts"):
            raise errors.invalid(
                "Should not specify source tag or service account for egress direction.", reason="badRequest"
            )
        if body.get("sourceRanges"):
            raise errors.not_emulated("sourceRanges of an egress rule")
        body.setdefault("destinationRanges", ["0.0.0.0/0"])
    elif body.get("destinationRanges"):
        raise errors.not_emulated("destinationRanges of an ingress rule")
    elif not any(body.get(field) for field in SOURCES):
        body["sourceRanges"] = ["0.0.0.0/0"]


def check_members(body: Body) -> None:
    """Ranges and tags one by one. Source: cloudflare/terraform-provider-cloudflare#86 (ranges)."""
    for field in ("sourceRanges", "destinationRanges"):
        for number, text in enumerate(body.get(field, ())):
            cidr(f"{field}[{number}]", text if "/" in text else f"{text}/32")
    for field in TAGS:
        for number, tag in enumerate(body.get(field, ())):
            if not re.fullmatch(NAME, tag):
                raise wrong(f"{field}[{number}]", tag, f"Must be a match of regex '{NAME}'")


def check_accounts(body: Body) -> None:
    """Few, and never together with tags.

    Source: "Network tags and service accounts cannot be used in the same firewall rule" in
    https://cloud.google.com/firewall/docs/firewalls#filtering_by_service_account_vs_network_tag (no source for the
    words), hashicorp/terraform-provider-google#1417 (413).
    """
    if any(body.get(field) for field in TAGS) and any(body.get(field) for field in ACCOUNTS):
        raise errors.invalid("Tags and service accounts cannot be specified at the same time.", reason="badRequest")
    for field in ACCOUNTS:
        if len(body.get(field, ())) > 10:
            words = f"Value for field 'resource.{field}' is too large: maximum size 10 element(s); actual size "
            raise errors.ApiError(413, f"{words}{len(body[field])}.", reason="fieldSizeTooLarge")


def check_logs(body: Body) -> None:
    """Source: "can only be specified … if logging is enabled" in the reference; no source for the words."""
    config = body.setdefault("logConfig", {"enable": False})
    config.setdefault("enable", False)
    if config["enable"]:
        config.setdefault("metadata", "INCLUDE_ALL_METADATA")
    elif "metadata" in config:
        raise wrong("logConfig.metadata", config["metadata"], "Can only be specified if logging is enabled.")


KINDS = (Firewalls,)
