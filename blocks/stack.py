"""A stack: its spec, its ports, and what both come to: a `HostSpec` and a list of resources."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from prefect.blocks.core import Block
from pydantic import Field

from blocks.database import Database
from blocks.front_door import FrontDoor
from blocks.host.agent.spec import File, Health, HostSpec, Release, Service, Socket, from_json, to_json
from blocks.host.home import Home
from blocks.host.secret_files import (
    AUTH_GRACE,
    AUTH_STRING,
    AUTH_STRING_NEXT,
    DATABASE_LOGIN,
    DATABASE_LOGIN_NEXT,
    ENCRYPTION_KEY,
    new_auth_string,
    new_encryption_key,
)
from blocks.host.wanted import SERVER, TOOLS
from blocks.machine import Machine
from blocks.object_store import ObjectStore
from blocks.proxy import Proxy
from blocks.resource import Attributes, Change, Resource
from blocks.secret_store import SecretResource, SecretStore
from blocks.spec import StackSpec, Worker, build_spec

SOCKET = "server"
"""Name of the held socket which both slots of the server accept on."""
SLOTS = ("blue", "green")
"""Places for a server on that socket. One is in use, but for the moment in which the other takes over."""
SLOT_PREFIX = "server-"
WORKER_PREFIX = "worker-"
"""How the services of servers, by slot, and of workers, by name, begin."""
MAINTENANCE_POOL = "maintenance"
STACK_VARIABLE = "SELFHOST_STACK"
"""Tells a flow on a worker which stack it belongs to."""


@dataclass(frozen=True)
class ServerSecrets:
    """Names of the secrets a server is started with; while one is rotated, its name is another one."""

    auth_string: str = AUTH_STRING
    database_login: str = DATABASE_LOGIN


class StackBlock(Block):
    """What a flow needs to know a stack by: its spec, and its ports' blocks by reference.

    Saved on the stack's own server under the stack's name.
    """

    _block_type_name = "Self-hosted stack"
    _block_type_slug = "selfhost-stack"

    spec: str = Field(description="The stack's spec as JSON; `selfhost plan` shows what a change of it does.")
    releases: str = Field(description="What is installed, as JSON: `server` or a worker's name to its release.")
    secrets: str = Field(description="Reference of the secret store's block, `<block type slug>/<name>`.")
    objects: str = Field(description="Reference of the object store's block.")
    database: str = Field(description="Reference of the database's block.")
    machine: str = Field(description="Reference of the machine's block.")
    proxy: str = Field(description="Reference of the proxy's block.")

    def stack_spec(self) -> StackSpec:
        return build_spec(json.loads(self.spec), f"block {self._block_type_slug}")

    def stack_releases(self) -> dict[str, Release]:
        return {name: from_json(Release, json.dumps(each)) for name, each in json.loads(self.releases).items()}


@dataclass(frozen=True)
class Stack:
    """One stack with its ports and the releases it should run."""

    spec: StackSpec
    secrets: SecretStore
    objects: ObjectStore
    database: Database
    machine: Machine
    proxy: Proxy
    releases: Mapping[str, Release]
    """`server` → the server's release, and a worker's name → its own where it wants further packages."""

    @property
    def door(self) -> FrontDoor:
        """How the stack's users come in."""
        return FrontDoor(self.proxy.door_url(), self.secrets.read(AUTH_STRING))

    def blocks(self) -> dict[str, Block]:
        """Its ports as the blocks that are saved on its server, and the block which refers to them."""
        names = ("secrets", "objects", "database", "machine", "proxy")
        ports: dict[str, Block] = {name: getattr(self, name) for name in names}
        references = {name: f"{port.get_block_type_slug()}/{self.spec.name}" for name, port in ports.items()}
        releases = json.dumps({name: dataclasses.asdict(each) for name, each in self.releases.items()}, sort_keys=True)
        return ports | {"stack": StackBlock(spec=self.spec.model_dump_json(), releases=releases, **references)}

    def release_of(self, worker: Worker) -> Release:
        return self.releases.get(worker.name, self.releases[SERVER])

    def own_workers(self) -> tuple[str, ...]:
        """Services of the workers that run this project's own flows: no flow of ours can wait for their idleness."""
        return tuple(WORKER_PREFIX + each.name for each in self.spec.workers if each.pool == MAINTENANCE_POOL)

    def secret_makers(self) -> dict[str, Callable[[], str]]:
        """Every secret of the stack: name → what makes its first version."""
        own: dict[str, Callable[[], str]] = {AUTH_STRING: new_auth_string, ENCRYPTION_KEY: new_encryption_key}
        own[AUTH_GRACE] = lambda: "[]"
        return own | self.database.secrets()

    def resources(self) -> list[Resource]:
        """Everything this stack is made of, in no particular order."""
        made = [SecretResource(self.secrets, name, make, ("home",)) for name, make in self.secret_makers().items()]
        parts = (self.machine, self.objects, self.database, self.proxy)
        own = [resource for part in parts for resource in part.resources()]
        return [*made, *own, HostServices(self)]


