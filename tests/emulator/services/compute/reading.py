"""How resources of Compute Engine are named, found and listed.

Source: https://cloud.google.com/compute/docs/reference/rest/v1 and, for the texts of errors, issues.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

from tests.emulator import errors
from tests.emulator.kind import Body, Call, on
from tests.emulator.policy_kind import PolicyKind
from tests.emulator.services.compute.filters import chosen
from tests.emulator.world import Record

GOOGLE = "https://www.googleapis.com/compute/v1"
"""What links of Compute Engine begin with, whatever address was called."""


class ReadKind(PolicyKind):
    """A kind with get, list and aggregatedList, as its document has them."""

    apis = ("compute.v1",)
    scope: ClassVar[str] = "global"
    """`global`, `region` or `zone`."""
    singular: ClassVar[str] = ""
    """The path parameter that names one, for instance `network`."""
    unanswered: ClassVar[tuple[str, ...]] = ("serviceProjectNumber", "serviceProject")
    """Parameters that ask for what is not emulated: Shared VPC."""

    # -- names -------------------------------------------------------------------------------------------------------

    @property
    def plural(self) -> str:
        """`networks` of `compute.networks`."""
        return self.collection.rpartition(".")[2]

    @property
    def type_name(self) -> str:
        """`compute#network`."""
        return f"compute#{self.singular}"

    def place(self, call: Call) -> str:
        """`global`, `regions/r` or `zones/z` of a call."""
        return "global" if self.scope == "global" else f"{self.scope}s/{call[self.scope]}"

    def named(self, call: Call) -> str:
        """The last part of the name a call is about, "" where it is about none; some methods call it `resource`."""
        return str(call.get(self.singular) or call.get("resource") or call.body.get("name") or "")

    def folder(self, call: Call) -> str:
        """`projects/p/global/networks`; 400 for a zone or region that there is not.

        Source of the words: inspec/inspec-gcp#301.
        """
        if self.place(call) not in self.cloud.places(self.scope):
            raise errors.invalid(f"Invalid value for field '{self.scope}': '{call[self.scope]}'. Unknown {self.scope}.")
        return self._folder(call)

    def _folder(self, call: Call) -> str:
        return f"projects/{self.project_of(call).id}/{self.place(call)}/{self.plural}"

    def scope_of(self, record: Record) -> str:
        return "/".join(record.name.split("/")[3:-2])

    def guards(self, call: Call) -> tuple[str, ...]:
        """The resource and its project, also where it is only being made.

        Source: "Required 'compute.firewalls.create' permission for 'projects/…/global/firewalls/…'" in
        forseti-security/forseti-security#3424.
        """
        if asked := [name for name in self.unanswered if name in call.parameters]:
            raise errors.not_emulated(f"{asked[0]} of a {self.singular}")
        project = f"projects/{self.project_of(call).id}"
        return (f"{self._folder(call)}/{name}", project) if (name := self.named(call)) else (project,)

    def denied(self, permission: str, resource: str) -> errors.ApiError:
        return errors.ApiError(403, f"Required '{permission}' permission for '{resource}'", reason="forbidden")

    def policy_name(self, call: Call) -> str:
        return self.existing(call).name.removeprefix("compute/")

    @on("setIamPolicy", "{collection}.setIamPolicy")
    def set_policy(self, call: Call) -> Body:
        """`policy`, or the older flattened `bindings` and `etag`.

        Source: https://cloud.google.com/compute/docs/reference/rest/v1/subnetworks/setIamPolicy and its siblings
        """
        older = {key: call.body[key] for key in ("bindings", "etag") if key in call.body}
        return self.cloud.access.set_policy(self.policy_name(call), call.body.get("policy", older))

    # -- reading -----------------------------------------------------------------------------------------------------

    def existing(self, call: Call, name: str = "") -> Record:
        """The record of a call, by name or by number; 404 in Google's words."""
        wanted = name or self.named(call)
        full = f"{self.folder(call)}/{wanted}"
        record = self.cloud.world.find(f"compute/{full}")
        if record is None and wanted.isdigit():
            near = self.cloud.world.under(f"compute/{self.folder(call)}/", self.collection)
            record = next((each for each in near if each.body.get("id") == wanted), None)
        if record is None:
            raise errors.not_found(f"The resource '{full}' was not found")
        return record

    @on("get", "{collection}.get")
    def get(self, call: Call) -> Body:
        return self.shown(self.existing(call))

    def shown(self, record: Record) -> Body:
        """The record as the API shows it; kinds with something computed add it here."""
        return record.body

    @on("list", "{collection}.list")
    def listed(self, call: Call) -> Body:
        records = self.cloud.world.under(f"compute/{self.folder(call)}/", self.collection)
        items, token = chosen([self.shown(each) for each in records], call)
        link = f"{GOOGLE}/{self.folder(call)}"
        return {"kind": f"{self.type_name}List", "id": self.folder(call), "items": items, "selfLink": link} | token

    @on("aggregatedList", "{collection}.list")
    def aggregated(self, call: Call) -> Body:
        """By scope; one without anything carries a warning; with `includeAllScopes` every scope there is.

        Source: the reference's `aggregatedList` pages.
        """
        project = self.project_of(call).id
        records = [each for each in self.cloud.world.under(f"compute/projects/{project}/") if self.aggregates(each)]
        items, token = chosen([self.shown(each) for each in records], call)
        kinds = ("global", "region", "zone") if call.get("includeAllScopes") else self.scopes
        scopes: dict[str, Any] = {place: {} for kind in kinds for place in self.cloud.places(kind)}
        for item in items:
            scopes.setdefault(_scope_in(item), {}).setdefault(self.plural, []).append(item)
        folder = f"projects/{project}/aggregated/{self.plural}"
        for place, found in scopes.items():
            if not found:
                found["warning"] = _empty(place)
        answer = {
            "kind": f"{self.type_name}AggregatedList",
            "id": folder,
            "items": scopes,
            "selfLink": f"{GOOGLE}/{folder}",
        }
        return answer | token

    @property
    def scopes(self) -> tuple[str, ...]:
        """The kinds of scope an aggregated list always shows."""
        return (self.scope,)

    def aggregates(self, record: Record) -> bool:
        """Whether a record belongs into the aggregated list."""
        return record.collection == self.collection

    def _place_links(self, call: Call) -> Body:
        if self.scope == "global":
            return {}
        return {self.scope: f"{GOOGLE}/projects/{self.project_of(call).id}/{self.place(call)}"}


def _scope_in(item: Body) -> str:
    found = re.search(r"/((zones|regions)/[^/]+|global)/", item["selfLink"])
    return found[1] if found else "global"


def _empty(place: str) -> Body:
    return {
        "code": "NO_RESULTS_ON_PAGE",
        "message": f"There are no results for scope '{place}' on this page.",
        "data": [{"key": "scope", "value": place}],
    }
