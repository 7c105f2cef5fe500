"""Reserved addresses, of a region and global ones.

Sources: https://cloud.google.com/compute/docs/reference/rest/v1/addresses,
https://cloud.google.com/vpc/docs/ip-addresses, https://cloud.google.com/vpc/docs/configure-private-services-access
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network

from tests.emulator import errors
from tests.emulator.kind import Body, Call
from tests.emulator.services.compute.base import mutation
from tests.emulator.services.compute.links import absolute
from tests.emulator.services.compute.networking import NetworkingKind, project_of, wrong
from tests.emulator.services.compute.ranges import check_address, cidr, free_address, free_range, taken
from tests.emulator.world import Record, relative

EXTERNAL = IPv4Address("34.64.0.0")
"""Where external addresses are taken from here, one after the other; Google's own choice has no rule."""


class Addresses(NetworkingKind):
    """An address of a region, external or of a subnetwork."""

    collection = "compute.addresses"
    singular = "address"
    scope = "region"
    scopes = ("global", "region")
    labelled = True
    referred = ("subnetwork", "network")
    not_emulated = ("ipCollection", "ipv6EndpointType", "networkAttachment", "serviceClassId")
    purposes = ("GCE_ENDPOINT",)

    def aggregates(self, record: Record) -> bool:
        """Global ones too. Source: `gcloud compute addresses list`, which asks nothing else."""
        return record.collection in ("compute.addresses", "compute.globalAddresses")

    @mutation("insert", "")
    def insert(self, call: Call) -> Body:
        """Source of the permissions: https://cloud.google.com/iam/docs/roles-permissions/compute (networkUser)"""
        internal = call.body.get("addressType") == "INTERNAL"
        self.need(call, f"{self.collection}.{'createInternal' if internal else 'create'}", *self.guards(call))
        return super().insert(call)

    @mutation("delete", "")
    def delete(self, call: Call) -> Body:
        internal = self.existing(call).body["addressType"] == "INTERNAL"
        self.need(call, f"{self.collection}.{'deleteInternal' if internal else 'delete'}", *self.guards(call))
        return super().delete(call)

    def prepare(self, call: Call, record: Record) -> None:
        super().prepare(call, record)
        if "subnetwork" in record.body:
            self.need_on(call, "compute.subnetworks.use", record.body["subnetwork"])
        if "network" in record.body:
            self.need_on(call, "compute.networks.use", record.body["network"])

    def settle(self, record: Record, before: Body | None) -> None:
        body = record.body
        if body.get("ipVersion", "IPV4") != "IPV4":
            raise errors.not_emulated("an IPv6 address")
        if body.setdefault("addressType", "EXTERNAL") == "INTERNAL":
            self.settle_internal(record)
        else:
            self.settle_external(record)
        body.setdefault("networkTier", "PREMIUM")
        body |= {"status": "RESERVING", "description": body.get("description", "")}

    def settle_internal(self, record: Record) -> None:
        """Source: hashicorp/terraform#19507 (no subnetwork), the reference (`network`); no source for other words."""
        body = record.body
        if body.get("purpose", self.purposes[0]) not in self.purposes:
            raise errors.not_emulated(f"an address for {body['purpose']}")
        if "network" in body:
            raise wrong("network", body["network"], "The field can only be used with the VPC_PEERING purpose.")
        body.setdefault("purpose", self.purposes[0])
        subnetwork = self._subnetwork(record)
        body["subnetwork"] = subnetwork.body["selfLink"]
        if "address" in body:
            check_address(self.cloud, subnetwork, body["address"], "address")
        body.setdefault("address", free_address(self.cloud, subnetwork))

    def _subnetwork(self, record: Record) -> Record:
        """The one asked for, else that of the network called default."""
        project, region = project_of(record), record.name.split("/")[4]
        default = f"projects/{project}/regions/{region}/subnetworks/default"
        found = self.cloud.world.find(f"compute/{relative(record.body.get('subnetwork', default))}")
        if found is None:
            raise wrong("subnetwork", "", "No default subnetwork was found for an address with type INTERNAL.")
        if found.name.split("/")[4] != region:  # no source for the words
            raise wrong("subnetwork", found.body["selfLink"], f"The subnetwork must be in region '{region}'.")
        return found

    def settle_external(self, record: Record) -> None:
        """Source of the words: hashicorp/terraform-provider-google#9649."""
        body = record.body
        for field in ("purpose", "subnetwork", "network", "prefixLength"):
            if field in body:
                raise wrong(field, body[field], "The field cannot be specified with external address.")
        if "address" in body:
            self._check_in_use(record)
        body.setdefault("address", self._free_external())

    def _check_in_use(self, record: Record) -> None:
        """A given external address must be one that a machine of the project has.

        Source: https://cloud.google.com/vpc/docs/reserve-static-external-ip-address#promote_ephemeral_ip; no source
        for the words.
        """
        address, project = record.body["address"], f"compute/projects/{project_of(record)}/"
        if not any(each.name.startswith(project) for each in self.holding(address)):
            raise wrong("address", address, "The specified external IP address is not in use in this project.")

    def _free_external(self) -> str:
        used = {each.body.get("address") for each in self.cloud.world.records.values() if self.aggregates(each)}
        number = int(EXTERNAL)
        while (address := str(IPv4Address(number))) in used or any(self.holding(address)):
            number += 1
        return address

    def holding(self, address: str) -> Iterator[Record]:
        """Instances with this address on an interface, inside or outside."""
        for record in self.cloud.world.of("compute.instances"):
            for interface in record.body.get("networkInterfaces", ()):
                outside = [each.get("natIP") for each in interface.get("accessConfigs", ())]
                if address in (interface.get("networkIP"), *outside):
                    yield record

    def finished(self, record: Record) -> None:
        record.body["status"] = "RESERVED"

    def shown(self, record: Record) -> Body:
        """IN_USE with its users, while an instance has it or a router's NAT names it."""
        users = [each.body["selfLink"] for each in self.users(record)]
        return record.body | ({"status": "IN_USE", "users": users} if users else {})

    def users(self, record: Record) -> list[Record]:
        link = record.body["selfLink"]
        nats = (
            router
            for router in self.cloud.world.of("compute.routers")
            if any(link in nat.get("natIps", ()) for nat in router.body.get("nats", ()))
        )
        return [each for each in self.holding(record.body["address"]) if self._near(record, each)] + list(nats)

    def _near(self, record: Record, instance: Record) -> bool:
        """Whether an instance that has the same number has this very address: inside, only in the same subnetwork."""
        subnetwork = record.body.get("subnetwork")
        links = [each.get("subnetwork") for each in instance.body["networkInterfaces"]]
        return subnetwork in links if subnetwork else project_of(record) == project_of(instance)

    def check_unused(self, record: Record) -> None:
        """Source: https://cloud.google.com/compute/docs/ip-addresses/reserve-static-external-ip-address#release_ip: an
        address that is in use cannot be released."""
        super().check_unused(record)
        if users := self.users(record):
            name, user = (each.name.removeprefix("compute/") for each in (record, users[0]))
            raise errors.invalid(
                f"The address resource '{name}' is already being used by '{user}'",
                reason="resourceInUseByAnotherResource",
            )


