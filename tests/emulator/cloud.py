"""The emulated cloud in one piece: world, operations, access, faults, real parts, and the kinds that answer."""

from __future__ import annotations

import copy
import importlib
import pkgutil
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

from tests.emulator import agents, errors, services
from tests.emulator.access import Access
from tests.emulator.backing import Backing, Backings
from tests.emulator.clock import Clock, RealClock
from tests.emulator.consumers import BY_CALLER
from tests.emulator.discovery import APIS, Document, Method
from tests.emulator.faults import Faults, Rule
from tests.emulator.kind import Answering, Call, Kind, RawMatch
from tests.emulator.operations import Operations
from tests.emulator.router import Router
from tests.emulator.settling import Settling
from tests.emulator.world import Project, Record, World

REMEMBERED = 20_000
"""Calls kept for `GET /_emulator/requests`."""
REGIONS = {
    "us-central1": "abcf",
    "us-east1": "bcd",
    "europe-west1": "bcd",
    "europe-west4": "abc",
    "europe-north1": "abc",
}
"""Regions that exist here, with the letters of their zones. Source: https://cloud.google.com/compute/docs/regions-zones"""
OWNER = "user:owner@example.com"
"""The principal that has roles/owner on every project made through `add_project`."""


@dataclass(frozen=True)
class Received:
    """One call as it came in: `method` is the discovery id, `resource` the path, `caller` a principal."""

    method: str
    resource: str
    caller: str
    status: int


