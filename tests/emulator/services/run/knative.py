"""The Knative (v1) view of services, revisions, routes and configurations: other forms of the same records.

A `namespaces` path has no location; it is the one of the address, `REGION-run.googleapis.com`, or of the path's first
segment here, `/REGION-run/…`. Without one a list is of all locations and anything else is refused.

Source: https://cloud.google.com/run/docs/reference/rest/v1
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, ClassVar

from tests.emulator import errors
from tests.emulator.cloud import REGIONS
from tests.emulator.kind import Body, Call, on
from tests.emulator.pages import cut
from tests.emulator.services.run.base import (
    DNS_LABEL,
    REVISIONS,
    SERVICES,
    HasPolicy,
    RunKind,
    Violation,
    check_version,
    missing,
    refuse,
)
from tests.emulator.services.run.knative_in import API_VERSION, service_in
from tests.emulator.services.run.knative_out import configuration_out, revision_out, route_out, service_out
from tests.emulator.services.run.revisions import Revisions
from tests.emulator.services.run.rules import NAME_RULE
from tests.emulator.services.run.services import Services
from tests.emulator.world import Project, Record

REGIONAL = re.compile(r".*?//(?:[^/]+/)?([a-z]+-[a-z]+\d+)-run(\.googleapis\.com)?")
SUCCESS = {"status": "Success"}


class KnativeKind(RunKind):
    """A kind below `namespaces/P` or `projects/P/locations/L`, which shows records of a v2 kind."""

    apis = ("run.v1",)
    owns_records = False
    shows: ClassVar[str] = SERVICES

    @property
    def owner(self) -> str:
        return self.shows

    def location(self, call: Call) -> str:
        """Of a call; "" where its address names none, or all by `-`, as gcloud does."""
        parts = call.named.split("/")
        if parts[0] == "projects" and len(parts) > 3:
            return "" if parts[3] == "-" else str(parts[3])
        found = REGIONAL.fullmatch(call.base)
        return found[1] if found else ""

    def path(self, call: Call) -> str:
        parts = call.named.split("/")
        rest = parts[2:] if parts[0] == "namespaces" else parts[4:]
        return "/".join(["projects", self.project_of(call).id, "locations", self.location(call), *rest])

    def full(self, call: Call) -> str:
        if not self.location(call):  # no source: words
            raise errors.invalid("A regional endpoint is required: REGION-run.googleapis.com.")
        return super().full(call)

    def guards(self, call: Call) -> tuple[str, ...]:
        """As in v2; a list of all locations is the project's."""
        project = f"projects/{self.project_of(call).id}"
        if not self.location(call):
            return (project,)
        parts = self.path(call).split("/")
        service = ("/".join(parts[:6]),) if len(parts) > 5 and self.shows == SERVICES else ()
        return (*service, project)

    def denied(self, permission: str, resource: str) -> errors.ApiError:
        """Source: google-github-actions/deploy-cloudrun#182 (`namespaces/…/services/…`)."""
        parts = resource.split("/")
        shown = "/".join(["namespaces", parts[1], *parts[4:6]])
        return super().denied(permission, shown)

    def listing(self, call: Call, kind: str, shown: Callable[[Record, Project], Body]) -> Body:
        """One page by `limit` and `continue`, of what `labelSelector` selects."""
        if call.get("fieldSelector") or call.get("watch"):
            raise errors.not_emulated(f"{self.collection}.list with fieldSelector or watch")
        project, location = self.project_of(call), self.location(call)
        places = [location] if location else sorted(REGIONS)
        records = [each for place in places for each in self.found(project, place)]
        items = [shown(each, project) for each in records]
        items = [
            each for each in items if selected(each["metadata"].get("labels", {}), call.get("labelSelector") or "")
        ]
        given, token = cut(items, call.get("limit") or len(items), call.get("continue") or "")
        more = {"continue": token} if token else {}
        return {"apiVersion": API_VERSION, "kind": kind, "metadata": more, "items": given}

    def found(self, project: Project, location: str) -> list[Record]:
        return self.cloud.world.under(f"run/projects/{project.id}/locations/{location}/", self.shows)


def selected(labels: dict[str, str], selector: str) -> bool:
    """Whether labels have what a selector of equalities asks for."""
    for term in filter(None, (each.strip() for each in selector.split(","))):
        match = re.fullmatch(r"([\w./-]+)\s*={1,2}\s*([\w.-]*)", term)
        if match is None:
            raise errors.not_emulated(f"the label selector {term}")
        if labels.get(match[1]) != match[2]:
            return False
    return True


