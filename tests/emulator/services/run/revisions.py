"""Revisions: what a service's template was when it last changed. Nothing but a new template makes one.

A revision's real part (`run.revisions`) is started when the revision is, and told of a `change` when its share of the
traffic changes; the body it gets has the `trafficStatuses` of the service added.

Source: https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.services.revisions
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator

from tests.emulator import errors
from tests.emulator.kind import Body, Call, on
from tests.emulator.operations import Operation
from tests.emulator.services.run.base import (
    REVISIONS,
    TYPES,
    RunKind,
    check_version,
    etag_of,
    missing,
    shown_operation,
    unique,
)
from tests.emulator.services.run.conditions import Failure, carried, condition, retired
from tests.emulator.services.run.images import resolved
from tests.emulator.services.run.readiness import network_names
from tests.emulator.world import Project, Record

LETTERS = "bcdfghjklmnpqrstvwxz2456789"
"""What random suffixes are made of. Source: k8s.io/apimachinery/pkg/util/rand, whose names Cloud Run's look like."""
COPIED = ("annotations", "client", "clientVersion", "containers", "executionEnvironment", "labels",
          "maxInstanceRequestConcurrency", "scaling", "serviceAccount", "sessionAffinity", "timeout", "volumes",
          "vpcAccess")  # fmt: skip


class Revisions(RunKind):
    """Revisions of a service, the newest first."""

    collection = REVISIONS
    word = "REVISION"

    @on("get", "run.revisions.get")
    def get(self, call: Call) -> Body:
        return self.existing(call).body

    @on("list", "run.revisions.list")
    def listed(self, call: Call) -> Body:
        """Of one service, or of all with `services/-`."""
        parent = self.full(call)
        if not parent.endswith("/services/-") and self.cloud.world.find(f"run/{parent}") is None:
            raise missing("SERVICE", parent)
        return self.paged(call, "revisions", [each.body for each in self.under(parent.removesuffix("/-"))])

    def under(self, parent: str) -> list[Record]:
        """Those below a name, the newest first."""
        found = self.cloud.world.under(f"run/{parent}/", REVISIONS)
        return sorted(found, key=lambda each: each.hidden["number"], reverse=True)

    @on("delete", "run.revisions.delete")
    def delete(self, call: Call) -> Body:
        """Source: https://cloud.google.com/run/docs/managing/revisions#delete (not the only one, not the latest, none
        that can receive traffic); no source for the words."""
        record = self.existing(call)
        check_version(call.get("etag"), record)
        self.check_unused(record)
        if call.get("validateOnly"):
            name = f"{self.full(call).rsplit('/services/', 1)[0]}/operations/validated-{self.cloud.world.number()}"
            return {"name": name, "done": True, "response": {"@type": f"{TYPES}Revision", **record.body}}
        return shown_operation(self.take_away(call, record))

    def take_away(self, call: Call, record: Record) -> Operation:
        """Begin to delete a revision that nothing needs."""
        operation = self.start(
            call, "run.delete", "delete", record, lambda: self.gone(record), lambda part: part.remove(record.name)
        )
        operation.metadata = {"@type": f"{TYPES}Revision", **record.body}
        return operation

    def check_unused(self, record: Record) -> None:
        """400 for a revision that its service still needs."""
        service = self.cloud.world.find(record.name.rsplit("/revisions/", 1)[0])
        name = record.body["name"]
        if service is None:
            return
        serving = {each["revision"] for each in service.body.get("trafficStatuses", [])}
        asked = {each.get("revision") for each in service.body["traffic"]}
        latest = (service.body.get("latestCreatedRevision"), service.body.get("latestReadyRevision"))
        if name in latest or name.rpartition("/")[2] in serving | asked:
            raise errors.failed_precondition(
                f"Revision '{name.rpartition('/')[2]}' cannot be deleted: it is the latest revision or it can receive "
                "traffic."
            )

    def gone(self, record: Record) -> Body:
        """Drop it; what it held of its subnetwork stays held for a while."""
        self.cloud.world.drop(record.name)
        for name in self.references(record):
            if "/subnetworks/" in name:
                self.release_later(name, address_of(name, self.cloud.world.number()), "release.subnetwork")
        return {"@type": f"{TYPES}Revision", **record.body, "deleteTime": self.now}

    def references(self, record: Record) -> Iterator[str]:
        """Network and subnetwork of a revision that got an address there."""
        if record.hidden.get("started"):
            yield from (name for name in record.hidden["network"] if name)

    def project_named(self, name: str) -> Project:
        project = self.cloud.world.project(name.split("/")[2])
        if project is None:
            raise AssertionError(f"{name} is in no project")
        return project

    def new(self, call: Call, service: Record) -> Record:
        """The next revision of a service, not yet ready."""
        service.hidden["number"] = number = service.hidden.get("number", 0) + 1
        template, name = service.body["template"], service.body["name"]
        short = template.get("revision") or revision_name(name, number)
        project = self.project_named(service.name)
        body = {key: copy.deepcopy(template[key]) for key in COPIED if key in template} | {
            "name": f"{name}/revisions/{short}",
            "uid": unique(project, f"{name}/revisions/{number}"),
            "generation": "1",
            "createTime": self.now,
            "updateTime": self.now,
            "creator": call.email,
            "launchStage": service.body["launchStage"],
            "service": name.rpartition("/")[2],
            "reconciling": True,
            "logUri": log_uri(project, name.rpartition("/")[2], short),
        }
        record = Record(f"run/{body['name']}", REVISIONS, body, {"number": number, "version": self.next_version()})
        record.hidden["network"] = network_names(project, name.split("/")[3], template)
        body["etag"] = etag_of(record.hidden["version"])
        body["conditions"] = [condition(each, self.now, pending=True) for each in ("Ready", "ContainerReady")]
        return self.cloud.world.put(record)

    def settle(self, record: Record, failure: Failure | None) -> None:
        """It has got ready, or never will."""
        kinds = ("Ready", "ContainerReady", "ContainerHealthy", "ResourcesAvailable")
        body, now = record.body, self.now
        after = [condition(each, now, failure if each != "ResourcesAvailable" else None) for each in kinds]
        body |= {"conditions": carried(body["conditions"], after), "observedGeneration": "1", "reconciling": False}
        body["updateTime"] = now
        record.hidden["started"] = failure is None
        if failure is None:
            body["containerStatuses"] = self.statuses(body)

    def statuses(self, body: Body) -> list[Body]:
        """Digests of the images as far as they are known."""
        found = []
        for container in body["containers"]:
            digest = resolved(self.cloud, container["image"])[1]
            image = container["image"].partition("@")[0].rsplit(":", 1)[0] if digest else ""
            named = {"name": container["name"]} if container.get("name") else {}
            found.append(named | ({"imageDigest": f"{image}@{digest}"} if digest else {}))
        return found

    def route(self, record: Record, serving: bool) -> None:
        """Say of a ready revision whether it gets traffic."""
        others = [each for each in record.body["conditions"] if each["type"] != "Active"]
        active = condition("Active", self.now) if serving else retired(self.now)
        record.body["conditions"] = carried(record.body["conditions"], [*others, active])