class HostServices(Resource):
    """Everything that runs on the stack's host, as one generation of its `HostSpec`."""

    name = "host services"

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        secrets = tuple(f"secret {name}" for name in stack.secret_makers())
        cluster = tuple(each.name for each in stack.database.resources() if each.name == "database cluster")
        self.needs = ("host agent", *secrets, *cluster)

    def find(self) -> Attributes | None:
        machine = self._stack.machine
        applied = machine.applied()
        if applied is None:
            return None
        lasting = dataclasses.replace(applied, jobs=())  # a job that a change of the stack ran is no part of it
        return {**_parts(lasting), "taken up": machine.has_taken_up(applied.generation)}

    def want(self) -> Attributes:
        return {**_parts(next_spec(self._stack)), "taken up": True}

    def apply(self, actual: Attributes | None, change: Change) -> None:
        self._stack.machine.apply(next_spec(self._stack))

    def delete(self) -> None:
        self._stack.machine.stop()


def _parts(spec: HostSpec) -> dict[str, object]:
    """A spec as comparable attributes, one for each part, so that a plan names what changed."""
    named = [*spec.releases, *spec.sockets, *spec.services, *spec.jobs]
    parts: dict[str, object] = {f"{type(each).__name__.lower()} {_key(each)}": to_json(each) for each in named}
    return parts | {f"file {each.path}": to_json(each) for each in spec.files} | {"parts": len(named) + len(spec.files)}


def _key(part: object) -> str:
    return str(part.id if isinstance(part, Release) else getattr(part, "name", ""))


def next_spec(stack: Stack) -> HostSpec:
    """What the stack's host should be given now: the wanted server stays in the slot it runs in, with its secrets."""
    applied = stack.machine.applied()
    generation = 1 if applied is None else applied.generation + 1
    slot = active_slot(applied, stack.releases[SERVER])
    return host_spec(stack, generation, slot, server_secrets(applied, slot))


def active_slot(applied: HostSpec | None, release: Release) -> str:
    """The slot in which a release's server runs by a spec; where it does not yet, the slot of the one that does.

    So while two run, as in an upgrade that was killed, the stack's own spec says which of them stays.
    """
    servers = [each for each in (applied.services if applied else ()) if each.name.startswith(SLOT_PREFIX)]
    wanted = [each for each in servers if f"/{release.id}/" in each.argv[0]]
    return next((each.name.removeprefix(SLOT_PREFIX) for each in (*wanted, *servers)), SLOTS[0])


