"""Cloud Run's part: a container for each revision, and run.app in front of them.

One instance of a revision runs, however many it may have; it goes on while it gets no traffic, where Google's would be
gone until asked for again.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from google.auth import jwt
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.emulator import accounts
from tests.emulator.access import ANONYMOUS
from tests.emulator.cloud import REGIONS
from tests.emulator.services.run.traffic import uri, urls
from tests.lab import hosts
from tests.lab.containers import Ran, short
from tests.lab.engine import docker
from tests.lab.front import PLAIN, Front, Relays, site
from tests.lab.probes import NotStarted, wait_started
from tests.lab.serving import serve

if TYPE_CHECKING:
    from tests.lab.cloud import Lab

Body = dict[str, Any]
LOG_LINES = "10"
"""How much of a failed container's log is told."""


@dataclass
class Service:
    """What the front is told of a service: relays of its ready revisions by short name, and who gets how much."""

    name: str
    hosts: list[str]
    seconds: float = 300.0
    relays: dict[str, Path] = field(default_factory=dict)
    statuses: list[Body] = field(default_factory=list)
    sites: set[str] = field(default_factory=set)


class Revisions:
    """The part behind `run.revisions`."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.services: dict[str, Service] = {}
        self._lock = threading.RLock()
        self._front: Front | None = None

    # -- the part ----------------------------------------------------------------------------------------------------

    def start(self, name: str, body: Body) -> None:
        """Run it, wait for its startup probe, then give it its share; a service without a ready revision is a 503."""
        with self._lock:
            service = self._service(name)
            self._show(service)
        if len(body["containers"]) > 1 or body["containers"][0]["ports"][0]["name"] == "h2c":
            raise NotImplementedError("the lab runs no sidecars, and no HTTP/2 to a container")
        [container] = body["containers"]
        port = container["ports"][0]["containerPort"]
        ran = self._ran(name, body, port)
        address = ran.start(container)
        try:
            wait_started(container["startupProbe"], address, lambda: self._runs(ran.name))
        except NotStarted as error:
            said = docker("logs", "--tail", LOG_LINES, ran.name)
            docker("rm", "--force", "--volumes", ran.name)
            raise NotStarted(f"{error}\n{said}") from None
        most = body["scaling"]["maxInstanceCount"] * body["maxInstanceRequestConcurrency"]
        seconds = float(body["timeout"].removesuffix("s"))
        relay = self.relays.open(short(name), address, port, seconds, most)
        with self._lock:
            service.seconds = seconds
            service.relays[_last(name)] = relay
        self.change(name, body)

    def change(self, name: str, body: Body) -> None:
        """Move the traffic of its service."""
        with self._lock:
            service = self._service(name)
            service.statuses = body.get("trafficStatuses", service.statuses)
            self._show(service)

    def stop(self, name: str, body: Body) -> None: ...

    def remove(self, name: str) -> None:
        """Take the container away, and its service from the front with the last of them."""
        docker("rm", "--force", "--volumes", self._container(name))
        full = name.removeprefix("run/").rsplit("/revisions/", 1)[0]
        with self._lock:
            if (service := self.services.get(full)) is None:
                return
            service.relays.pop(_last(name), None)
            self.relays.close(short(name))
            if not service.relays:
                del self.services[full]
                hosts.forget(self.lab.name, service.hosts)
                for each in service.sites:
                    self.front.drop(each)

    def _ran(self, name: str, body: Body, port: int) -> Ran:
        _, _, project, _, location, _, service, _, revision = name.split("/")
        told = {"PORT": str(port), "K_SERVICE": service, "K_REVISION": revision, "K_CONFIGURATION": service}
        return Ran(self.lab, self._container(name), project, location, body, told)

    def _container(self, name: str) -> str:
        return self.lab.mine(f"revision-{short(name)}")

    def _runs(self, container: str) -> bool:
        return docker("inspect", "--format", "{{.State.Running}}", container).strip() == "true"

    # -- the front ---------------------------------------------------------------------------------------------------

    @property
    def front(self) -> Front:
        """It opens with the first service: not before the lab has names."""
        with self._lock:
            if self._front is None:
                wildcards = [f"*.{region}.run.app" for region in REGIONS]
                self._front = Front(self.lab, "run", "run.app", "*.a.run.app", *wildcards)
                self.relays = Relays(self.lab, self._front.folder)
                self.checks = serve(self.lab, Starlette(routes=[Route("/may-invoke", self._may_invoke)]))
                self._front.put("http", PLAIN.format(address=self._front.address))
                self.lab.names.lead("run.app", self._front.address)
            return self._front

    def _service(self, revision: str) -> Service:
        full = revision.removeprefix("run/").rsplit("/revisions/", 1)[0]
        project = self.lab.cloud.world.projects[full.split("/")[1]]
        hosts = [each.removeprefix("https://") for each in urls({"name": full}, project)]
        return self.services.setdefault(full, Service(full, hosts))

    def _show(self, service: Service) -> None:
        """Have the front do what the service's traffic says."""
        front, shares = self.front, dict[Path, int]()
        project = self.lab.cloud.world.projects[service.name.split("/")[1]]
        sites = {service.name: (service.hosts, shares)}
        for each in service.statuses:
            relay = service.relays.get(each["revision"])
            if relay is None:
                continue
            if each.get("percent"):
                shares[relay] = shares.get(relay, 0) + each["percent"]
            if each.get("tag"):
                tagged = uri({"name": service.name}, project, f"{each['tag']}---").removeprefix("https://")
                sites[f"{service.name}:{each['tag']}"] = ([tagged], {relay: 100})
        for gone in service.sites - sites.keys():
            front.drop(gone)
        service.sites = set(sites)
        hosts.know(self.lab.name, front.address, service.hosts)
        for key, (names, parts) in sites.items():
            front.put(key, site(front, service.name, names, self.checks, service.seconds, parts, key))

    # -- who may call ------------------------------------------------------------------------------------------------

    async def _may_invoke(self, request: Request) -> Response:
        """204 for who may, 401 for a token that is none, 403 for all others.

        Source: https://cloud.google.com/run/docs/authenticating/service-to-service
        """
        name = request.headers["x-service"]
        record = self.lab.cloud.world.find(f"run/{name}")
        resources = (name, "/".join(name.split("/")[:2]))
        if record is None:
            return Response(status_code=403)
        may = self.lab.cloud.access.may
        if record.body.get("invokerIamDisabled") or may(ANONYMOUS, "run.routes.invoke", resources):
            return Response(status_code=204)
        headers = request.headers
        scheme, _, token = headers.get("x-serverless-authorization", headers.get("authorization", "")).partition(" ")
        if scheme.lower() != "bearer":
            return Response(status_code=403)
        member = self._member(token, {request.headers["x-audience"], *record.body.get("urls", ())})
        if not member:
            return Response(status_code=401)
        return Response(status_code=204 if may(member, "run.routes.invoke", resources) else 403)

    def _member(self, token: str, audiences: set[str]) -> str:
        """Whose identity token it is, "" for one that is not believed or is for somebody else."""
        world = self.lab.cloud.world
        try:
            subject = str(jwt.decode(token, verify=False).get("sub"))  # type: ignore[no-untyped-call]
            record = accounts.account(world, subject)
            email = str(record.body["email"]) if record else ""
            keys = accounts.public_keys(world, email) if record else {}
            claims = jwt.decode(token, certs=keys, audience=sorted(audiences))  # type: ignore[no-untyped-call]
        except ValueError:
            return ""
        return f"serviceAccount:{email}" if claims else ""


def _last(name: str) -> str:
    return name.rpartition("/")[2]
