"""A host name of the user's for the front door: Cloud Run's domain mapping, which Google calls a preview.

Google asks for a certificate once the DNS records lead to it, and renews it. Nothing waits for that: until the
certificate serves, the stack is reached by Cloud Run's own address.

Source: https://cloud.google.com/run/docs/mapping-custom-domains (the regions: `blocks.gcp_spec.MAPPED_REGIONS`),
https://cloud.google.com/run/docs/reference/rest/v1/namespaces.domainmappings.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from google.api_core import exceptions

from blocks.agent.spec import Condition
from blocks.errors import Blocked
from blocks.gcp.google import Google
from blocks.gcp.marks import LABEL
from blocks.gcp.pruned import pruned
from blocks.resource import Attributes, Change, Resource

VERIFICATION = "https://www.google.com/webmasters/verification/verification?domain="
"""Where the owner of a domain says to Google that it is his."""


@dataclass(frozen=True)
class Record:
    """A DNS record that the domain must have."""

    type: str
    """A, AAAA or CNAME."""
    value: str


class DomainMapping(Resource):
    """The mapping of one host name to a service; it cannot be changed, only made and removed.

    Args:
        service: Name of the service of Cloud Run, which is the stack's.
        needs: Name of the resource that makes it.
    """

    name = "domain"

    def __init__(self, google: Google, service: str, region: str, domain: str, needs: tuple[str, ...]) -> None:
        self.needs = needs
        self._google, self._service, self.domain = google, service, domain
        self._parent = f"v1/projects/{google.project}/locations/{region}/domainmappings"

    def find(self) -> Attributes | None:
        found = self._get()
        return None if found is None else pruned(found, self.want())

    def want(self) -> Attributes:
        return {
            "metadata": {"name": self.domain, "labels": {LABEL: self._service}},
            "spec": {"routeName": self._service},
        }

    def require_ours(self, actual: Attributes) -> None:
        if actual != self.want():
            what = f"the domain {self.domain} is mapped already, and not by this stack"
            raise Blocked(what, "remove that mapping, or write another domain")

    def apply(self, actual: Attributes | None, change: Change) -> None:
        """Make it; that it serves is not waited for.

        Raises:
            Blocked: Google does not know that the caller owns the domain.
        """
        body = {"apiVersion": "domains.cloudrun.com/v1", "kind": "DomainMapping", **self.want()}
        metadata = {**body["metadata"], "namespace": self._google.project}  # type: ignore[dict-item]
        with suppress(exceptions.Conflict):  # the answer was lost: it is there
            self._google.rest(self._doing("mapping"), "POST", "run", self._parent, {**body, "metadata": metadata})
        found = self._google.wait(self._get, self._doing("mapping"), seconds=60.0) or {}
        self.require_ours(pruned(found, self.want()))
        refusal = next((each for each in _conditions(found) if each.get("reason") == "PermissionDenied"), None)
        if refusal:
            raise Blocked(f"{self._doing('mapping')}: {refusal['message']}", "then run the same command again")

    def delete(self) -> None:
        with suppress(exceptions.NotFound):
            self._google.rest(self._doing("removing"), "DELETE", "run", f"{self._parent}/{self.domain}")

    def records(self) -> list[Record]:
        """What its DNS must say, for a person to enter; empty before Google has said so."""
        return _records(self._get() or {})

    def condition(self) -> Condition:
        """Whether it serves with a certificate, and if not, what is missing."""
        found = self._get()
        if found is None:
            return Condition("Domain", False, "Missing", f"{self.domain} is not mapped: selfhost converge maps it")
        conditions = _conditions(found)
        ready = next((each for each in conditions if each["type"] == "Ready"), {})
        if ready.get("status") == "True":
            return Condition("Domain", True, "Serves", f"https://{self.domain} has its certificate")
        reason, message = ready.get("reason", "Pending"), ready.get("message", "Google has not looked at it yet")
        told = ", ".join(f"{each.type} {each.value}" for each in _records(found)) or "none yet"
        return Condition("Domain", False, reason, f"{self.domain}: {message} (DNS records: {told})")

    def _get(self) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = self._google.rest(
                self._doing("reading"), "GET", "run", f"{self._parent}/{self.domain}"
            )
        except exceptions.NotFound:
            return None
        return found

    def _doing(self, doing: str) -> str:
        return f"{doing} the domain {self.domain}"


def unverified(google: Google, domain: str) -> str:
    """Why whoever asks may not map a domain; empty where he may: he, or this service account, owns it."""
    path = f"v1/projects/{google.project}/authorizeddomains"
    listed = google.rest("reading which domains are verified", "GET", "run", path).get("domains", [])
    if any(domain == each["id"] or domain.endswith(f".{each['id']}") for each in listed):
        return ""
    return f"Google does not know that you own {domain}, or a domain above it: {VERIFICATION}{domain}"


def _conditions(mapping: dict[str, Any]) -> list[dict[str, Any]]:
    return list((mapping.get("status") or {}).get("conditions", []))


def _records(mapping: dict[str, Any]) -> list[Record]:
    listed = (mapping.get("status") or {}).get("resourceRecords", [])
    return [Record(each["type"], each["rrdata"]) for each in listed]
