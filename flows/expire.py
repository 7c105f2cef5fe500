"""Dropping what is no longer kept: backups by the policy, and releases that nothing refers to."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial

from prefect import flow
from prefect.artifacts import create_table_artifact

from blocks import backups, catalog
from blocks.backups import Catalogue, Found, Manifest
from blocks.host.secret_files import ENCRYPTION_KEY
from blocks.signature import key_mark
from blocks.stack import Stack
from flows.backup import as_task, publish, rows
from flows.cli.progress import step
from flows.status import kept_databases


@flow(name="expire")
def expire(only_show: bool = False, stack: str | None = None) -> None:
    """Show the backups which the policy no longer keeps, then drop them; the last verified one always stays. Then
    remove the releases, and the locks and wheels in the store, that nothing refers to any more.

    Args:
        only_show: Leave the table and drop nothing.
        stack: Name of the stack; leave it out for the one this server belongs to.
    """
    loaded = catalog.load(stack)
    with loaded.ledger.held("expire backups"), loaded.host.workspace() as folder:
        catalogue = Catalogue.of(loaded, folder)
        found = catalogue.all()
        leaving = due(loaded, found)
        publish_due(found.only(leaving), kept_databases(loaded).message)
        if not only_show:
            for each in leaving:
                as_task(f"drop {each.id}", partial(catalogue.remove, each))
            as_task("drop keys", lambda: drop_keys(loaded, catalogue.all()))
            publish(catalogue.all())
            as_task("disused releases", partial(drop_disused, loaded))


def due(stack: Stack, found: Found) -> list[Manifest]:
    """What the policy no longer keeps of these, the oldest first; never a foreign one, or one that cannot be read."""
    return backups.expired(found, stack.spec.backup, datetime.now(UTC))


def drop_disused(stack: Stack) -> str:
    """Remove the releases which nothing refers to, and what of the store only they were made from; says what that
    was. The lease must be held."""
    with step("disused releases") as detail:
        found = stack.host.disused(stack.releases.values())
        freed = f"removed {found}" if found else "all that is there is in use"
        found.remove()
        detail.text = f"{freed}; {stack.host.free_bytes() / 1e9:.1f} GB are free"
        return detail.text


def drop_keys(stack: Stack, left: Found) -> None:
    """Drop the versions of the encryption key before the promoted one which no backup needs any more.

    What is newer is about to be promoted; and where one cannot be read, nobody knows which it needs.
    """
    needed = {each.key for each in left.readable}
    for version in stack.secrets.versions(ENCRYPTION_KEY):
        key = stack.secrets.read(ENCRYPTION_KEY, version)
        if version < stack.version(ENCRYPTION_KEY) and not left.unreadable and key_mark(key) not in needed:
            stack.secrets.destroy_version(ENCRYPTION_KEY, version)


def publish_due(leaving: Found, databases: str) -> None:
    """Leave what is to go as a table.

    Args:
        databases: What restores have kept, in words: dropping it is a person's to say.
    """
    table = rows(leaving, datetime.now(UTC))
    description = f"Backups the policy no longer keeps. Databases: {databases}."
    create_table_artifact(table=table, key="expire", description=description)
