"""A stack: its spec, its ports, and what both come to: a `HostSpec` and a list of resources."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from prefect.blocks.core import Block
from pydantic import Field

from blocks import services
from blocks.agent.spec import HostSpec, Release, Socket, to_json
from blocks.database import Database
from blocks.document import Document
from blocks.encryption import bring_blocks_to
from blocks.front_door import FrontDoor
from blocks.host.host import Host
from blocks.host.secret_files import (
    AUTH_GRACE,
    AUTH_STRING,
    DATABASE_LOGIN,
    ENCRYPTION_KEY,
    NEXT_BEFORE_VERSIONS,
    new_auth_string,
    new_encryption_key,
    reference,
)
from blocks.ledger import Ledger
from blocks.machine import Machine
from blocks.object_store import ObjectStore
from blocks.proxy import Proxy
from blocks.resource import Attributes, Change, Port, Resource
from blocks.secret_store import SecretResource, SecretStore
from blocks.services import SLOT_PREFIX, SOCKET, WORKER_PREFIX, ServerSecrets
from blocks.signature import key_mark
from blocks.site import SETTLED, Site, postgres_user
from blocks.spec import MAINTENANCE_POOL, SERVER, TOOLS, StackSpec, Worker
from blocks.temporary.server import TemporaryServer

SLOTS = ("blue", "green")
"""Places for a server on that socket. One is in use, but for the moment in which the other takes over."""
USERS = ("users of the services", "former users")
"""Resources of a machine: system users which services run as, before the services, and those of services that are
gone, after them."""


class StackBlock(Block):
    """Where a stack and its parts lie, for people to see.

    Saved on the stack's own server under the stack's name. Nothing is read from there: anybody may edit it. What is
    wanted is not in it: a restore of the database must not bring an older form back.
    """

    _block_type_name = "Self-hosted stack"
    _block_type_slug = "selfhost-stack"

    ledger: str = Field(description="Where the stack's own record lies: what is wanted, who changes it, how it is.")
    home: str = Field(description="The stack's folder on its host.")
    front_door: str = Field(description="How people and clients come in.")
    database: str = Field(description="The server's database; its user and password are among the stack's secrets.")
    releases: str = Field(description="Folder on its host where the releases that run are installed.")


@dataclass(frozen=True)
class Stack:
    """One stack with its ports and the releases it should run."""

    spec: StackSpec
    site: Site
    secrets: SecretStore
    objects: ObjectStore
    database: Database
    machine: Machine
    host: Host
    """The machine as code that runs on it sees it: nothing of it is touched from anywhere else."""
    proxy: Proxy
    releases: Mapping[str, Release]
    """`server` → the server's release, and a worker's name → its own where it wants further packages."""
    versions: Mapping[str, int]
    """The promoted version of each secret by its name; of one that is not named, the first."""
    known: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """What was found of what stands outside its host, and is not to be known by the spec, such as an address."""
    documents: Sequence[Document] = ()
    """Blocks which its server keeps for users' flows."""
    ground: Sequence[Resource] = ()
    """What all else that stands outside its host needs first, such as the APIs of a cloud."""
    beside: Sequence[Resource] = ()
    """What else stands there and is no port's alone, such as what its host may do with its secrets."""

    @property
    def ledger(self) -> Ledger:
        """Its own record: who it is, what is wanted of it, and who may change it."""
        return Ledger(self.objects, self.host.home if self.site.is_here else None)

    @property
    def is_settled(self) -> bool:
        """Whether all has stood outside its host once, so that the host can be asked for anything."""
        return self.site.is_here or SETTLED in self.known

    @property
    def door(self) -> FrontDoor:
        """How the stack's users come in."""
        return FrontDoor(self.proxy.door_url(), self.secret(AUTH_STRING))

    def secret(self, name: str) -> str:
        """The promoted value of a secret."""
        return self.secrets.read(name, self.version(name))

    def version(self, name: str) -> int:
        """The promoted version of a secret."""
        return self.versions.get(name, 1)

    def reference(self, name: str) -> str:
        """The same as a `HostSpec` names it, `NAME@7`."""
        return reference(name, self.version(name))

    def restoring_server(self) -> TemporaryServer:
        """The temporary server of a restore on the stack's host, running or not."""
        home = self.host.home
        return TemporaryServer(home, postgres_user(self.spec.name, self.site), home.restoring)

    def block(self) -> StackBlock:
        """The block which its server shows of it."""
        home = self.host.home
        return StackBlock(
            ledger=self.objects.address(),
            home=str(home.root),
            front_door=self.proxy.url(),
            database=f"postgresql://{self.database.connection_url().rpartition('@')[2]}",
            releases=str(home.releases),
        )

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

    def outside(self) -> list[Resource]:
        """What of it stands outside its host, in no particular order."""
        listed = [*self.beside, *(resource for part in self._parts for resource in part.outside())]
        listed += self.secret_resources() if self.secrets.is_outside else []
        for each in listed:
            each.needs = each.needs or tuple(first.name for first in self.ground)
        return [*self.ground, *listed]

    def on_host(self) -> list[Resource]:
        """What of it stands on its host, in no particular order; visited there alone."""
        made = [] if self.secrets.is_outside else self.secret_resources("home")
        own = [resource for part in self._parts for resource in part.on_host()]
        return [*made, *own, HostServices(self)]

    def secret_resources(self, *needs: str) -> list[Resource]:
        """Every secret of the stack, as a resource with these needs."""
        makers = self.secret_makers()
        return [SecretResource(self.secrets, name, self.version(name), make, needs) for name, make in makers.items()]

    def learned(self) -> dict[str, str]:
        """What is known of what stands outside only once it is there, for whoever composes the stack from now on."""
        return {name: value for part in self._parts for name, value in part.learned().items()}

    @property
    def _parts(self) -> tuple[Port, ...]:
        return self.machine, self.objects, self.secrets, self.database, self.proxy


