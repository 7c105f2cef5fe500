"""Backups: a dump and its manifest in the object store, which of them count, and which may go.

A backup counts once a drill has restored it and found there what the dump was made of.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet, InvalidToken

from blocks.database import SCRATCH_JOBS, Content, Database
from blocks.errors import Blocked
from blocks.host.agent.spec import Condition
from blocks.object_store import ObjectStore
from blocks.spec import Backup as Policy

PREFIX = "backups/"
FORMAT = 1
"""Of the manifest; one with a higher number was written by a newer selfhost."""

LATEST = "latest"
"""In the place of an id: the newest verified backup."""
BEFORE_RESTORE = "before restore of "
"""How the reason of a backup begins that a restore made of what it was about to replace."""


@dataclass(frozen=True)
class Drill:
    """A restore that found everything: when, and how many seconds it took."""

    at: str
    seconds: float


@dataclass(frozen=True)
class Manifest:
    """What a backup says of itself. Times are UTC in ISO 8601, sizes bytes, durations seconds."""

    id: str
    stack: str
    home: str
    made: str
    reason: str
    prefect_version: str
    schema_revision: str
    size: int
    sha256: str
    key: str
    rows: Mapping[str, int]
    digests: Mapping[str, str]
    seconds: float
    drill: Drill | None = None
    format: int = field(default=FORMAT)

    @property
    def verified(self) -> bool:
        return self.drill is not None

    @property
    def moment(self) -> datetime:
        return datetime.fromisoformat(self.made)


def new_id(now: datetime) -> str:
    """`20261124T132200Z-1a2b3c`: sorts by time, and two of one second differ."""
    return f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


def key_mark(encryption_key: str) -> str:
    """What tells one encryption key from another without giving it away."""
    return hashlib.sha256(b"prefect-selfhost encryption key\0" + encryption_key.encode()).hexdigest()[:16]


def expired(found: Sequence[Manifest], policy: Policy, now: datetime) -> list[Manifest]:
    """Backups that may go, the oldest first.

    The newest `keep` stay, and all of the last `window_days`; verified ones go only down to `minimum_redundancy`, so
    the last verified one never does.
    """
    by_age = sorted(found, key=lambda each: each.moment)
    kept = {each.id for each in by_age[-policy.keep :]}
    kept |= {each.id for each in by_age if now - each.moment <= timedelta(days=policy.window_days)}
    kept |= {each.id for each in [each for each in by_age if each.verified][-policy.minimum_redundancy :]}
    return [each for each in by_age if each.id not in kept]


def recent(found: Sequence[Manifest], policy: Policy, stack_made: datetime | None, now: datetime) -> Condition:
    """Whether the last verified backup is young enough; a stack gets as long for its first one."""
    verified = [each for each in found if each.verified]
    last = max((each.moment for each in verified), default=stack_made)
    old = (now - last).total_seconds() / 3600 if last else float("inf")
    well = old <= policy.max_age_hours
    age = f"{old:.1f} hours old, {policy.max_age_hours} are allowed"
    text = f"the last verified backup is {age}" if verified else f"there is no verified backup; the stack is {age}"
    return Condition("BackupRecent", well, "Young" if well else "TooOld", text)


class Catalogue:
    """The backups of one stack in its object store."""

    def __init__(self, store: ObjectStore, scratch: Path) -> None:
        self._store, self._scratch = store, scratch

    def add(self, manifest: Manifest, dump: Path) -> None:
        """The dump first: a backup without a manifest is none, and is swept."""
        self._store.put(_dump_key(manifest.id), dump)
        self.update(manifest)

    def update(self, manifest: Manifest) -> None:
        path = self._scratch / f"{manifest.id}.json"
        path.write_text(json.dumps(asdict(manifest), indent=1))
        self._store.put(_manifest_key(manifest.id), path)
        path.unlink()

    def all(self) -> list[Manifest]:
        """Every backup, the oldest first.

        Raises:
            Blocked: a manifest is damaged, or newer than this selfhost.
        """
        return sorted(self._manifests(), key=lambda each: each.moment)

    def find(self, backup: str) -> Manifest:
        """One backup, whatever the state of the others; `latest` is the newest verified one.

        What a restore itself saved is never the latest: it holds what somebody wanted to get away from.

        Raises:
            Blocked: there is no such backup, or its manifest is damaged or newer than this selfhost.
        """
        if backup == LATEST:
            verified = [each for each in self.all() if each.verified and not each.reason.startswith(BEFORE_RESTORE)]
            if not verified:
                raise Blocked("there is no verified backup", "selfhost backup --list shows what there is")
            return verified[-1]
        key = _manifest_key(backup)
        if key not in self._store.listing(PREFIX):
            raise Blocked(f"there is no backup {backup!r}", "selfhost backup --list shows those there are")
        return self._read(key)

    def fetch(self, manifest: Manifest, target: Path) -> None:
        """Write the dump to a file.

        Raises:
            Blocked: it is not what the manifest says.
        """
        self._store.get(_dump_key(manifest.id), target)
        size = target.stat().st_size
        if size != manifest.size:
            raise Blocked(f"backup {manifest.id} is damaged: its dump has {size} bytes instead of {manifest.size}")
        if digest(target) != manifest.sha256:
            raise Blocked(f"backup {manifest.id} is damaged: its dump is not the one it was made with (sha256)")

    def remove(self, manifest: Manifest) -> None:
        """The manifest first: what is half gone is no backup any more."""
        self._store.remove(_manifest_key(manifest.id))
        self._store.remove(_dump_key(manifest.id))

    def sweep(self) -> None:
        """Remove dumps without a manifest, which a killed backup left."""
        known = {each.id for each in self._manifests()}
        for key in self._store.listing(PREFIX):
            if key.endswith("/dump") and key.split("/")[1] not in known:
                self._store.remove(key)

    def _manifests(self) -> Iterator[Manifest]:
        for key in self._store.listing(PREFIX):
            if key.endswith("/manifest.json"):
                yield self._read(key)

    def _read(self, key: str) -> Manifest:
        target = self._scratch / "manifest.json"
        self._store.get(key, target)
        found = read_manifest(target.read_text(), key)
        target.unlink()
        return found


def read_manifest(text: str, where: str) -> Manifest:
    """A manifest out of its JSON.

    Raises:
        Blocked: it is damaged, or newer than this selfhost.
    """
    try:
        raw: dict[str, Any] = json.loads(text)
        if raw["format"] > FORMAT:
            raise Blocked(f"{where} was written by a newer selfhost (format {raw['format']})", "upgrade selfhost first")
        return Manifest(**{**raw, "drill": Drill(**raw["drill"]) if raw["drill"] else None})
    except (ValueError, TypeError, KeyError) as error:
        raise Blocked(f"the manifest {where} is damaged: {error}", "remove it, or put the copy back") from error


def compare(manifest: Manifest, found: Content) -> list[str]:
    """What the content of a restored copy lacks, in words; empty where it is whole."""
    wrong = []
    if found.schema_revision != manifest.schema_revision:
        wrong.append(f"schema {found.schema_revision} instead of {manifest.schema_revision}")
    for table, count in manifest.rows.items():
        if found.rows.get(table) != count:
            wrong.append(f"{table}: {found.rows.get(table, 'no')} rows instead of {count}")
        elif found.digests.get(table) != manifest.digests[table]:
            wrong.append(f"{table}: other rows than were dumped")
    return wrong


def lacking(manifest: Manifest, copy: Database, encryption_key: str) -> list[str]:
    """What a restored copy lacks, in words, its secret blocks included; empty where it is whole."""
    wrong = compare(manifest, copy.content(manifest.rows))
    if not readable(copy.encrypted_block(), encryption_key):
        wrong.append("its blocks cannot be read with the stack's encryption key")
    return wrong


@contextmanager
def drilled(
    manifest: Manifest, dump: Path, database: Database, encryption_key: str
) -> Iterator[tuple[Database, Manifest]]:
    """Restore a dump into a scratch database and compare: the copy as long as the context lasts, and the manifest
    with its drill.

    Raises:
        Blocked: something differs; the backup does not count.
    """
    began = datetime.now(UTC)
    # One name for all drills of a stack, so that what a killed one left is made anew by the next.
    with database.scratch(f"drill-{manifest.stack}-{manifest.home[:8]}") as scratch:
        scratch.restore(dump, jobs=SCRATCH_JOBS)
        wrong = lacking(manifest, scratch, encryption_key)
        if wrong:
            raise Blocked(f"backup {manifest.id} does not restore: {'; '.join(wrong)}", "it stays, and does not count")
        now = datetime.now(UTC)
        done = Drill(now.isoformat(timespec="seconds"), (now - began).total_seconds())
        yield scratch, replace(manifest, drill=done)


def digest(path: Path) -> str:
    """sha256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def readable(encrypted: str | None, key: str) -> bool:
    """Whether what is stored of a block with secrets can be read with this key."""
    try:
        return encrypted is None or bool(Fernet(key.encode()).decrypt(encrypted.encode()))
    except (InvalidToken, ValueError):
        return False


def _dump_key(backup: str) -> str:
    return f"{PREFIX}{backup}/dump"


def _manifest_key(backup: str) -> str:
    return f"{PREFIX}{backup}/manifest.json"