def server_secrets(applied: HostSpec | None, slot: str) -> ServerSecrets:
    """Names of the secrets which the server in a slot has by a spec; the usual ones where there is none in it.

    So a converge in the middle of a rotation leaves the server as it is.
    """
    files = applied.files if applied else ()
    text = "".join(each.content for each in files if each.path.endswith(f"/{SLOT_PREFIX}{slot}/prefect.toml"))
    return ServerSecrets(
        auth_string=AUTH_STRING_NEXT if _reference(AUTH_STRING_NEXT) in text else AUTH_STRING,
        database_login=DATABASE_LOGIN_NEXT if _reference(DATABASE_LOGIN_NEXT) in text else DATABASE_LOGIN,
    )


def _reference(secret: str) -> str:
    """How the content of a file names a secret."""
    return f"${{secret:{secret}}}"


def other_slot(slot: str) -> str:
    """The slot which a new server is started in."""
    return SLOTS[1 - SLOTS.index(slot)]


def host_spec(
    stack: Stack, generation: int, slot: str = SLOTS[0], secrets: ServerSecrets = ServerSecrets()
) -> HostSpec:
    """What should run on the stack's host, its server in that slot. Pure.

    Services are listed in the order in which they depend on each other; they are stopped the other way round.
    """
    home = stack.machine.home()
    environment = home.releases / stack.releases[SERVER].id
    tools = home.releases / stack.releases[TOOLS].id
    workers = [_worker(stack, home, each) for each in stack.spec.workers]
    return HostSpec(
        stack=stack.spec.name,
        generation=generation,
        releases=tuple({each.id: each for each in stack.releases.values()}.values()),
        sockets=(Socket(SOCKET, "127.0.0.1", stack.spec.server_port),),
        files=(
            server_toml(stack, home.etc / f"server-{slot}", stack.database, secrets),
            _auth_grace(home.etc / f"server-{slot}"),
            _client_toml(stack, home),
            *(_temporary_folder(home, each) for each in stack.spec.workers),
            *stack.proxy.files(),
        ),
        services=(
            *stack.database.services(tools),
            _server(stack, home, environment, slot),
            *stack.proxy.services(tools),
            *workers,
        ),
    )


