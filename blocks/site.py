"""Where a stack is put, and what follows from its spec there: folders, users, ports, address.

A spec says what is wanted on whichever machine; what the machine adds is a `Site`, found once by who runs on it: by
`here` or `at`. All else is pure. Where the host is elsewhere, the site is its, as known beforehand.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from blocks.host import system_user
from blocks.host.home import Home
from blocks.spec import MAINTENANCE_POOL, StackSpec

FOLDERS = Path("/var/lib/prefect-selfhost")
"""Where root has stacks: on this machine, and on every host at Google."""


SERVER_PORT = 4200
"""Where the server listens on a host of its own; Prefect's own default."""
URL, SETTLED = "url", "settled"
"""Keys of what is known of a stack at Google: the address that is in use, and that all has stood outside its host."""


@dataclass(frozen=True)
class Site:
    """What a stack's composition has to know of the machine its services run on."""

    home: Path
    """The stack's folder."""
    has_users: bool
    """Whether its services run as system users of their own: where root runs the stack."""
    is_here: bool = True
    """Whether this is that machine."""


def here(spec: StackSpec) -> Site:
    """The site of a stack: this machine, for who runs it, or where its host is elsewhere, that one."""
    own = folder(spec)
    if spec.target == "local" or (Home(own).bucket and Home(own).is_hosts()):
        return at(own)
    return Site(FOLDERS / spec.name, has_users=True, is_here=False)


def folder(spec: StackSpec) -> Path:
    """The stack's folder on this machine: its home, or where its host is elsewhere, the launcher's own folder."""
    return Path(spec.local.home) if spec.local.home else default_home(spec.name)


def at(home: Path) -> Site:
    """The site of a stack in that folder of this machine."""
    return Site(home, has_users=os.geteuid() == 0)


def default_home(name: str) -> Path:
    """Where a stack lives when the spec does not say: a folder of the system for root, else of the user."""
    if os.geteuid() == 0:
        return FOLDERS / name
    data = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local/share")
    return Path(data) / "prefect-selfhost" / name


def store(spec: StackSpec, site: Site) -> Path:
    """Folder of the stack's objects: its own record, release artifacts and backups."""
    return Path(spec.local.store) if spec.local.store else site.home / "store"


def postgres_user(stack: str, site: Site) -> str:
    """System user of the PostgreSQL servers we start; empty for the one who runs the stack."""
    return system_user.name_for(stack) if site.has_users else ""


def service_users(spec: StackSpec, site: Site) -> dict[str, str]:
    """System users of the services, PostgreSQL's aside: `server`, `nginx` where it is the host's, and each
    `worker-NAME` for flows of the stack's users → its name. Who runs the stack runs what changes it, too; none
    where services have no own ones."""
    if not site.has_users:
        return {}
    roles = {"server": "server"} | ({"nginx": "nginx"} if spec.target == "local" else {})
    roles |= {f"worker-{each.name}": f"w-{each.name}" for each in spec.workers if each.pool != MAINTENANCE_POOL}
    return {service: system_user.name_for(spec.name, role) for service, role in roles.items()}


def all_users(spec: StackSpec, site: Site) -> tuple[str, ...]:
    """All system users of the stack."""
    return tuple(filter(None, (postgres_user(spec.name, site), *service_users(spec, site).values())))


def listening(spec: StackSpec) -> dict[str, tuple[str, int]]:
    """What the stack listens on: what for → (address, TCP port). Somebody else's database is not among it."""
    if spec.target == "gcp":
        return {"server": (spec.gcp.network.host_address, SERVER_PORT)}
    ports = spec.local.ports
    found = {"front door": (spec.local.listen, ports.public), "server": ("127.0.0.1", ports.of_server)}
    return found if spec.database.url else {**found, "database": ("127.0.0.1", ports.of_database)}


def url(spec: StackSpec, found: Mapping[str, str] | None = None) -> str:
    """How a browser reaches the stack, without a slash at the end.

    Args:
        found: What is known of a stack at Google, whose spec alone does not say it.
    """
    if spec.target == "gcp":
        return (found or {}).get(URL, "")
    address = "127.0.0.1" if spec.local.listen == "0.0.0.0" else spec.local.listen
    return spec.public_url or f"http://{address}:{spec.local.ports.public}"