class HostServices(Resource):
    """Everything that runs on the stack's host, as one generation of its `HostSpec`."""

    name = "host services"

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        secrets = () if stack.secrets.is_outside else tuple(f"secret {name}" for name in stack.secret_makers())
        # PostgreSQL is started on its folder, and no server on a database which is not known to be ours.
        database = tuple(each.name for each in stack.database.on_host() if self.name not in each.needs)
        users = tuple(each.name for each in stack.machine.on_host() if each.name == USERS[0])
        self.needs = ("host agent", *secrets, *database, *users)

    def find(self) -> Attributes | None:
        host = self._stack.host
        applied = host.applied()
        if applied is None:
            return None
        lasting = dataclasses.replace(applied, jobs=())  # a job that a change of the stack ran is no part of it
        return {**_parts(lasting), "taken up": host.has_taken_up(applied.generation)}

    def want(self) -> Attributes:
        return {**_parts(next_spec(self._stack)), "taken up": True}

    def apply(self, actual: Attributes | None, change: Change) -> None:
        stack, applied = self._stack, self._stack.host.applied()
        if applied is not None and not has_server(applied):  # an interrupted rotation may have stopped it
            bring_blocks_to(stack.version(ENCRYPTION_KEY), stack.secrets, stack.database)
            stack.ledger.note_key(key_mark(stack.secret(ENCRYPTION_KEY)))
        stack.host.apply(next_spec(stack))

    def delete(self) -> None:
        self._stack.host.stop()


def _parts(spec: HostSpec) -> dict[str, object]:
    """A spec as comparable attributes, one for each part, so that a plan names what changed."""
    named = [*spec.releases, *spec.sockets, *spec.services, *spec.jobs, *spec.folders, *spec.files]
    parts: dict[str, object] = {f"{type(each).__name__.lower()} {_key(each)}": to_json(each) for each in named}
    return parts | {"parts": len(named)}


def _key(part: object) -> str:
    return str(part.id if isinstance(part, Release) else getattr(part, "name", "") or getattr(part, "path", ""))


def next_spec(stack: Stack) -> HostSpec:
    """What the stack's host should be given now: the wanted server stays in the slot it runs in, with its secrets."""
    applied = stack.host.applied()
    generation = 1 if applied is None else applied.generation + 1
    slot = active_slot(applied, stack.releases[SERVER])
    return host_spec(stack, generation, slot, server_secrets(applied, slot, promoted_secrets(stack)))


