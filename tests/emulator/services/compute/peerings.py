"""Peerings between networks, kept by each of the two.

Sources: https://cloud.google.com/vpc/docs/using-vpc-peering,
https://cloud.google.com/compute/docs/reference/rest/v1/networks/addPeering
"""

from __future__ import annotations

from tests.emulator import errors
from tests.emulator.cloud import Cloud
from tests.emulator.kind import Body, Call
from tests.emulator.patches import merged
from tests.emulator.schema import without_nulls
from tests.emulator.services.compute.base import check_name, mutation
from tests.emulator.services.compute.links import absolute
from tests.emulator.services.compute.networking import NetworkingKind
from tests.emulator.services.compute.ranges import taken
from tests.emulator.world import Record, relative

DEFAULTS = {"exportCustomRoutes": False, "importCustomRoutes": False, "exportSubnetRoutesWithPublicIp": True,
            "importSubnetRoutesWithPublicIp": False, "stackType": "IPV4_ONLY"}  # fmt: skip


class PeeredKind(NetworkingKind):
    """The methods of a network that are about its peerings; listing their routes is not emulated."""

    @mutation("addPeering", "compute.networks.addPeering")
    def add(self, call: Call) -> Body:
        """A second one of a name, or with a network, is refused; no source for the words."""
        network, peering = self.existing(call), wanted(call, self.project_of(call).id)
        check_name(peering.get("name", ""), "name")
        others = network.body.get("peerings", [])
        if any(peering["name"] == each["name"] or peering["network"] == each["network"] for each in others):
            raise errors.already_exists(f"A peering '{peering['name']}', or one with the same network, already exists")
        self.check_ranges(network, peering)
        return self.becomes(call, "addPeering", network, [*others, peering])

    @mutation("removePeering", "compute.networks.removePeering")
    def remove(self, call: Call) -> Body:
        network = self.existing(call)
        found = peering_of(network, call.body.get("name", ""))
        others = [each for each in network.body["peerings"] if each is not found]
        return self.becomes(call, "removePeering", network, others)

    @mutation("updatePeering", "compute.networks.updatePeering")
    def update(self, call: Call) -> Body:
        network, given = self.existing(call), without_nulls(call.body).get("networkPeering", {})
        found = peering_of(network, given.get("name", ""))
        allowed = {key: value for key, value in given.items() if key in DEFAULTS}
        new = [merged(each, allowed) if each is found else each for each in network.body["peerings"]]
        return self.becomes(call, "updatePeering", network, new)

    def becomes(self, call: Call, verb: str, network: Record, peerings: list[Body]) -> Body:
        """One change at a time. Source of the words: hashicorp/terraform-provider-google#3026."""
        if network.hidden.get("peering"):
            raise errors.invalid(
                "There is a peering operation in progress on the local or peer network. Try again later.",
                reason="badRequest",
            )
        network.hidden["peering"] = True

        def effect() -> None:
            network.hidden.pop("peering")
            network.body["peerings"] = peerings

        return self.begin(call, verb, network, effect, undo=lambda: network.hidden.pop("peering", None))

    def check_ranges(self, network: Record, peering: Body) -> None:
        """Source: https://cloud.google.com/vpc/docs/vpc-peering#overlapping_subnets; no source for the exact words."""
        local = list(taken(self.cloud, network.body["selfLink"]))
        for theirs in taken(self.cloud, peering["network"]):
            for ours in local:
                if ours.range.overlaps(theirs.range):
                    raise errors.invalid(
                        f"An IP range in the peer network ({theirs.range}) overlaps with an IP range in the local "
                        f"network ({ours.range}) allocated by resource ({ours.record.name.removeprefix('compute/')}).",
                        reason="badRequest",
                    )


def wanted(call: Call, project: str) -> Body:
    """The peering a call asks for, in the newer form or in the older flat one.

    Source: "should always be true" in the reference; no source for the words.
    """
    given = dict(call.body.get("networkPeering", {}))
    given.setdefault("name", call.body.get("name", ""))
    link = given.get("network") or call.body.get("peerNetwork", "")
    exchanged = given.get("exchangeSubnetRoutes", call.body.get("autoCreateRoutes", True))
    if not exchanged:
        raise errors.invalid("Invalid value for field 'networkPeering.exchangeSubnetRoutes': 'false'. Must be true.")
    network = absolute(link, project, "networkPeering.network")
    same = {"network": network, "exchangeSubnetRoutes": True, "autoCreateRoutes": True}
    return DEFAULTS | given | same


def peering_of(network: Record, name: str) -> Body:
    """400 where there is none; no source for the words."""
    found = next((each for each in network.body.get("peerings", ()) if each["name"] == name), None)
    if found is None:
        raise errors.invalid(f"There is no peering '{name}' in network '{network.body['name']}'.", reason="badRequest")
    return found  # type: ignore[no-any-return]


def shown_peering(cloud: Cloud, network: Record, peering: Body) -> Body:
    """With its state: ACTIVE once both networks have one to the other; a producer's network says for itself.

    Source: https://cloud.google.com/vpc/docs/using-vpc-peering#creating_a_peering_configuration
    """
    peer = cloud.world.find(f"compute/{relative(peering['network'])}")
    if peer is None:
        return {"state": "INACTIVE"} | peering
    both = any(each["network"] == network.body["selfLink"] for each in peer.body.get("peerings", ()))
    return peering | {"state": "ACTIVE" if both else "INACTIVE"}
