"""The front door as a service of Cloud Run: nginx, with a way into the stack's network and to nothing else.

Source: https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.services,
https://cloud.google.com/run/docs/configuring/vpc-direct-vpc, https://cloud.google.com/run/docs/triggering/https-request,
https://cloud.google.com/run/docs/authenticating/public (`invokerIamDisabled`).
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from google.api_core import exceptions

from blocks.errors import Blocked, NotReady
from blocks.gcp.account import KNOWN_SECONDS, ServiceAccount
from blocks.gcp.google import Google
from blocks.gcp.image import Image
from blocks.gcp.marks import LABEL
from blocks.gcp.network import Network
from blocks.gcp.pruned import pruned
from blocks.gcp_spec import GcpProxy
from blocks.resource import Attributes, Change, Resource

PORT = 80
REQUEST_SECONDS = 3600
"""The most that Google gives a request; it cuts websockets then, too, which Prefect's clients open again."""
PROBE_SECONDS = 5
PROBES = 48
"""240 s in all, the most that Google waits: the way into the network may take a minute to open."""
NETWORK_SECONDS = 2
"""Time in which the host answers a probe: half of that of a probe, as connection and answer have as much each."""
SECONDS = 900.0
"""Time a new revision gets to be ready: half a minute, more where its way into the network opens late."""


def address(service: str, number: str, region: str) -> str:
    """How a service is reached, known before it is there; without a slash at the end.

    Args:
        number: The project's. With it, a stack's name is no longer than the 63 characters that DNS takes.
    """
    return f"https://{service}-{number}.{region}.run.app"


