"""A copy of the stack's database that has been restored before it counts."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar

from prefect import flow, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from pydantic import Field

from blocks import backups, catalog
from blocks.backups import Catalogue, Found, Manifest
from blocks.database import Database
from blocks.errors import Blocked
from blocks.host.secret_files import ENCRYPTION_KEY
from blocks.signature import key_mark
from blocks.stack import Stack
from flows.cli.progress import step

T = TypeVar("T")
Reason = Annotated[str, Field(min_length=1, max_length=200)]


@flow(name="backup")
def backup(reason: Reason = "by hand or by schedule", stack: str | None = None) -> None:
    """Dump the database, restore the dump into a scratch database, compare; only then it counts.

    Args:
        reason: Why this backup is made; it is kept with it.
        stack: Name of the stack; leave it out for the one this server belongs to.
    """
    loaded = catalog.load(stack)
    with loaded.ledger.held("backup"), loaded.host.workspace() as folder:
        run(loaded, reason, folder)


def found(stack: Stack) -> Found:
    """Every backup there is; only to look at, so that no lease is needed."""
    with tempfile.TemporaryDirectory(prefix="backups-") as folder:
        return Catalogue.of(stack, Path(folder)).all()


def chosen(catalogue: Catalogue, wanted: str, *, unsigned: bool = False) -> Manifest:
    """One backup by its id, or the latest; a date in the future, for which one is not the latest, is said."""
    manifest = catalogue.find(wanted, unsigned=unsigned)
    if wanted == backups.LATEST:
        for each in catalogue.all().ahead(datetime.now(UTC)):
            with step(f"leave out {each.id}") as detail:
                detail.text = f"it is dated in the future, {each.made}; restore it by its id, if that is what you want"
    return manifest


def run(stack: Stack, reason: str, folder: Path) -> Manifest:
    """Both halves as tasks, and the table at the end, however it ends."""
    catalogue = Catalogue.of(stack, folder)
    catalogue.sweep()
    try:
        manifest = as_task("dump", lambda: dump(stack, catalogue, reason, folder / "dump"))
        return as_task("drill", lambda: drill(stack, catalogue, manifest, folder / "copy"))
    finally:
        publish(catalogue.all())


def as_task(name: str, work: Callable[[], T]) -> T:
    """Do it as a task of this name, never from a cache. Nothing is its parameter: those are stored in clear."""
    return task(name=name, cache_policy=NO_CACHE)(work)()


def dump(stack: Stack, catalogue: Catalogue, reason: str, target: Path) -> Manifest:
    """Dump into the object store; not yet verified."""
    began, now = time.monotonic(), datetime.now(UTC)
    with step("dump") as detail:
        content = stack.database.dump(target)
        detail.text = f"{sum(content.rows.values())} rows in {len(content.rows)} tables"
        if content.without:
            detail.text += f", without what our login may not read: the schemas {', '.join(content.without)}"
    if content.schema_revision is None:
        raise Blocked("the stack's database is empty", "selfhost bootstrap fills it")
    manifest = Manifest(
        id=backups.new_id(now),
        stack=stack.spec.name,
        home=stack.ledger.id,
        made=now.isoformat(timespec="seconds"),
        reason=reason,
        prefect_version=stack.spec.prefect_version,
        schema_revision=content.schema_revision,
        size=target.stat().st_size,
        sha256=backups.digest(target),
        key=key_mark(stack.secret(ENCRYPTION_KEY)),
        rows=content.rows,
        digests=content.digests,
        seconds=0.0,
        without=content.without,
    )
    catalogue.add(manifest, target)
    target.unlink()
    manifest = replace(manifest, seconds=round(time.monotonic() - began, 2))
    catalogue.update(manifest)
    return manifest


def drill(stack: Stack, catalogue: Catalogue, manifest: Manifest, copy: Path) -> Manifest:
    """Restore what the store holds, compare, and say so in the manifest."""
    with drilled(stack, catalogue, manifest, copy) as (_, verified):
        return verified


@contextmanager
def drilled(stack: Stack, catalogue: Catalogue, manifest: Manifest, copy: Path) -> Iterator[tuple[Database, Manifest]]:
    """The same, and the restored copy as long as the context lasts."""
    with ExitStack() as held:
        with step("drill") as detail:
            catalogue.fetch(manifest, copy)
            key = catalogue.key_of(manifest)
            scratch, verified = held.enter_context(backups.drilled(manifest, copy, stack.database, key))
            catalogue.update(verified)
            detail.text = f"{manifest.id} restores: every table, its rows, and its blocks can be read"
        yield scratch, verified


def rows(found: Found, now: datetime) -> list[dict[str, Any]]:
    """What `selfhost backup --list --json` tells of each, the newest first; keys are stable."""
    return [
        {
            "id": each.id,
            "made": each.made,
            "age_hours": round((now - each.moment).total_seconds() / 3600, 1),
            "size": each.size,
            "verified": each.verified and each in found.own,
            "foreign": each in found.foreign,
            "signed": each in found.own,
            "reason": each.reason,
            "prefect_version": each.prefect_version,
            "rows": sum(each.rows.values()),
            "dump_seconds": each.seconds,
            "drill_seconds": round(each.drill.seconds, 2) if each.drill else None,
        }
        for each in reversed(found.readable)
    ]


def publish(found: Found) -> None:
    """Leave the backups as a table, and say which cannot be read."""
    said = ["Backups; those that are verified count, and foreign or unsigned ones never do."]
    said += [f"**{name}** is not among them: {why}" for name, why in found.unreadable.items()]
    create_table_artifact(table=rows(found, datetime.now(UTC)), key="backups", description="\n\n".join(said))