def _server(stack: Stack, home: Home, environment: Path, slot: str) -> Service:
    server = stack.spec.server
    state = home.state / "server"
    return Service(
        name=SLOT_PREFIX + slot,
        version=stack.spec.prefect_version,
        argv=(str(environment / "bin/python"), "-m", "blocks.host.serve", "--slot", slot, "--run-dir", str(home.run)),
        cwd=str(home.etc / f"server-{slot}"),
        env={
            "PREFECT_HOME": str(state),
            "PREFECT_UI_STATIC_DIRECTORY": str(state / f"ui-{slot}"),  # written at the start, by another version
            "PREFECT_SERVER_DATABASE_MIGRATE_ON_START": "false",
            "PREFECT_SERVER_LOGGING_LEVEL": server.log_level,
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
            "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": ",".join(_known_vacuums(stack.spec)),
            "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": f"P{server.retention_days}D",
            "PREFECT_SERVER_EVENTS_RETENTION_PERIOD": f"P{server.event_retention_days}D",
            # Shared by both slots: with leases in memory, runs under a concurrency limit die at a switch.
            "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        },
        secrets={"PREFECT_SERVER_ENCRYPTION_KEY": ENCRYPTION_KEY},
        sockets=(SOCKET,),
        files=(str(home.etc / f"server-{slot}/prefect.toml"),),
        health=Health("http", socket=str(home.run / f"server-{slot}.sock"), path="/api/ready"),
        ready_file=str(home.run / f"server-{slot}.json"),
        stop_timeout=45.0,
    )


def _known_vacuums(spec: StackSpec) -> list[str]:
    """What of the wanted vacuum this Prefect knows: a server refuses to start on a kind it does not."""
    knows_orphans = spec.version_parts >= (3, 8, 5)  # before, the vacuum of flow runs took them along
    return [each for each in spec.server.vacuum if each != "orphans" or knows_orphans]


def _worker(stack: Stack, home: Home, worker: Worker) -> Service:
    python = home.releases / stack.release_of(worker).id / "bin/python"
    argv = (str(python), "-m", "prefect", "worker", "start", "--name", worker.name, "--pool", worker.pool)
    own = {
        "PREFECT_HOME": str(home.state / f"worker-{worker.name}"),
        "PREFECT_LOGGING_LEVEL": stack.spec.server.log_level,
        "PREFECT_LOGGING_EXTRA_LOGGERS": "flows,blocks",
        "TMPDIR": str(Path(_temporary_folder(home, worker).path).parent),
        STACK_VARIABLE: stack.spec.name,
        # A run started from the UI begins within 1 s instead of 10; the query costs the server about 5 ms.
        "PREFECT_WORKER_QUERY_SECONDS": "1",
    }
    return Service(
        name=WORKER_PREFIX + worker.name,
        version=stack.spec.prefect_version,
        argv=(*argv, "--type", worker.type, "--limit", str(worker.concurrency)),
        cwd=str(home.etc / "client"),
        env={**worker.env, **_git(python, worker.git_credentials), **own},
        files=(str(home.etc / "client/prefect.toml"), _temporary_folder(home, worker).path),
        restart="when-idle",
        # Flows it runs die with it; a drain pauses its pool first.
        stop_timeout=30.0,
    )


def _git(python: Path, credentials: str | None) -> dict[str, str]:
    """Environment by which git asks our credential helper, and no other: a helper that stores would be given the
    secret, and would write it down."""
    if credentials is None:
        return {}
    return {
        "GIT_CONFIG_COUNT": "2",
        "GIT_CONFIG_KEY_0": "credential.helper",
        "GIT_CONFIG_VALUE_0": "",  # forgets the helpers of this machine's own configuration
        "GIT_CONFIG_KEY_1": "credential.helper",
        "GIT_CONFIG_VALUE_1": f"!{shlex.quote(str(python))} -P -m blocks.git_credentials {shlex.quote(credentials)}",
        "GIT_TERMINAL_PROMPT": "0",
    }


def _temporary_folder(home: Home, worker: Worker) -> File:
    """A worker's own folder for temporary files, made by a file in it.

    Prefect's runner works in `runner_storage` of the temporary folder, which in /tmp is that of the first user
    who ran a worker on this machine: those of all other users could not start. And it goes with the home.
    """
    return File(
        path=str(home.state / f"worker-{worker.name}/tmp/README"), content="Temporary files of this worker's runs.\n"
    )


def _auth_grace(folder: Path) -> File:
    """Further auth strings of the server in that folder. It looks at them as it runs: they are none of its `files`."""
    return File(path=str(folder / "auth-grace.json"), content=_reference(AUTH_GRACE))


def server_toml(stack: Stack, folder: Path, database: Database, secrets: ServerSecrets = ServerSecrets()) -> File:
    """`prefect.toml` of a server on this database, in the working folder that server looks at.

    Each slot has its own, so that a server on its way out keeps what it was started with.
    """
    return File(
        path=str(folder / "prefect.toml"),
        content=f"""\
# Written by the host agent; edit the stack's spec instead.
[server.api]
host = "127.0.0.1"
port = {stack.spec.server_port}
auth_string = "{_reference(secrets.auth_string)}"

[server.ui]
api_url = "{stack.spec.api_url}"

[server.database]
connection_url = "{database.connection_url(secrets.database_login)}"
""",
    )


def _client_toml(stack: Stack, home: Home) -> File:
    """`prefect.toml` of the workers, which talk to the server's port directly."""
    return File(
        path=str(home.etc / "client/prefect.toml"),
        content=f"""\
# Written by the host agent; edit the stack's spec instead.
[api]
url = "http://127.0.0.1:{stack.spec.server_port}/api"
auth_string = "{_reference(AUTH_STRING)}"
""",
    )