class CloudRunService(Resource):
    """The service that runs an image of the registry, by its digest.

    Whoever knows its address may call it: the auth string is the door. It has no liveness probe: what is amiss with a
    server behind it, its own restart does not mend, and would cut the sockets that it holds.

    Args:
        server: Address and TCP port of what it leads to, in the network.
        number: The project's.
    """

    name = "front door"

    def __init__(
        self,
        google: Google,
        network: Network,
        account: ServiceAccount,
        image: Image,
        server: tuple[str, int],
        number: str,
        wanted: GcpProxy,
    ) -> None:
        self.needs = (image.name, account.name, "subnetwork of the proxy")
        self._google, self._network, self._account, self._image = google, network, account, image
        self._server, self._wanted = server, wanted
        self._service = network.stack
        self._address = address(self._service, number, network.region)
        self._path = f"v2/projects/{google.project}/locations/{network.region}/services/{self._service}"

    def find(self) -> Attributes | None:
        seen = self._get()
        if seen is None:
            return None
        last = seen.get("terminalCondition", {})
        is_ready = last.get("state") == "CONDITION_SUCCEEDED"
        return {
            **pruned(_by_name(seen), self._body()),
            "ready": is_ready or last.get("message", "no revision is ready yet"),
            "address": self._address if self._address in seen.get("urls", []) else seen.get("urls", []),
        }

    def want(self) -> Attributes:
        return {**self._body(), "ready": True, "address": self._address}

    def require_ours(self, actual: Attributes) -> None:
        if actual["labels"] != {LABEL: self._network.stack}:
            what = f"the service {self._service} of Cloud Run is there, and not this stack's"
            raise Blocked(what, "another stack name gives another service")

    def apply(self, actual: Attributes | None, change: Change) -> None:
        """Make it or change it, and wait until it serves; a revision that failed before is tried once more."""
        doing = self._doing("making" if actual is None else "changing")
        self._google.wait(self._is_settled, doing, seconds=SECONDS)
        settled = self.find() if actual is not None else None
        has_failed = settled is not None and settled["ready"] is not True
        begun = self._google.wait(lambda: self._begin(doing, has_failed), doing, seconds=KNOWN_SECONDS, every=5.0)
        self._google.finish(doing, "run", "v2", begun, SECONDS)
        found = self._google.wait(self.find, doing, seconds=SECONDS) or {}
        if found["address"] != self._address:
            what = f"Google gave the service {self._service} {found['address']}, not {self._address}"
            raise Blocked(what, "defaultUriDisabled must be off")

    def delete(self) -> None:
        doing = self._doing("removing")
        with suppress(exceptions.NotFound):
            begun = self._google.rest(doing, "DELETE", "run", self._path)
            try:
                self._google.finish(doing, "run", "v2", begun, SECONDS)
            except Blocked:
                if self.find() is not None:  # else it was asked for twice, as an answer was lost
                    raise

    def _is_settled(self) -> bool:
        """Whether nothing is under way with it: neither its removal nor what a launcher began that was killed."""
        found = self._get()
        if found is not None and found.get("reconciling"):
            raise NotReady(f"something is under way with the service {self._service} of Cloud Run")
        return True

    def _get(self) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = self._google.rest(self._doing("reading"), "GET", "run", self._path)
        except exceptions.NotFound:
            return None
        return found

    def _begin(self, doing: str, again: bool) -> Mapping[str, Any]:
        """Ask for it; sent twice, as an answer was lost, it is the same service.

        Raises:
            NotReady: the former service of that name is still going, or nobody knows of the account yet.
        """
        force = {"forceNewRevision": "true"} if again else {}
        try:
            begun: Mapping[str, Any] = self._google.rest(
                doing, "PATCH", "run", self._path, self._body(), allowMissing="true", **force
            )
        except exceptions.Conflict as error:
            raise NotReady(str(error.message)) from error
        except Blocked as error:
            if self._account.email in error.what:  # "may not act as it (or it may not exist)"
                raise NotReady(error.what) from error
            raise
        return begun

    def _body(self) -> dict[str, Any]:
        wanted = self._wanted
        return {
            "labels": {LABEL: self._network.stack},
            "ingress": "INGRESS_TRAFFIC_ALL",
            "invokerIamDisabled": True,
            "scaling": {"minInstanceCount": wanted.min_instances},
            "traffic": [{"type": "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST", "percent": 100}],
            "template": {
                "labels": {LABEL: self._network.stack},
                "serviceAccount": self._account.email,
                "timeout": f"{REQUEST_SECONDS}s",
                "maxInstanceRequestConcurrency": wanted.concurrency,
                "scaling": {"maxInstanceCount": wanted.max_instances},
                "vpcAccess": {
                    "egress": "PRIVATE_RANGES_ONLY",
                    "networkInterfaces": [
                        {"network": self._network.stack, "subnetwork": f"{self._network.stack}-proxy"}
                    ],
                },
                "containers": [self._container()],
            },
        }

    def _container(self) -> dict[str, Any]:
        host, port = self._server
        variables = {"SERVER_HOST": host, "SERVER_PORT": str(port), "PROBE_TIMEOUT": f"{NETWORK_SECONDS}s"}
        return {
            "image": self._image.address(),
            "ports": [{"name": "http1", "containerPort": PORT}],
            "env": [{"name": name, "value": value} for name, value in variables.items()],
            "resources": {"limits": {"cpu": "1", "memory": self._wanted.memory}, "cpuIdle": self._wanted.cpu_idle},
            "startupProbe": {
                "httpGet": {"path": "/startup", "port": PORT},
                "timeoutSeconds": PROBE_SECONDS,
                "periodSeconds": PROBE_SECONDS,
                "failureThreshold": PROBES,
            },
        }

    def _doing(self, doing: str) -> str:
        return f"{doing} the service {self._service} of Cloud Run"


def _by_name(seen: dict[str, Any]) -> dict[str, Any]:
    """With the network and its part by name, however Google writes them."""
    template = seen.get("template", {})
    access = template.get("vpcAccess", {})
    interfaces = [
        {kind: str(name).rpartition("/")[2] for kind, name in each.items()}
        for each in access.get("networkInterfaces", [])
    ]
    return {**seen, "template": {**template, "vpcAccess": {**access, "networkInterfaces": interfaces}}}