class GlobalAddresses(Addresses):
    """A global address: an external one, or an internal range for private services access."""

    collection = "compute.globalAddresses"
    scope = "global"
    plural = "addresses"
    purposes = ("VPC_PEERING",)

    def settle_internal(self, record: Record) -> None:
        """A range of the network that no subnetwork may have any more."""
        body = record.body
        if body.get("purpose") not in self.purposes:
            raise errors.not_emulated(f"a global internal address for {body.get('purpose', 'no purpose')}")
        for field in ("network", "prefixLength"):
            if not body.get(field):
                raise errors.invalid(f"Required field 'resource.{field}' not specified", reason="required")
        if not 8 <= body["prefixLength"] <= 29:  # no source for the words
            raise wrong("prefixLength", body["prefixLength"], "The prefix length must be between 8 and 29, inclusive.")
        body["network"] = absolute(body["network"], project_of(record), "resource.network")
        chosen = body.get("address") or str(free_range(self.cloud, body["network"], body["prefixLength"])).split("/")[0]
        body["address"] = str(cidr("address", f"{chosen}/{body['prefixLength']}").network_address)

    def settle_external(self, record: Record) -> None:
        if record.body.get("networkTier", "PREMIUM") != "PREMIUM":  # no source for the words
            raise wrong("networkTier", record.body["networkTier"], "Global addresses are of the Premium Tier.")
        super().settle_external(record)

    def finished(self, record: Record) -> None:
        """A range that is taken fails here. Source: GoogleCloudPlatform/cloud-foundation-fabric#576."""
        body = record.body
        if body["addressType"] == "INTERNAL":
            mine = IPv4Network(f"{body['address']}/{body['prefixLength']}")
            for other in taken(self.cloud, body["network"]):
                if other.record.name != record.name and mine.overlaps(other.range):
                    name = other.record.name.removeprefix("compute/")
                    raise errors.invalid(
                        f"Invalid IP CIDR range: {mine} conflicts with IP range {other.range} that was allocated by "
                        f"resource {name}.",
                        reason="invalidUsage",
                    )
        super().finished(record)


KINDS = (Addresses, GlobalAddresses)
