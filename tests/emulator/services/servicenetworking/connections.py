"""Private connections: a network's peering with that of Google's services, and the ranges reserved for it.

Sources: https://cloud.google.com/service-infrastructure/docs/service-networking/reference/rest/v1/services.connections,
https://cloud.google.com/vpc/docs/configure-private-services-access
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tests.emulator import access, errors
from tests.emulator.cloud import Cloud
from tests.emulator.errors import ApiError
from tests.emulator.kind import Body, Call, Kind, on, users_of
from tests.emulator.operations import Effect, long_running_shape
from tests.emulator.services.servicenetworking.operations import operation_name
from tests.emulator.world import Project, Record, relative

SERVICE = "servicenetworking.googleapis.com"
PEERING = "servicenetworking-googleapis-com"
"""The name of the peering on the consumer's network. Source: `name` of connections.patch in the reference."""
NETWORK = re.compile(r"projects/[^/]+/global/networks/[^/]+")
NOWHERE = "services"
COMPUTE = "https://www.googleapis.com/compute/v1"


class Connections(Kind):
    """One connection for each network, to all of Google's services together."""

    apis = ("servicenetworking.v1",)
    collection = "servicenetworking.services.connections"

    def guards(self, call: Call) -> tuple[str, ...]:
        """The network's project; nothing where a call names no network, which `refused` then says."""
        return (f"projects/{self.project_of(call).id}",) if NETWORK.fullmatch(_named(call)) else (NOWHERE,)

    def refused(self, call: Call, permission: str, resource: str) -> ApiError:
        if resource == NOWHERE and call.caller != access.ANONYMOUS:
            return no_network(_named(call))
        return super().refused(call, permission, resource)

    def project_of(self, call: Call) -> Project:
        """That of the network. Source: `network` in the reference: `projects/NUMBER/global/networks/NAME`."""
        return call.project(self.network(call).split("/")[1])

    def network(self, call: Call) -> str:
        """`projects/p/global/networks/n` of a call."""
        return by_id(self.cloud, _named(call))

    def denied(self, permission: str, resource: str) -> ApiError:
        """Source: no issue found; notes in public repositories print "Permission denied to add peering …"."""
        if permission.endswith("addPeering"):
            return ApiError(403, f"Permission denied to add peering for service '{SERVICE}'.")
        return access.denied(permission, resource)

    def references(self, record: Record) -> Iterator[str]:
        """The network, as long as its peering is there. Source: GoogleCloudPlatform/magic-modules#18476."""
        network = record.hidden["network"]
        return iter([f"compute/{network}"] if peering_of(self.cloud, network) else [])

    @on("list", "servicenetworking.services.get")
    def listed(self, call: Call) -> Body:
        record = self.cloud.world.find(connection_name(self.cloud, self.network(call)))
        asked = call["parent"] in (f"services/{SERVICE}", "services/-")
        return {"connections": [record.body]} if record is not None and asked else {}

    @on("create", "servicenetworking.services.addPeering")
    def create(self, call: Call) -> Body:
        """Done again, it restores a peering; other ranges want a patch, which the operation says.

        Source: https://cloud.google.com/vpc/docs/configure-private-services-access#troubleshooting and
        gruntwork-io/terraform-google-sql#36.
        """
        self._check_service(call["parent"])
        network, ranges = self.network(call), list(call.body.get("reservedPeeringRanges", []))

        def effect() -> Body:
            before = self.cloud.world.find(connection_name(self.cloud, network))
            if before is not None and ranges and set(ranges) != set(before.body["reservedPeeringRanges"]):
                kept = ", ".join(before.body["reservedPeeringRanges"])
                raise failed(
                    "Cannot modify allocated ranges in CreateConnection. Please use UpdateConnection.\n"
                    f"Existing allocated IP ranges: [{kept}]."
                )
            return self.connect(network, ranges or (before.body["reservedPeeringRanges"] if before else []))

        return self.begin(call, "create", network, effect)

    @on("patch", "servicenetworking.services.addPeering")
    def patch(self, call: Call) -> Body:
        """Other ranges; makes the connection where there is none (GoogleCloudPlatform/magic-modules#9009).

        Source: `force` in the reference, without words of its own for a range that is taken away without it.
        """
        self._check_service(call["name"])
        network, ranges = self.network(call), list(call.body.get("reservedPeeringRanges", []))
        force = call.get("force", False)

        def effect() -> Body:
            before = self.cloud.world.find(connection_name(self.cloud, network))
            gone = sorted(set(before.body["reservedPeeringRanges"]) - set(ranges)) if before else []
            if gone and not force:
                raise failed(f"Allocated range '{gone[0]}' cannot be removed without the force flag.")
            return self.connect(network, ranges)

        return self.begin(call, "patch", network, effect)

    @on("deleteConnection", "servicenetworking.services.deleteConnection")
    def delete(self, call: Call) -> Body:
        """Source: hashicorp/terraform-provider-google#16275, #18834: the operation fails, code 9."""
        self._check_service(call["name"])
        network = self.network(call)

        def effect() -> None:
            record = self.cloud.world.find(connection_name(self.cloud, network))
            if record is None:
                raise ApiError(404, f"No connection of network '{network}'.")  # no source for the words
            if users_of(self.cloud, record.name):
                raise failed(
                    "Failed to delete connection; Producer services (e.g. CloudSQL, Cloud Memstore, etc.) are still "
                    "using this connection."
                )
            self.cloud.world.drop(record.name)
            self._unpeer(network)

        return self.begin(call, "deleteConnection", network, effect)

    # -- what is done ------------------------------------------------------------------------------------------------

    def _check_service(self, name: str) -> None:
        """Only Google's own services are there. No source for the words."""
        if name.split("/")[1] != SERVICE:
            raise errors.not_found(f"Service '{name.split('/')[1]}' not found.")

    def begin(self, call: Call, verb: str, network: str, effect: Effect) -> Body:
        record = Record(connection_name(self.cloud, network), self.collection, {})
        operation = self.start(call, "servicenetworking.connections", verb, record, effect)
        return long_running_shape(operation, operation_name(self.project_of(call).number, operation.number))

    def connect(self, network: str, ranges: list[str]) -> Body:
        """Put the connection with these ranges and see that its peering is there."""
        found = self.cloud.world.find(f"compute/{network}")
        if found is None:
            raise failed(f"The network '{network}' does not exist.")  # no source for the words
        if not ranges:
            raise failed("At least one allocated IP range must be given.")  # no source for the words
        for name in ranges:
            self._check_range(network, name)
        project, name = self.cloud.world.project(network.split("/")[1]), network.rpartition("/")[2]
        body = {
            "network": f"projects/{project.number if project else 0}/global/networks/{name}",
            "peering": PEERING,
            "reservedPeeringRanges": ranges,
            "service": f"services/{SERVICE}",
        }
        full = connection_name(self.cloud, network)
        before = self.cloud.world.find(full)
        hidden = before.hidden if before else {"network": relative(found.name)}
        self.cloud.world.put(Record(full, self.collection, body, hidden))
        self._peer(found)
        return {"@type": "type.googleapis.com/google.cloud.servicenetworking.v1.Connection", **body}

    def _check_range(self, network: str, name: str) -> None:
        """Source: "allocated IP range '…' not found in network" in reports on google_service_networking_connection."""
        project = network.split("/")[1]
        record = self.cloud.world.find(f"compute/projects/{project}/global/addresses/{name}")
        fits = record is not None and record.body.get("purpose") == "VPC_PEERING"
        if record is None or not fits or relative(record.body.get("network", "")) != network:
            raise failed(f"Allocated IP range '{name}' not found in network.")

    def _peer(self, network: Record) -> None:
        """The peering as the network shows it. Source: configure-private-services-access."""
        if peering_of(self.cloud, relative(network.name)):
            return
        tenant = f"{self.cloud.world.number():x}-tp"
        peering = {
            "name": PEERING,
            "network": f"{COMPUTE}/projects/{tenant}/global/networks/servicenetworking",
            "state": "ACTIVE",
            "stateDetails": f"[{self.now}]: Connected.",
            "autoCreateRoutes": True,
            "exchangeSubnetRoutes": True,
            "exportCustomRoutes": False,
            "importCustomRoutes": False,
            "exportSubnetRoutesWithPublicIp": False,
            "importSubnetRoutesWithPublicIp": False,
            "stackType": "IPV4_ONLY",
        }
        network.body["peerings"] = [*network.body.get("peerings", []), peering]

    def _unpeer(self, network: str) -> None:
        record = self.cloud.world.find(f"compute/{network}")
        if record is not None:
            record.body["peerings"] = [each for each in record.body.get("peerings", []) if each["name"] != PEERING]


