"""Whether a backup can take the place of a stack's database: everything that can be known before anything is touched."""

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
        key: Mark of the stack's encryption key.
        known_revisions: Schemas which the stack's Prefect has a way from to its own.
        free: Bytes of disk that are free where the stack lies.
        database: Bytes the database takes there now; 0 where it is kept elsewhere.
    """

    stack: str
    home: str
    key: str
    prefect_version: str
    known_revisions: frozenset[str]
    free: int
    database: int


def faults(manifest: Manifest, facts: Facts) -> list[str]:
    """Why this backup cannot be restored here, each a sentence; empty where it can. Pure."""
    found = []
    if (manifest.stack, manifest.home) != (facts.stack, facts.home):
        found.append(f"it is foreign: of the stack {manifest.stack!r} in the home {manifest.home or 'without a name'}")
    if manifest.schema_revision not in facts.known_revisions:
        found.append(
            f"its schema {manifest.schema_revision} (Prefect {manifest.prefect_version}) is newer than what this "
            f"stack's Prefect {facts.prefect_version} knows: upgrade first"
        )
    if manifest.key != facts.key:
        found.append("its secrets were encrypted with another key: put that key back first")
    needed = needed_bytes(manifest, facts)
    if facts.free < needed:
        found.append(f"{facts.free / 1e9:.1f} GB of disk are free, {needed / 1e9:.1f} are needed")
    return found


def needed_bytes(manifest: Manifest, facts: Facts) -> int:
    """Disk a restore takes: the fetched dump, a backup of what is there with its drill, and the copy beside."""
    copies = max(facts.database, manifest.size * UNPACKED) if facts.database else 0
    return TEMPORARY_BYTES + 4 * manifest.size + 2 * copies
