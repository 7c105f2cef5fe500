"""Cloud Routers, here for the NATs on them; nothing speaks BGP.

Source: https://cloud.google.com/compute/docs/reference/rest/v1/routers
"""

from __future__ import annotations

from tests.emulator import errors
from tests.emulator.kind import Body, Call
from tests.emulator.services.compute.base import mutation
from tests.emulator.services.compute.nats import settle_nats
from tests.emulator.services.compute.networking import NetworkingKind
from tests.emulator.world import Record


class Routers(NetworkingKind):
    """A router of a network in a region; what its NATs do to packets is not emulated, and its status neither."""

    collection = "compute.routers"
    singular = "router"
    scope = "region"
    referred = ("network", "nats[].natIps[]", "nats[].drainNatIps[]", "nats[].subnetworks[].name")
    fixed = ("network", "encryptedInterconnectRouter")
    not_emulated = (
        "bgpPeers",
        "interfaces",
        "md5AuthenticationKeys",
        "nccGateway",
        "encryptedInterconnectRouter",
        "params",
    )
    polices = True

    def settle(self, record: Record, before: Body | None) -> None:
        if not record.body.get("network"):
            raise errors.invalid("Required field 'resource.network' not specified", reason="required")
        for key in ("nats", "bgpPeers", "interfaces"):
            if record.body.get(key) == []:
                del record.body[key]
        settle_nats(self.cloud, record)

    @mutation("update", "{collection}.update")
    def update(self, call: Call) -> Body:
        record = self.existing(call)
        return self.change(call, "update", record, self.replaced(call, record))


KINDS = (Routers,)
