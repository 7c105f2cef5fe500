"""The look before an upgrade: the stack it would make, and everything that speaks against it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import WorkPoolFilter
from prefect.runtime import flow_run

from blocks import catalog, clients, pools, release, verification
from blocks.agent.spec import Artifact, Condition, Release
from blocks.database import Vitals
from blocks.errors import Blocked, WrongCall
from blocks.spec import SERVER, TOOLS, StackSpec, build_spec, numbers
from blocks.stack import Stack

RELEASE_BYTES = 330_000_000
"""Disk of a release with its byte code: 326 MB, as `tests.bench.bench_releases` measured it, whether uv links its files
from a cache on the same disk or copies them."""
COPIES = 3.0
"""Times a database's size that a dump, a restored copy and the building of indexes may take."""


@dataclass(frozen=True)
class Facts:
    """What was found; `faults` and `notes` judge it."""

    vitals: Vitals
    database: tuple[str, ...]
    """Why the stack cannot be kept in its database."""
    database_bytes: int
    """What of this machine's disk the database takes."""
    free_bytes: int
    running: str
    """Flow runs that have a process now, in words."""
    strangers: tuple[str, ...]
    """Workers that are online and not of this stack."""
    clients: Mapping[str, float]
    """Prefect version → when one of it last called the server that serves now, Unix time."""
    scheduler: Condition
    """What the verification at the end wants, and would be rolled back for."""


def wanted_spec(now: StackSpec, to: str) -> StackSpec:
    """The stack's spec with the other version.

    Raises:
        WrongCall: it is no version, below the floor, not known to work, or a downgrade.
    """
    wanted = build_spec({**now.model_dump(mode="json"), "prefect_version": to}, "upgrade")
    if wanted.version_parts < now.version_parts:
        hint = "selfhost restore brings back a backup which was made with the older version"
        raise WrongCall(f"{to} is older than {now.prefect_version}, which runs: there is no downgrade", hint)
    return wanted


def wanted_form(old: Stack, to: str, wheel: str) -> Stack:
    """The stack as it would be: its releases resolved, their locks and our wheel kept in its store.

    Args:
        wheel: sha256 of another wheel of ours in the store; empty for the one that runs.

    Raises:
        Blocked: the version does not exist, or its requirements contradict each other.
    """
    spec = wanted_spec(old.spec, to)
    ours = release.offered_wheel(old.objects, wheel) if wheel else old.releases[SERVER].wheels[0]
    releases = {**_releases(spec, ours, old), TOOLS: old.releases[TOOLS]}
    return catalog.compose(spec, releases, old.site, old.versions, old.known)


def _releases(spec: StackSpec, wheel: Artifact, old: Stack) -> dict[str, Release]:
    needs, reach = spec.release_packages, old.host.reach()
    goal = release.platform_of(spec)
    resolved = release.prepare_all(spec.prefect_version, wheel, old.objects, needs, reach, goal)
    return {name: release.as_kept(each, old.releases.get(name)) for name, each in resolved.items()}


def look(old: Stack, client: SyncPrefectClient) -> Facts:
    """Gather what there is to know; changes nothing."""
    named = [each.name for each in client.read_work_pools(work_pool_filter=WorkPoolFilter())]
    ours = {each.name for each in old.spec.workers}
    online = [
        f"{worker.name} on {pool}"
        for pool in named
        for worker in client.read_workers_for_work_pool(pool)
        if worker.name not in ours and worker.status == "ONLINE"
    ]
    return Facts(
        vitals=old.database.vitals(),
        database=tuple(old.database.faults()),
        database_bytes=old.database.size(),
        free_bytes=old.host.free_bytes(),
        running=pools.in_words(each for each in pools.all_alive(client) if str(each.id) != flow_run.id),
        strangers=tuple(online),
        clients=clients.callers(old.host.observe()),
        scheduler=verification.scheduler_moves(old.door),
    )


def faults(facts: Facts) -> list[str]:
    """Everything that is in the way, each a sentence with its hint."""
    needed = RELEASE_BYTES + int(COPIES * facts.database_bytes)
    found = [*facts.database]
    if facts.free_bytes < needed:
        found.append(f"{facts.free_bytes / 1e9:.1f} GB of disk are free, {needed / 1e9:.1f} are needed: make room")
    if facts.vitals.long_transactions:
        open_ = "; ".join(facts.vitals.long_transactions)
        found.append(f"a migration would wait for transactions in the database: {open_}: end them first")
    if not facts.scheduler.status:
        found.append(f"it could not be verified, as nothing is scheduled now: {facts.scheduler.message}")
    return found


def notes(facts: Facts, to: str) -> list[str]:
    """What a person should know of an upgrade to that version, a line each."""
    tables = ", ".join(f"{name} {size / 1e6:.0f} MB" for name, size in facts.vitals.tables.items())
    said = [
        f"disk: {facts.free_bytes / 1e9:.1f} GB free, the database has {facts.vitals.size / 1e6:.0f} MB",
        f"largest tables: {tables}",
        f"running now: {facts.running}",
    ]
    if facts.vitals.invalid_indexes:
        said.append(f"invalid indexes, which the migration rebuilds: {', '.join(facts.vitals.invalid_indexes)}")
    if facts.strangers:
        said.append(
            f"workers which this stack does not upgrade: {', '.join(facts.strangers)}; "
            "they may stay older, and must not become newer, than the server"
        )
    return [*said, *_callers(facts.clients, to)]


def _callers(called: Mapping[str, float], to: str) -> list[str]:
    """Which clients, workers among them, have called the server since its start."""
    newer = [each for each in called if numbers(each) > numbers(to)]
    said = [f"clients that have called, by version: {', '.join(called)}"] if called else []
    if newer:
        said.append(
            f"clients newer than {to}, which its server refuses (422) as the present one does: {', '.join(newer)}"
        )
    return said


def require(found: Sequence[str]) -> None:
    """Raise Blocked with all faults together."""
    if found:
        raise Blocked("; ".join(found), "nothing was changed")
