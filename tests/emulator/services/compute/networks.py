"""VPC networks. Source: https://cloud.google.com/compute/docs/reference/rest/v1/networks"""

from __future__ import annotations

from tests.emulator import errors
from tests.emulator.kind import Body, Call, on, users_of
from tests.emulator.services.compute.base import in_use
from tests.emulator.services.compute.networking import wrong
from tests.emulator.services.compute.peerings import PeeredKind, shown_peering
from tests.emulator.services.compute.routes import add_default_route, drop_routes
from tests.emulator.world import Record


class Networks(PeeredKind):
    """A network in custom mode; automatic and legacy ones are not emulated, and say so.

    An MTU that was not asked for is not shown: PaloAltoNetworks/terraform-google-vmseries-modules#155.
    """

    collection = "compute.networks"
    singular = "network"
    not_emulated = ("IPv4Range", "enableUlaInternalIpv6", "internalIpv6Range", "networkProfile", "params")
    fixed = ("autoCreateSubnetworks", "description")
    """Source: "Only routingConfig can be modified" in the reference; the MTU too, by
    GoogleCloudPlatform/magic-modules#13995."""

    def settle(self, record: Record, before: Body | None) -> None:
        body = record.body
        if body.get("autoCreateSubnetworks", True):
            raise errors.not_emulated("a network that is not in custom mode (autoCreateSubnetworks false)")
        if not 1300 <= body.get("mtu", 1460) <= 8896:  # the reference gives the bounds; no source for the words
            raise wrong("mtu", body["mtu"], "MTU must be between 1300 and 8896, inclusive.")
        routing = body.setdefault("routingConfig", {})
        routing.setdefault("routingMode", "REGIONAL")
        routing.setdefault("bgpBestPathSelectionMode", "LEGACY")
        body.setdefault("networkFirewallPolicyEnforcementOrder", "AFTER_CLASSIC_FIREWALL")
        body["selfLinkWithId"] = f"{body['selfLink'].rpartition('/')[0]}/{body['id']}"

    def finished(self, record: Record) -> None:
        add_default_route(self.cloud, record)

    def check_unused(self, record: Record) -> None:
        """Nothing yet: a network that is in use fails in the operation. Source: genevieve/leftovers#6."""

    def gone(self, record: Record) -> None:
        """Default routes go with their network, all else must have gone before.

        Source: https://cloud.google.com/vpc/docs/create-modify-vpc-networks#deleting_a_network
        """
        if users := users_of(self.cloud, record.name):
            raise in_use("network", record.name.removeprefix("compute/"), users[0])
        drop_routes(self.cloud, record)
        super().gone(record)

    def shown(self, record: Record) -> Body:
        link = record.body["selfLink"]
        subnetworks = [each for each in self.cloud.world.of("compute.subnetworks") if each.body["network"] == link]
        peerings = [shown_peering(self.cloud, record, each) for each in record.body.get("peerings", ())]
        computed = {"subnetworks": sorted(each.body["selfLink"] for each in subnetworks), "peerings": peerings}
        return record.body | {key: value for key, value in computed.items() if value}

    @on("getEffectiveFirewalls", "compute.networks.getEffectiveFirewalls")
    def effective_firewalls(self, call: Call) -> Body:
        """Rules of the network, the strongest first; policies of folders and organizations are not emulated."""
        link = self.existing(call).body["selfLink"]
        rules = [each.body for each in self.cloud.world.of("compute.firewalls") if each.body["network"] == link]
        return {"firewalls": sorted(rules, key=lambda rule: (rule["priority"], "allowed" in rule, rule["name"]))}


KINDS = (Networks,)
