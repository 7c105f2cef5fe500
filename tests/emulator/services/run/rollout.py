"""From what a service says to what it does: a revision is started, and traffic moves once it is ready.

A revision that does not get ready leaves the older one serving.
Source: https://cloud.google.com/run/docs/rollouts-rollbacks-traffic-migration and `reconciling` in the reference of
Service.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.emulator.backing import Backing
from tests.emulator.errors import ApiError
from tests.emulator.kind import Body, Call
from tests.emulator.operations import Operation
from tests.emulator.services.run.base import TYPES
from tests.emulator.services.run.conditions import Failure, carried, condition
from tests.emulator.services.run.readiness import obstacle
from tests.emulator.services.run.revisions import Revisions, log_uri
from tests.emulator.services.run.template import DEFAULT_STARTUP_PROBE
from tests.emulator.services.run.traffic import misrouted, resolved, uri, urls
from tests.emulator.world import Project, Record

WAITING = {
    "Ready": "Waiting for operation to complete.",
    "RoutesReady": "Waiting for operation to complete.",
    "ConfigurationsReady": "Creating Revision.",
}
"""No source: what the conditions say meanwhile."""


@dataclass
class Rollout:
    """One change of a service on its way; `fresh` is whether it makes a revision."""

    revisions: Revisions
    service: Record
    fresh: bool
    project: Project
    revision: Record | None = None
    generation: str = ""
    broken: list[Failure] = field(default_factory=list)

    def start(self, call: Call, verb: str) -> Operation:
        """Mark the service as on its way, and begin."""
        body, location = self.service.body, self.service.name.split("/")[4]
        self.generation = body["generation"]
        self._pend()
        if self.fresh:
            problem = obstacle(self.revisions.cloud, self.project, location, body["template"])
            self.broken += [problem] if problem else []
            self.revision = self.revisions.new(call, self.service)
            body["latestCreatedRevision"] = self.revision.body["name"]
        act = None if self.broken else self._act()
        operation = self.revisions.start(call, "run.services", verb, self.service, self._finish, act, self._abandon)
        operation.metadata = typed(body)
        self.service.hidden["operation"] = operation.number
        return operation

    def _pend(self) -> None:
        body, now = self.service.body, self.revisions.now
        waiting = [condition(each, now, pending=True) | {"message": text} for each, text in WAITING.items()]
        body["reconciling"] = True
        self._tell(waiting)

    def _tell(self, conditions: list[Body]) -> None:
        body = self.service.body
        before = [*body.get("conditions", []), *([body["terminalCondition"]] if "terminalCondition" in body else [])]
        ready, *others = carried(before, conditions)
        body |= {"terminalCondition": ready, "conditions": others}

    # -- the real part -----------------------------------------------------------------------------------------------

    def _act(self) -> Callable[[Backing], None]:
        """Start the new revision, then tell each whose share changes; all of it on copies, for it runs on a thread."""
        started = copy.deepcopy(self.revision)
        latest = self.revision or self._latest_ready()
        after = self._statuses(latest)
        before = self.service.body.get("trafficStatuses", [])
        told = [copy.deepcopy(each) for each in self._all() if _share(before, each) != _share(after, each)]

        def act(part: Backing) -> None:
            try:
                if started is not None:
                    part.start(started.name, started.body | {"trafficStatuses": after})
                for each in told:
                    part.change(each.name, each.body | {"trafficStatuses": after})
            except Exception as error:  # noqa: BLE001 - whatever a real part raises is how its container failed
                self.broken.append(unhealthy(self.service, started, error, self.project))

        return act

    def _all(self) -> list[Record]:
        return self.revisions.under(self.service.name.removeprefix("run/"))

    def _latest_ready(self) -> Record | None:
        name = self.service.body.get("latestReadyRevision")
        return self.revisions.cloud.world.find(f"run/{name}") if name else None

    def _statuses(self, latest: Record | None) -> list[Body]:
        ready = {short(each.name) for each in self._all() if each.hidden.get("started") or each is latest}
        return resolved(self.service.body, self.project, ready, short(latest.name) if latest else "")

    # -- the end -----------------------------------------------------------------------------------------------------

    def _finish(self) -> Body:
        """The outcome, for the revision and, if no newer change is on its way, for the service."""
        service, body = self.service, self.service.body
        if self.revisions.cloud.world.find(service.name) is not service:
            raise ApiError(409, f"Service '{short(service.name)}' was deleted meanwhile.", status="ABORTED")
        failure = self.broken[0] if self.broken else None
        if self.revision is not None:
            self.revisions.settle(self.revision, failure)
            service.hidden["failure"] = failure
            if failure is None:
                body["latestReadyRevision"] = self.revision.body["name"]
        if body["generation"] == self.generation:
            self._conclude(failure)
        if failure is not None and self.revision is not None:
            raise failure.of_service(short(self.revision.name)).error
        if (lost := misrouted(body, {short(each.name) for each in self._all()})) is not None:
            raise lost.error
        return typed(body)

    def _abandon(self) -> None:
        """The operation ended in an error of its own, before it was done: that is where the service stands."""
        if self.service.body["generation"] == self.generation and self.service.body["reconciling"]:
            failed = Failure("An internal error occurred.", "INTERNAL")
            if self.revision is not None:
                self.revisions.settle(self.revision, failed)
                self.service.hidden["failure"] = failed
            self._conclude(failed)

    def _conclude(self, failure: Failure | None) -> None:
        service, body, now = self.service, self.service.body, self.revisions.now
        lost = misrouted(body, {short(each.name) for each in self._all()})
        newest = failure or service.hidden.get("failure")
        told = newest.of_service(short(body["latestCreatedRevision"])) if newest else None
        to_latest = any(not each.get("revision") for each in body["traffic"])
        if lost is None:
            self._route()
        routes = lost or (told if to_latest else None)
        self._tell(
            [
                condition("Ready", now, routes or told),
                condition("RoutesReady", now, routes),
                condition("ConfigurationsReady", now, newest),
            ]
        )
        body["reconciling"] = False
        if not (told or lost):
            body["observedGeneration"] = body["generation"]
        body["updateTime"] = now

    def _route(self) -> None:
        """Move the traffic, and show addresses once there is something to reach."""
        body = self.service.body
        statuses = self._statuses(self._latest_ready())
        body["trafficStatuses"] = statuses
        for each in self._all():
            if each.hidden.get("started"):
                self.revisions.route(each, any(status["revision"] == short(each.name) for status in statuses))
        body.pop("uri", None)
        body["urls"] = []
        if statuses and not body.get("defaultUriDisabled"):
            body |= {"uri": uri(body, self.project), "urls": urls(body, self.project)}


def _share(statuses: list[Body], revision: Record) -> list[tuple[int, str]]:
    mine = (each for each in statuses if each["revision"] == short(revision.name))
    return sorted((each.get("percent", 0), each.get("tag", "")) for each in mine)


def short(name: str) -> str:
    """The last part of a name."""
    return name.rpartition("/")[2]


def typed(body: Body) -> Body:
    """A service as an operation carries it."""
    return {"@type": f"{TYPES}Service", **copy.deepcopy(body)}


def unhealthy(service: Record, revision: Record | None, error: Exception, project: Project) -> Failure:
    """What Google says of a container that does not come up, and what the real part raised.

    Source: transparency-dev/tesseract#413 (the default probe), terraform-google-modules/terraform-docs-samples#254 (one
    of the user's).
    """
    body = (revision or service).body
    none: Body = {"ports": [{}]}
    serving: Body = next((each for each in body.get("containers", ()) if each.get("ports")), none)
    port = serving["ports"][0].get("containerPort", 8080)
    default = DEFAULT_STARTUP_PROBE | {"tcpSocket": {"port": port}}
    text = "The user-provided container failed the configured startup probe checks. "
    if serving.get("startupProbe", default) == default:
        text = (
            f"The user-provided container failed to start and listen on the port defined provided by the PORT={port} "
            "environment variable within the allocated timeout. This can happen when the container port is "
            "misconfigured or if the timeout is too short. The health check timeout can be extended. "
        )
    text += (
        "Logs for this revision might contain more information.\n\nLogs URL: "
        f"{log_uri(project, short(service.name), short((revision or service).name))}\nFor more troubleshooting "
        "guidance, see https://cloud.google.com/run/docs/troubleshooting#container-failed-to-start\n"
        f"(the emulator's real part: {type(error).__name__}: {error})"
    )
    return Failure(text, revision_reason="HEALTH_CHECK_CONTAINER_ERROR")