class Cloud:
    """Google Cloud as far as it is emulated."""

    def __init__(
        self,
        clock: Clock | None = None,
        scale: float = 0.0,
        parts: dict[str, Backing] | None = None,
        kinds: Sequence[type[Kind]] = (),
        at_once: str = "",
        unlimited: str = "",
    ) -> None:
        """`scale` times Google's latencies; real parts by the names of backing.BACKED; kinds besides our own.

        `at_once` says why grants, accounts and enabled APIs shall be known everywhere at once (settling.py),
        `unlimited` why calls may follow each other faster than at Google (`rate.…` in latencies.py).
        """
        clock = clock or RealClock()
        self.world = World(clock, Settling(clock, scale, at_once))
        self.unlimited = unlimited
        self.operations = Operations(self.world.clock, scale)
        self.access = Access(self.world)
        self.faults = Faults()
        self.backings = Backings(parts)
        self.router = router()
        self.kinds = [kind(self) for kind in (*all_kinds(), *kinds)]
        self.owners = {kind.collection: kind for kind in self.kinds if kind.owns_records}
        self.handlers = dict(self._handlers())
        self.raws = [(raw, Answering(kind, function)) for kind in self.kinds for function, raw in kind.raws()]
        self.sqladmin_grpc = ""
        """Where gRPC in front of Cloud SQL listens, as `127.0.0.1:PORT`; set by the server."""
        self.received: deque[Received] = deque(maxlen=REMEMBERED)
        self.seed: Callable[[], None] = lambda: None
        """Makes what there is from the start; called again by `reset`."""
        self.complaints: list[str] = []
        """Our own mistakes: answers that broke Google's schemas, handlers that broke. None is right."""

    def _handlers(self) -> Iterator[tuple[tuple[str, str], Answering]]:
        """By API and id of the method."""
        for kind in self.kinds:
            for verb, (function, handler) in kind.handlers().items():
                for api in kind.apis:
                    yield (api, f"{kind.collection}.{verb}"), Answering(kind, function, kind.permission(handler))

    def handler(self, method: Method) -> Answering | None:
        """Who answers a method; None for what is not emulated."""
        return self.handlers.get((method.api, method.id))

    def raw_match(self, service: str, http: str, path: str) -> RawMatch | None:
        """Who answers a path that no document lists."""
        for raw, answering in self.raws:
            found = raw.pattern.fullmatch(path) if (raw.service, raw.http) == (service, http) else None
            if found:
                return RawMatch(
                    raw, answering, {key: value for key, value in found.groupdict().items() if value is not None}
                )
        return None

    def places(self, scope: str) -> list[str]:
        """`zones/z` or `regions/r` of all that exist; `global` alone for that scope."""
        zones = [f"zones/{region}-{letter}" for region, letters in REGIONS.items() for letter in letters]
        return {"zone": zones, "region": [f"regions/{region}" for region in REGIONS]}.get(scope, ["global"])

    def kind_of(self, record: Record) -> Kind:
        return self.owners[record.collection]

    def add_project(
        self,
        project_id: str,
        services: tuple[str, ...] = (),
        owner: str = OWNER,
        organization: str = "",
        billing: bool = True,
    ) -> str:
        """A project with these APIs enabled besides the default ones ("all": every one); returns its owner's token.

        With the domain of an `organization` it has what one made since May 2024 forbids (organization.py).
        """
        project = self.world.add_project(project_id)
        project.organization, project.billing = organization, billing
        hosts = {document.host for document in self.router.documents.values()}
        self.access.grant(f"projects/{project_id}", "roles/owner", owner)
        agents.enable(self.access, project, hosts if "all" in services else services)
        return self.access.mint(owner)

    @contextmanager
    def struck(self, rules: Sequence[Rule], reads: bool) -> Iterator[None]:
        """Faults that show in what a call finds or starts: a read that is late, an operation that fails or hangs."""
        now = self.world.records
        if self.faults.may_go_stale() and not reads:
            self.world.before = copy.deepcopy(now)
        if reads and any(rule.kind == "stale" for rule in rules):
            self.world.records = self.world.before
        ends = [rule for rule in rules if rule.kind.startswith("operation-") or rule.kind == "stockout"]
        self.operations.next_outcome = [None if rule.kind == "operation-stuck" else rule.error() for rule in ends]
        try:
            yield
        finally:
            self.operations.next_outcome = []
            if reads:
                self.world.records = now

    def check_enabled(self, call: Call, kind: Kind, method: Method) -> None:
        """403 where the project has not enabled the API, or only just: Service Usage says ENABLED before it answers.

        Sources: https://cloud.google.com/service-usage/docs/enabled-service,
        hashicorp/terraform-provider-google#2129, #11020; the words: googleapis/nodejs-secret-manager#58.
        """
        if method.service in BY_CALLER or not kind.guards(call)[-1].startswith("projects/"):
            return
        self.check_service(call.project(kind.guards(call)[-1]), method)

    def check_service(self, project: Project, method: Method) -> None:
        """403 where a project has not enabled a method's API; this counts as its use."""
        document = self.router.documents[method.api]
        now = self.world.clock.now()
        if document.host in project.services and project.answering.get(document.host, now) <= now:
            project.used[document.host] = now
            if method.http != "GET" or method.collection == "storage.projects.serviceAccount":
                agents.used(self.access, project, document.host)
            return
        link = f"https://console.developers.google.com/apis/api/{document.host}/overview?project={project.id}"
        raise errors.ApiError(
            403,
            f"{document.title} has not been used in project {project.id} before or it is disabled. Enable it by "
            f"visiting {link} then retry. If you enabled this API recently, wait a few minutes for the action to "
            "propagate to our systems and retry.",
            reason="accessNotConfigured",
            details=[errors.error_info("SERVICE_DISABLED", "googleapis.com", service=document.host,
                                       consumer=f"projects/{project.id}")],
        )  # fmt: skip

    def remember(self, method: str, resource: str, caller: str, status: int) -> None:
        self.received.append(Received(method, resource, caller, status))

    def requests(self) -> list[dict[str, Any]]:
        """Calls received, the oldest first."""
        return [asdict(each) for each in self.received]

    def reset(self) -> None:
        """As freshly started: what there was from the start is made anew, nothing else is left but the numbering."""
        self._clear()
        self.seed()

    def _clear(self) -> None:
        for record in self.world.all():
            if (part := self.backings.of(record.collection)) is not None:
                part.remove(record.name)
        self.world.reset()
        self.access.reset()
        self.operations.all.clear()
        self.faults.rules.clear()
        self.received.clear()
        self.complaints.clear()

    def close(self) -> None:
        """Take the real parts away."""
        self._clear()
        self.backings.close()


@cache
def router() -> Router:
    """One for all clouds of this process: documents never change."""
    return Router(Document(api) for api in APIS)


def all_kinds() -> list[type[Kind]]:
    """The kinds of every module under `services`."""
    names = [found.name for found in pkgutil.walk_packages(services.__path__, f"{services.__name__}.")]
    modules = [importlib.import_module(name) for name in sorted(names)]
    return [kind for module in modules for kind in getattr(module, "KINDS", ())]
