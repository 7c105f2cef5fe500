"""Things of Compute Engine as resources: what is wanted is the body that the API takes; only that is compared.

Whose one is stands in its description, as most kinds have no labels.

Source: https://cloud.google.com/compute/docs/reference/rest/v1
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal

from google.api_core import exceptions
from google.cloud import compute_v1

from blocks.errors import Blocked, Conflict, NotReady
from blocks.gcp.google import Google, explained
from blocks.gcp.marks import description
from blocks.gcp.pruned import pruned
from blocks.resource import Attributes, Change, Resource

Place = Literal["", "region", "zone"]
READY_SECONDS = 300.0
"""Time a thing that was just made gets until another one may be put into it."""
NOT_YET = ("RESOURCE_NOT_READY", "RESOURCE_IN_USE_BY_ANOTHER_RESOURCE", "EXTERNAL_RESOURCE_NOT_FOUND")
"""How an operation ends which time mends; the last one is a service account that is not known everywhere yet."""
STALE = "CONDITION_NOT_MET"
"""How one ends that was to change an older form of a thing."""
HINTS = {
    "QUOTA_EXCEEDED": "ask for more in the console, below IAM & Admin, Quotas; or write another region",
    "SERVICE_ACCOUNT_ACCESS_DENIED": "the role Service Account User on that account is lacking",
    "ZONE_RESOURCE_POOL_EXHAUSTED": "write another zone in the spec, or run the same command again later",
    "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS": "write another zone in the spec, or run the same command again later",
}


@dataclass(frozen=True)
class Kind:
    """A collection of the API, by its names there."""

    client: str
    """Such as `Networks`."""
    key: str
    """Such as `network`."""
    message: type[Any]
    place: Place
    changeable: frozenset[str] = frozenset()
    """Fields of the body that can be changed in place."""


NETWORK = Kind("Networks", "network", compute_v1.Network, "", frozenset({"routing_config"}))
SUBNETWORK = Kind(
    "Subnetworks",
    "subnetwork",
    compute_v1.Subnetwork,
    "region",
    frozenset({"private_ip_google_access", "log_config"}),
)
ROUTER = Kind("Routers", "router", compute_v1.Router, "region", frozenset({"nats"}))
FIREWALL = Kind(
    "Firewalls",
    "firewall",
    compute_v1.Firewall,
    "",
    frozenset({"allowed", "denied", "priority", "source_ranges", "target_service_accounts", "log_config"}),
)
RANGE = Kind("GlobalAddresses", "address", compute_v1.Address, "")
ADDRESS = Kind("Addresses", "address", compute_v1.Address, "region")


class ComputeResource(Resource):
    """One thing of a kind, found by its name.

    Args:
        words: What a person calls it, such as `network`.
        id: Its name at Google.
        place: Region or zone; empty for what is global.
        body: What is wanted of it, by the API's own names.
    """

    def __init__(
        self,
        google: Google,
        stack: str,
        kind: Kind,
        words: str,
        id: str,
        body: Mapping[str, Any],
        *,
        place: str = "",
        needs: tuple[str, ...] = (),
    ) -> None:
        self.name, self.needs = words, needs
        self._google, self._stack, self._kind, self._id = google, stack, kind, id
        self._body = {**body, "description": description(stack)}
        self._scope: dict[str, str] = {"project": google.project} | ({kind.place: place} if kind.place else {})
        self._client: Any = google.compute(kind.client)

    def find(self) -> Attributes | None:
        found = self._get()
        return None if found is None else pruned(self._kind.message.to_dict(found), self._body)

    def want(self) -> Attributes:
        return self._body

    def require_ours(self, actual: Attributes) -> None:
        if actual.get("description") != self._body["description"]:
            what = f"the {self.name} {self._id} is there, and not this stack's: {actual.get('description')!r}"
            raise Blocked(what, "another stack name gives other names")

    def check(self, actual: Attributes) -> None:
        for field, wanted in self._body.items():
            if field not in self._kind.changeable and actual.get(field) != wanted:
                what = f"{field} of the {self.name} {self._id} is {actual.get(field)!r}, and cannot become {wanted!r}"
                raise Blocked(what, "write it in the spec as it is, or remove it by hand")

    def apply(self, actual: Attributes | None, change: Change) -> None:
        if actual is None:
            body = self._kind.message(name=self._id, **self._body)
            self._carry_out("making", "insert_unary", {self._resource: body})
        else:
            body = self._kind.message(**{field: self._body[field] for field in change.fields}, **self._fingerprint())
            self._carry_out("changing", "patch_unary", {**self._named, self._resource: body})

    def delete(self) -> None:
        self._carry_out("removing", "delete_unary", self._named)

    @property
    def _named(self) -> dict[str, str]:
        return {self._kind.key: self._id}

    @property
    def _resource(self) -> str:
        return f"{self._kind.key}_resource"

    def _get(self) -> Any:
        try:
            with self._explained("reading"):
                return self._client.get(**self._scope, **self._named)
        except exceptions.NotFound:
            return None

    def _fingerprint(self) -> dict[str, str]:
        """Of the form that was seen, where the kind has one: a change of an older form is refused."""
        found = self._get() if "fingerprint" in self._kind.message.meta.fields else None
        return {"fingerprint": found.fingerprint} if found else {}

    def _carry_out(self, doing: str, method: str, named: Mapping[str, Any], client: Any = None) -> None:
        """Make the call, as soon as what it needs is ready, and wait until it is done.

        Args:
            client: Of another kind in the same place, where the call is one of its.

        The request has an identity: sent again, as the answer was lost, it is the same operation.

        Raises:
            google.api_core.exceptions.PreconditionFailed: the thing has changed since it was read.
            Blocked, Conflict, NotReady: as Google refuses it.
        """
        request = {**self._scope, **named, "request_id": str(uuid.uuid4())}

        def attempt() -> bool:
            with self._explained(doing):
                ended = self._ended(getattr(client or self._client, method)(request=request))
            request["request_id"] = str(uuid.uuid4())  # the same one again would show the operation that has ended
            self._require_done(ended)
            return True

        try:
            self._google.wait(attempt, f"{doing} the {self.name} {self._id}", seconds=READY_SECONDS)
        except exceptions.Conflict as error:
            what = f"somebody else was {doing} the {self.name} {self._id} at the same time"
            raise Conflict(what, "run the same command again") from error

    def _ended(self, operation: Any) -> Any:
        """The operation, once it has ended."""
        clients = {"": "GlobalOperations", "region": "RegionOperations", "zone": "ZoneOperations"}
        client: Any = self._google.compute(clients[self._kind.place])
        while operation.status != compute_v1.Operation.Status.DONE:
            operation = client.wait(**self._scope, operation=operation.name)
        return operation

    def _require_done(self, operation: Any) -> None:
        for error in operation.error.errors:
            what = f"{self.name} {self._id}: {error.message}"
            if error.code == STALE:
                raise exceptions.PreconditionFailed(what)  # type: ignore[no-untyped-call]
            if error.code in NOT_YET:
                raise NotReady(what)
            raise Blocked(what, HINTS.get(error.code, f"Google says {error.code}"))

    def _explained(self, doing: str) -> AbstractContextManager[None]:
        return explained(f"{doing} the {self.name} {self._id}")