def _named(call: Call) -> str:
    """The network a call names, which may be none."""
    given = call.get("network") or call.body.get("network") or call.body.get("consumerNetwork") or ""
    return relative(str(given))


def no_network(given: str) -> ApiError:
    """No source for the words."""
    return errors.invalid(f"Invalid network '{given}': it must be projects/PROJECT/global/networks/NETWORK.")


def by_id(cloud: Cloud, network: str) -> str:
    """`projects/ID/global/networks/N` of any reference to a network, which may have the project's number."""
    _, reference, *rest = relative(network).split("/")
    project = cloud.world.project(reference)
    return "/".join(["projects", project.id if project else reference, *rest])


def connection_name(cloud: Cloud, network: str) -> str:
    """The full name of a network's connection."""
    return f"servicenetworking/services/{SERVICE}/{by_id(cloud, network)}"


def peering_of(cloud: Cloud, network: str) -> Body | None:
    """The connection's peering on the network, which its owner may have taken away."""
    record = cloud.world.find(f"compute/{by_id(cloud, network)}")
    peerings = record.body.get("peerings", []) if record else []
    return next((each for each in peerings if each["name"] == PEERING), None)


def failed(message: str) -> ApiError:
    """How an operation fails: code 9."""
    return errors.failed_precondition(message)


KINDS = (Connections,)
