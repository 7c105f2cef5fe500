"""How Cloud Run's containers are run here, those of services and of jobs: image, network, variables, limits.

Source: https://cloud.google.com/run/docs/container-contract
"""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from tests.emulator.services.artifactregistry.images import REFERENCE
from tests.emulator.services.run.images import agent, as_registry, resolved
from tests.emulator.services.run.readiness import network_names
from tests.emulator.services.run.template import bytes_of, cpu_of
from tests.lab.authority import CERTIFICATES, believing
from tests.lab.engine import docker
from tests.lab.firewall import METADATA
from tests.lab.registry import login

if TYPE_CHECKING:
    from tests.lab.cloud import Lab

Body = dict[str, Any]
PRIVATE_RANGES = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")
"""What goes through the VPC by default, of what there is here.

Source: https://cloud.google.com/run/docs/configuring/vpc-direct-vpc (PRIVATE_RANGES_ONLY)
"""
ALL_TRAFFIC = "ALL_TRAFFIC"


@dataclass
class Ran:
    """One container of the lab's: its name, and what there is to say to docker about it.

    Attributes:
        body: A revision, or the template of a task.
        variables: What Cloud Run sets itself.
    """

    lab: Lab
    name: str
    project: str
    location: str
    body: Body
    variables: dict[str, str]
    labels: Sequence[str] = field(default=())

    def start(self, container: Body) -> str:
        """Run it in the background, in the place of one of this name that was left; returns its address."""
        if container.get("volumeMounts"):
            raise NotImplementedError("the lab has no volumes for Cloud Run")
        image, told = self.pull(container["image"]), self._variables(container)
        main, second = self._networks()
        command = container.get("command", [])
        words = [*command[1:], *container.get("args", [])]
        docker("rm", "--force", "--volumes", self.name)
        docker(
            *("run", "--detach", "--name", self.name, *self.lab.labels, *self.labels, "--network", main),
            *("--dns", METADATA if main != self.outside else self.lab.names.address),
            *_limits(container["resources"]["limits"]),
            *("--sysctl", "net.ipv4.ip_unprivileged_port_start=1024"),
            *("--volume", f"{self.lab.authority.bundle}:{CERTIFICATES}:ro"),
            *(word for name in told for word in ("--env", name)),
            *(("--entrypoint", command[0]) if command else ()),
            *(image, *words),
            more=told,
        )
        if second:
            docker("network", "connect", second, self.name)
            self._route(second)
        return self.address(main)

    def address(self, network: str) -> str:
        """Its address in a network; "" where it has ended."""
        [shown] = json.loads(docker("inspect", self.name))
        address: str = shown["NetworkSettings"]["Networks"][network]["IPAddress"]
        return address

    def pull(self, image: str) -> str:
        """Get the image as Cloud Run does, by digest and as its service agent; returns the reference."""
        digest = resolved(self.lab.cloud, image)[1]
        if not digest:
            docker("image", "inspect", image)  # it cannot be pulled here: there it is, or not
            return image
        project = self.lab.cloud.world.projects[self.project]
        found = REFERENCE.fullmatch(as_registry(image))
        assert found is not None, f"{image} has a digest and is in no repository"
        by_digest = "{location}-docker.pkg.dev/{project}/{repository}/{name}@{at}".format(
            **found.groupdict(), at=digest
        )
        with tempfile.TemporaryDirectory(dir=self.lab.folder) as beside:
            known = login(self.lab, f"serviceAccount:{agent(project)}", Path(beside) / "docker")
            docker(*known, "pull", "--quiet", by_digest, timeout=300)
        return by_digest

    # -- variables ---------------------------------------------------------------------------------------------------

    def _variables(self, container: Body) -> dict[str, str]:
        """All of them; secrets are read as the service's own account."""
        told = dict(self.variables) | believing()
        for each in container.get("env", []):
            reference = each.get("valueSource", {}).get("secretKeyRef")
            told[each["name"]] = self._secret(reference) if reference else each.get("value", "")
        return told

    def _secret(self, reference: Body) -> str:
        secret, version = reference["secret"], reference.get("version") or "latest"
        name = secret if "/" in secret else f"projects/{self.project}/secrets/{secret}"
        token = self.lab.cloud.access.mint(f"serviceAccount:{self.body['serviceAccount']}")
        url = f"{self.lab.address}/secretmanager/v1/{name}/versions/{version}:access"
        answer = httpx.get(url, headers={"Authorization": f"Bearer {token}"})
        answer.raise_for_status()
        return base64.b64decode(answer.json()["payload"]["data"]).decode()

    # -- networks ----------------------------------------------------------------------------------------------------

    @property
    def outside(self) -> str:
        """The network by which Cloud Run itself reaches the world, and its front a container."""
        return self.lab.mine("run")

    def _networks(self) -> tuple[str, str]:
        """The network of its default route, and one for private ranges alone, or ""."""
        project = self.lab.cloud.world.projects[self.project]
        subnetwork = network_names(project, self.location, self.body)[1]
        if not docker("network", "ls", "--quiet", "--filter", f"name=^{self.outside}$").strip():
            docker("network", "create", *self.lab.labels, self.outside)
        if not subnetwork:
            return self.outside, ""
        self.lab.network.follow()
        inside = self.lab.network.of(subnetwork)
        return (inside, "") if self.body["vpcAccess"]["egress"] == ALL_TRAFFIC else (self.outside, inside)

    def _route(self, network: str) -> None:
        """Send private ranges through a network that is not the default route's."""
        [shown] = json.loads(docker("inspect", self.name))
        gateway, process = shown["NetworkSettings"]["Networks"][network]["Gateway"], str(shown["State"]["Pid"])
        for each in PRIVATE_RANGES:
            there = ["nsenter", "--target", process, "--net", "ip", "route", "replace", each, "via", gateway]
            subprocess.run(there, check=True, capture_output=True)


def _limits(limits: Body) -> list[str]:
    memory = bytes_of(str(limits["memory"]))
    return ["--memory", str(memory), "--memory-swap", str(memory), "--cpus", f"{cpu_of(str(limits['cpu'])):g}"]


def short(name: str) -> str:
    """A short name that stands for a long one."""
    return hashlib.sha256(name.encode()).hexdigest()[:10]