class KnativeServices(KnativeKind):
    """Services of a namespace."""

    collection = "run.namespaces.services"

    @property
    def services(self) -> Services:
        return Services(self.cloud)

    def shown(self, record: Record, project: Project) -> Body:
        return service_out(record, project)

    @on("get", "run.services.get")
    def get(self, call: Call) -> Body:
        return self.shown(self.existing(call), self.project_of(call))

    @on("list", "run.services.list")
    def listed(self, call: Call) -> Body:
        return self.listing(call, "ServiceList", self.shown)

    @on("create", "run.services.create")
    def create(self, call: Call) -> Body:
        folder, name = self.full(call), call.body.get("metadata", {}).get("name", "")
        if not re.fullmatch(DNS_LABEL, name) or len(name) > 63:
            refuse([Violation("metadata.name", NAME_RULE)], "", knative=True)
        self.check_namespace(call)
        full = f"{folder}/services/{name}"
        body = self.services.checked(call, service_in(call.body), full, "", knative=True)
        outcome = self.services.make(call, full, body, dry=call.get("dryRun") == "all")
        return self.answered(call, full, outcome)

    @on("replaceService", "run.services.update")
    def replace(self, call: Call) -> Body:
        record = self.existing(call)
        self.check_namespace(call)
        check_version(call.body.get("metadata", {}).get("resourceVersion"), record)
        body = self.services.checked(call, service_in(call.body), self.full(call), "", knative=True)
        outcome = self.services.change(call, record, body, force=False, dry=call.get("dryRun") == "all")
        return self.answered(call, self.full(call), outcome)

    @on("delete", "run.services.delete")
    def delete(self, call: Call) -> Body:
        record = self.existing(call)
        if call.get("dryRun") != "all":
            self.services.remove(call, record)
        return SUCCESS

    def check_namespace(self, call: Call) -> None:
        """Source: `namespace` in the reference of ObjectMeta: "it must be project ID or number"; none for the words."""
        project = self.project_of(call)
        if call.body.get("metadata", {}).get("namespace", project.id) not in (project.id, str(project.number)):
            raise errors.invalid("metadata.namespace: must be the project of the path.")

    def answered(self, call: Call, full: str, outcome: Any) -> Body:
        """The service as it is now; as it would be where the call was a dry run."""
        project, record = self.project_of(call), self.cloud.world.find(f"run/{full}")
        if isinstance(outcome, dict):
            hidden = record.hidden if record else {"version": self.next_version()}
            pending = {"reconciling": False} | outcome
            return service_out(Record(f"run/{full}", SERVICES, pending, hidden), project)
        return self.shown(self.record(full), project)


class LocatedServices(KnativeServices, HasPolicy):
    """The same below `projects/P/locations/L`, where policies are too."""

    collection = "run.projects.locations.services"


class KnativeRevisions(KnativeKind):
    """Revisions of a namespace; unlike in v2 their names have no service in them."""

    collection = "run.namespaces.revisions"
    shows = REVISIONS
    word = "REVISION"

    def existing(self, call: Call) -> Record:
        full = self.full(call)
        wanted = full.rpartition("/")[2]
        found = self.found(self.project_of(call), full.split("/")[3])
        record = next((each for each in found if each.name.rpartition("/")[2] == wanted), None)
        if record is None:
            raise missing(self.word, full)
        return record

    def found(self, project: Project, location: str) -> list[Record]:
        return Revisions(self.cloud).under(f"projects/{project.id}/locations/{location}/services")

    @on("get", "run.revisions.get")
    def get(self, call: Call) -> Body:
        return revision_out(self.existing(call), self.project_of(call))

    @on("list", "run.revisions.list")
    def listed(self, call: Call) -> Body:
        return self.listing(call, "RevisionList", revision_out)

    @on("delete", "run.revisions.delete")
    def delete(self, call: Call) -> Body:
        record, revisions = self.existing(call), Revisions(self.cloud)
        revisions.check_unused(record)
        if call.get("dryRun") != "all":
            revisions.take_away(call, record)
        return SUCCESS


class LocatedRevisions(KnativeRevisions):
    collection = "run.projects.locations.revisions"


class Routes(KnativeKind):
    """The half of each service that is about traffic."""

    collection = "run.namespaces.routes"
    word = "ROUTE"

    @on("get", "run.routes.get")
    def get(self, call: Call) -> Body:
        return route_out(self.service(call), self.project_of(call))

    @on("list", "run.routes.list")
    def listed(self, call: Call) -> Body:
        return self.listing(call, "RouteList", route_out)

    def service(self, call: Call) -> Record:
        """The service of the same name."""
        *folder, _, name = self.full(call).split("/")
        return self.record("/".join([*folder, "services", name]))


class LocatedRoutes(Routes):
    collection = "run.projects.locations.routes"


class Configurations(Routes):
    """The half of each service that is about revisions."""

    collection = "run.namespaces.configurations"
    word = "CONFIGURATION"

    @on("get", "run.configurations.get")
    def get(self, call: Call) -> Body:
        return configuration_out(self.service(call), self.project_of(call))

    @on("list", "run.configurations.list")
    def listed(self, call: Call) -> Body:
        return self.listing(call, "ConfigurationList", configuration_out)


class LocatedConfigurations(Configurations):
    collection = "run.projects.locations.configurations"


class Locations(KnativeKind):
    """Where Cloud Run is."""

    collection = "run.projects.locations"

    @on("list", "run.locations.list")
    def listed(self, call: Call) -> Body:
        project = self.project_of(call).id
        return {
            "locations": [
                {
                    "name": f"projects/{project}/locations/{each}",
                    "locationId": each,
                    "labels": {"cloud.googleapis.com/region": each},
                }
                for each in sorted(REGIONS)
            ]
        }


KINDS = (KnativeServices, LocatedServices, KnativeRevisions, LocatedRevisions, Routes, LocatedRoutes, Configurations,
         LocatedConfigurations, Locations)  # fmt: skip
