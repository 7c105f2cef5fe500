"""The stack's network connected to Google's services, so that its database has an address in it and nowhere else.

Source: https://cloud.google.com/service-infrastructure/docs/service-networking/reference/rest/v1/services.connections
"""

from __future__ import annotations

from collections.abc import Mapping

from blocks.gcp.google import Google
from blocks.resource import Attributes, Change, Resource

SERVICE = "services/servicenetworking.googleapis.com"
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
        return {"ranges": found["reservedPeeringRanges"]} if found else None

    def want(self) -> Attributes:
        return {"ranges": [self._range]}

    def apply(self, actual: Attributes | None, change: Change) -> None:
        """Patch makes it as well where it is not there, and may be sent twice."""
        body = {"network": self._path, "reservedPeeringRanges": [self._range]}
        self._end(
            "making", "PATCH", f"v1/{SERVICE}/connections/-", body, force="true", updateMask="reservedPeeringRanges"
        )

    def delete(self) -> None:
        path = f"v1/{SERVICE}/connections/servicenetworking-googleapis-com"
        self._end("removing", "POST", path, {"consumerNetwork": self._path})

    def _end(self, doing: str, verb: str, path: str, body: Mapping[str, object], **params: str) -> None:
        told = f"{doing} the connection of the network {self._network} to Google's services"
        begun = self._google.rest(told, verb, "servicenetworking", path, body, **params)
        self._google.finish(told, "servicenetworking", "v1", begun, SECONDS)

    @property
    def _path(self) -> str:
        return f"projects/{self._google.number}/global/networks/{self._network}"
