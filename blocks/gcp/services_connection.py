"""The stack's network connected to Google's services, so that its database has an address in it and nowhere else.

Source: https://cloud.google.com/service-infrastructure/docs/service-networking/reference/rest/v1/services.connections
"""

from __future__ import annotations

from collections.abc import Mapping

from google.api_core.exceptions import NotFound

from blocks.errors import Blocked
from blocks.gcp.google import Google, explained
from blocks.resource import Attributes, Change, Resource

SERVICE = "services/servicenetworking.googleapis.com"
PEERING = "servicenetworking-googleapis-com"
"""What the connection is called among the network's peerings."""
SECONDS = 600.0
"""Time Google gets to make or to end it: a minute, as a rule."""


class ServicesConnection(Resource):
    """The one connection a network may have to Google's services; whose it is, is said by the network.

    Args:
        network: The network's name.
        range: Name of the range of addresses which Google's services get.
    """

    name = "connection to Google's services"
    needs = ("network", "range of Google's services")

    def __init__(self, google: Google, network: str, range: str) -> None:
        self._google, self._network, self._range = google, network, range

    def find(self) -> Attributes | None:
        doing = f"reading the connections of the network {self._network}"
        path = f"v1/{SERVICE}/connections"
        answer = self._google.rest(doing, "GET", "servicenetworking", path, network=self._path)
        found = next(iter(answer.get("connections", [])), None)
        return {"ranges": found["reservedPeeringRanges"]} if found and self._is_peered() else None

    def want(self) -> Attributes:
        return {"ranges": [self._range]}

    def apply(self, actual: Attributes | None, change: Change) -> None:
        """Patch makes it as well where it is not there, and may be sent twice."""
        body = {"network": self._path, "reservedPeeringRanges": [self._range]}
        self._end(
            "making", "PATCH", f"v1/{SERVICE}/connections/-", body, force="true", updateMask="reservedPeeringRanges"
        )

    def delete(self) -> None:
        """End it. Google refuses for days where a database was; without its peering the network is free all the same.

        Source: https://cloud.google.com/vpc/docs/configure-private-services-access#removing-connection
        """
        try:
            self._end("removing", "POST", f"v1/{SERVICE}/connections/{PEERING}", {"consumerNetwork": self._path})
        except Blocked:
            self._remove_peering()

    def _is_peered(self) -> bool:
        try:
            with explained(f"reading the network {self._network}"):
                found = self._google.compute("Networks").get(**self._named)
        except NotFound:
            return False
        return PEERING in [each.name for each in found.peerings]

    def _remove_peering(self) -> None:
        doing = f"removing the peering of the network {self._network} with Google's services"
        body = {"networks_remove_peering_request_resource": {"name": PEERING}}
        with explained(doing):
            begun = self._google.compute("Networks").remove_peering_unary(request={**self._named, **body})
        self._google.wait(lambda: not self._is_peered(), f"{doing} ({begun.name})", seconds=SECONDS)

    @property
    def _named(self) -> dict[str, str]:
        return {"project": self._google.project, "network": self._network}

    def _end(self, doing: str, verb: str, path: str, body: Mapping[str, object], **params: str) -> None:
        told = f"{doing} the connection of the network {self._network} to Google's services"
        begun = self._google.rest(told, verb, "servicenetworking", path, body, **params)
        self._google.finish(told, "servicenetworking", "v1", begun, SECONDS)

    @property
    def _path(self) -> str:
        return f"projects/{self._google.number}/global/networks/{self._network}"
