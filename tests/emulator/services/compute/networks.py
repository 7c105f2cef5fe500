"""VPC networks. Source: https://cloud.google.com/compute/docs/reference/rest/v1/networks"""

from __future__ import annotations

from tests.emulator import errors
from tests.emulator.kind import Call
from tests.emulator.services.compute.base import ComputeKind
from tests.emulator.world import Record


class Networks(ComputeKind):
    """A network in custom mode; automatic and legacy ones are not emulated, and say so."""

    collection = "compute.networks"
    singular = "network"

    def prepare(self, call: Call, record: Record) -> None:
        body = record.body
        if body.get("autoCreateSubnetworks", True) or "IPv4Range" in body:
            raise errors.not_emulated("a network that is not in custom mode (autoCreateSubnetworks false)")
        body.setdefault("routingConfig", {}).setdefault("routingMode", "REGIONAL")
        body |= {"selfLinkWithId": f"{body['selfLink'].rpartition('/')[0]}/{body['id']}"}
        body.setdefault("networkFirewallPolicyEnforcementOrder", "AFTER_CLASSIC_FIREWALL")


KINDS = (Networks,)
