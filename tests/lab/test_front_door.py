"""The front door at Cloud Run as its adapter makes it: real images and containers before a server on a machine."""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, replace

import httpx
import pytest
from google.cloud import compute_v1

from blocks import nginx_files
from blocks.gcp.account import ServiceAccount
from blocks.gcp.bucket import BucketResource
from blocks.gcp.google import Google
from blocks.gcp.network import Network
from blocks.gcp.proxy import CloudRunProxy
from blocks.gcp_spec import GcpNetwork, GcpProxy
from blocks.resource import Apply, Resource, converge, in_order, plan, visit_to_delete
from tests.emulator.cloud import OWNER
from tests.google import Minted
from tests.lab import nginx_image
from tests.lab.cloud import Lab
from tests.lab.engine import docker
from tests.stack import eventually
from tests.unit.emulator.conftest import Emulated
from tests.unit.emulator.machines import REGION, Machines, metadata

pytestmark = [pytest.mark.lab, pytest.mark.rare]
PROJECT, STACK = "lab-door", "door"
RANGES = GcpNetwork(host="10.73.0.0/24", proxy="10.73.1.0/26", nat=False)
SCRIPT = """\
#!/bin/bash
cat > /srv/server.py <<'END'
import http.server, json
class Server(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        told = json.dumps({**{name.lower(): value for name, value in self.headers.items()},
                           "path": self.path, "peer": self.client_address[0]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(told)))
        self.end_headers()
        self.wfile.write(told)
http.server.ThreadingHTTPServer(("0.0.0.0", 4200), Server).serve_forever()
END
systemd-run --unit=server python3 /srv/server.py
"""


@dataclass(frozen=True)
class World:
    """A project of the lab with a server on a machine, and the front door as an adapter has it."""

    lab: Lab
    machines: Machines
    proxy: CloudRunProxy
    ground: list[Resource]

    def parts(self, proxy: CloudRunProxy | None = None) -> list[Resource]:
        return [*self.ground, *(proxy or self.proxy).outside()]

    def call(self, path: str) -> httpx.Response:
        """One request to the front door's public address."""
        host = self.proxy.url().removeprefix("https://")
        trust = ssl.create_default_context(cafile=str(self.lab.authority.certificate))
        with httpx.Client(verify=trust, timeout=30) as client:
            told = {"headers": {"Host": host}, "extensions": {"sni_hostname": host}}
            return client.get(f"https://{self.lab.names.leads['run.app']}{path}", **told)

    def image(self) -> str:
        """What the service runs."""
        path = f"v2/projects/{PROJECT}/locations/{REGION}/services/{STACK}"
        found = self.proxy.google.rest("reading", "GET", "run", path)
        return str(found["template"]["containers"][0]["image"])

    def finish(self, operation: compute_v1.Operation) -> None:
        while operation.status != compute_v1.Operation.Status.DONE:
            operation = self.machines.operations.wait(**self.machines.zone, operation=operation.name)
        assert not operation.error.errors


@pytest.fixture(scope="module")
def world(lab: Lab) -> Iterator[World]:
    google = Emulated(lab.cloud, lab.address, PROJECT, lab.cloud.add_project(PROJECT, ("all",)))
    seen, machines = Google(PROJECT, Minted(lab.cloud, OWNER), lab.address), Machines(google)
    host = ServiceAccount(seen, STACK, "host")
    network = Network(seen, STACK, REGION, host.email, wanted=RANGES)
    proxy = CloudRunProxy(seen, network, f"{PROJECT}-objects", seen.number, GcpProxy(build="docker"))
    bucket = BucketResource(seen, STACK, proxy.bucket, REGION)
    made = World(lab, machines, proxy, [bucket, host, *network.resources()])
    converge(made.ground)
    interface = compute_v1.NetworkInterface(
        subnetwork=network.subnetwork("host"), network_i_p=network.wanted.host_address
    )
    told = {"metadata": metadata(startup_script=SCRIPT), "network_interfaces": [interface]}
    made.finish(machines.insert("host", **told, **machines.with_account(host.email)))
    nginx_image.ensure()  # what the Dockerfile builds upon
    converge(made.parts())
    yield made
    for each in reversed([each for each in in_order(made.parts()) if each not in made.ground]):
        visit_to_delete(each, Apply())
    docker("rmi", "--force", *docker("images", "--quiet", f"{proxy.registry.address}/proxy").split())


def test_a_docker_engine_builds_and_pushes_what_cloud_run_runs_by_its_digest(world: World) -> None:
    assert plan(world.parts()) == []
    pushed = docker("images", "--digests", "--format", "{{.Digest}}", f"{world.proxy.registry.address}/proxy")
    assert world.image() == f"{world.proxy.registry.address}/proxy@{pushed.split()[0]}"


def test_a_call_gets_to_the_server_from_where_it_believes_who_called(world: World) -> None:
    eventually(lambda: world.call("/api/health").status_code == 200, "the server answering")
    told = world.call("/api/flows?limit=1").json()
    assert (told["path"], told["x-forwarded-proto"]) == ("/api/flows?limit=1", "https")
    assert f"https://{told['host']}" == world.proxy.url()
    assert ipaddress.ip_address(told["peer"]) in ipaddress.ip_network(world.proxy.trusted())
    assert world.call("/health").json()["path"] == "/api/health"


def test_another_context_is_built_by_cloud_build_and_takes_over(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    before, files = world.image(), nginx_files.context()
    changed = {**files, "Dockerfile": files["Dockerfile"] + b"LABEL by=cloud-build\n"}
    monkeypatch.setattr(nginx_files, "context", lambda: changed)
    there = replace(world.proxy, wanted=GcpProxy(build="cloud-build"))
    converge(world.parts(there))
    assert plan(world.parts(there)) == [] and world.image() != before
    assert world.call("/api/health").status_code == 200
    monkeypatch.undo()
    converge(world.parts(there))
    assert world.image() == before


def test_while_the_machine_is_off_callers_are_told_to_wait(world: World) -> None:
    world.finish(world.machines.instances.stop_unary(**world.machines.zone, instance="host"))
    answer = world.call("/api/health")
    assert (answer.status_code, answer.headers["Prefect-Maintenance"]) == (503, "true")
    assert answer.headers["Retry-After"] == "5"
    world.finish(world.machines.instances.start_unary(**world.machines.zone, instance="host"))
    eventually(lambda: world.call("/api/health").status_code == 200, "the server answering")