def revision_name(service: str, number: int) -> str:
    """`SERVICE-00001-abc`. Source: https://cloud.google.com/run/docs/managing/revisions"""
    digest = hashlib.sha256(f"{service}/{number}".encode()).digest()
    return f"{service.rpartition('/')[2]}-{number:05d}-{''.join(LETTERS[byte % len(LETTERS)] for byte in digest[:3])}"


def log_uri(project: Project, service: str, revision: str) -> str:
    """Source: the "Logs URL" of transparency-dev/tesseract#413."""
    resource = f"cloud_run_revision/service_name/{service}/revision_name/{revision}"
    query = (
        "resource.type%3D%22cloud_run_revision%22%0A"
        f"resource.labels.service_name%3D%22{service}%22%0Aresource.labels.revision_name%3D%22{revision}%22"
    )
    return (
        f"https://console.cloud.google.com/logs/viewer?project={project.id}&resource={resource}&advancedFilter={query}"
    )


def address_of(subnetwork: str, number: int) -> str:
    """What holds a subnetwork after the service is gone.

    Source: https://cloud.google.com/run/docs/configuring/vpc-direct-vpc#delete-subnet; the name is from notes
    in public repositories ("already being used by …/addresses/serverless-ipv4-…"; no issue found).
    """
    region = subnetwork.rsplit("/subnetworks/", 1)[0]
    return f"{region}/addresses/serverless-ipv4-{number}"


KINDS = (Revisions,)