def has_server(applied: HostSpec) -> bool:
    """Whether a host was told to run a server."""
    return any(each.name.startswith(SLOT_PREFIX) for each in applied.services)


def active_slot(applied: HostSpec | None, release: Release) -> str:
    """The slot in which a release's server runs by a spec; where it does not yet, the slot of the one that does.

    So while two run, as in an upgrade that was killed, the stack's own spec says which of them stays.
    """
    servers = [each for each in (applied.services if applied else ()) if each.name.startswith(SLOT_PREFIX)]
    wanted = [each for each in servers if f"/{release.id}/" in each.argv[0]]
    return next((each.name.removeprefix(SLOT_PREFIX) for each in (*wanted, *servers)), SLOTS[0])


def server_secrets(applied: HostSpec | None, slot: str, promoted: ServerSecrets) -> ServerSecrets:
    """Secrets which the server in a slot has by a spec; the promoted ones where there is none in it. Pure.

    So a converge in the middle of a rotation leaves the server as it is.
    """
    files = applied.files if applied else ()
    text = "".join(each.content for each in files if each.path.endswith(f"/{SLOT_PREFIX}{slot}/prefect.toml"))
    return dataclasses.replace(
        promoted,
        auth_string=_referred(text, AUTH_STRING) or promoted.auth_string,
        database_login=_referred(text, DATABASE_LOGIN) or promoted.database_login,
    )


def _referred(text: str, secret: str) -> str:
    """The version of a secret that a text refers to, as `NAME@7`; empty where it says none."""
    found = re.search(rf"\${{secret:{secret}(@\d+|{NEXT_BEFORE_VERSIONS})}}", text)
    if found is None:
        return ""
    return reference(secret, 2) if found[1] == NEXT_BEFORE_VERSIONS else secret + found[1]


def promoted_secrets(stack: Stack) -> ServerSecrets:
    """What a server is started with where no rotation is under way."""
    return ServerSecrets(*map(stack.reference, (AUTH_STRING, DATABASE_LOGIN, ENCRYPTION_KEY)))


def other_slot(slot: str) -> str:
    """The slot which a new server is started in."""
    return SLOTS[1 - SLOTS.index(slot)]


def host_spec(stack: Stack, generation: int, slot: str = SLOTS[0], secrets: ServerSecrets | None = None) -> HostSpec:
    """What should run on the stack's host, its server in that slot. Pure.

    Services are listed in the order in which they depend on each other, and are stopped by their `stop_level`.

    Args:
        secrets: What its server is started with; left out, the promoted ones.
    """
    secrets = secrets or promoted_secrets(stack)
    home = stack.host.home
    environment = home.releases / stack.releases[SERVER].id
    tools = home.releases / stack.releases[TOOLS].id
    users, etc = stack.machine.users(), home.etc / f"server-{slot}"
    workers = [
        (each, home.releases / stack.release_of(each).id, users.get(WORKER_PREFIX + each.name, ""))
        for each in stack.spec.workers
    ]
    user, auth_string = users.get(services.SERVER, ""), stack.reference(AUTH_STRING)
    return HostSpec(
        stack=stack.spec.name,
        generation=generation,
        releases=tuple({each.id: each for each in stack.releases.values()}.values()),
        sockets=(Socket(SOCKET, *stack.proxy.upstream()),),
        folders=services.folders(stack.spec, home, users),
        files=(
            *services.server_files(stack.proxy, etc, stack.database, secrets, user),
            services.auth_grace(etc, stack.reference(AUTH_GRACE), user),
            *(services.worker_toml(stack.proxy, home, worker, auth_string, user) for worker, _, user in workers),
            *stack.proxy.files(),
        ),
        services=(
            *stack.database.services(tools),
            services.server_service(stack.spec, home, environment, slot, secrets, user, stack.proxy.trusted()),
            *stack.proxy.services(tools),
            *(services.worker_service(stack.spec, home, release, worker, user) for worker, release, user in workers),
        ),
    )
