"""Whether a backup can take the place of a stack's database, as far as can be known before anything is touched."""

from __future__ import annotations

from dataclasses import dataclass

from blocks.backups import Manifest

TEMPORARY_BYTES = 200_000_000
"""What the temporary server and its own database take, and air to breathe."""
UNPACKED = 10
"""A database is at most about so many times as large as its dump: 5 times, seen with flow runs, logs and events."""


@dataclass(frozen=True)
class Facts:
    """What a backup is held against.

    Attributes:
        home: Identity of the stack's home.
        keys: Marks of the versions of the stack's encryption key.
        known_revisions: Schemas which the stack's Prefect has a way from to its own.
    """

    stack: str
    home: str
    keys: frozenset[str]
    prefect_version: str
    known_revisions: frozenset[str]


def faults(manifest: Manifest, facts: Facts) -> list[str]:
    """Why this backup cannot be restored here, each a sentence; empty where it can. Pure."""
    found = []
    if (manifest.stack, manifest.home) != (facts.stack, facts.home):
        found.append(
            f"it is foreign, made by the stack {manifest.stack!r} of the home {manifest.home!r}, "
            f"and this is {facts.stack!r} of {facts.home!r}"
        )
    if manifest.schema_revision not in facts.known_revisions:
        found.append(
            f"its schema {manifest.schema_revision} (Prefect {manifest.prefect_version}) is newer than what this "
            f"stack's Prefect {facts.prefect_version} knows: upgrade first"
        )
    if manifest.key not in facts.keys:
        found.append("its secrets are encrypted with another key, of which this stack has no version")
    return found


def disk_faults(manifest: Manifest, free: int, database: int) -> list[str]:
    """Whether the disk has room for a restore; empty where it has. Pure.

    Args:
        free: Bytes that are free where the stack lies.
        database: Bytes the database takes there now; 0 where it is kept elsewhere.
    """
    needed = needed_bytes(manifest, database)
    if free >= needed:
        return []
    return [f"{free / 1e9:.2f} GB of disk are free, {needed / 1e9:.2f} are needed"]


def needed_bytes(manifest: Manifest, database: int) -> int:
    """Disk a restore takes: the fetched dump, a backup of what is there with its drill, and the copy beside."""
    copies = max(database, manifest.size * UNPACKED) if database else 0
    return TEMPORARY_BYTES + 4 * manifest.size + 2 * copies
