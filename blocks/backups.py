"""Backups: a dump and its manifest in the object store, which of them count, and which may go.

A backup counts once a drill has restored it and found there what the dump was made of, and while it is signed.
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

from pydantic import TypeAdapter, ValidationError

from blocks import signature
from blocks.agent.spec import Condition
from blocks.database import SCRATCH_JOBS, Content, Database
from blocks.encryption import every_key
from blocks.errors import Blocked
from blocks.object_store import ObjectStore
from blocks.postgres.encryption import is_readable
from blocks.signature import key_mark
from blocks.spec import Backup as Policy
from blocks.stack import Stack

PREFIX = "backups/"
DUMP, MANIFEST = "/dump", "/manifest.json"
"""How the keys of a backup's two objects end, after its id."""
FORMAT = 2
"""Of the manifest; one with a higher number was written by a newer selfhost. Format 1 has no signature."""

LATEST = "latest"
"""In the place of an id: the newest verified backup."""
BEFORE_RESTORE = "before restore of "
"""How the reason of a backup begins that a restore made of what it was about to replace."""
AHEAD = timedelta(minutes=10)
"""A clock that is corrected now and then is less wrong than that; a date further ahead tells nothing of an age."""


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
    without: tuple[str, ...] = ()
    """Schemas of a given database which are not in the dump: other people's, which our login may not read."""

    @property
    def verified(self) -> bool:
        return self.drill is not None

    @property
    def moment(self) -> datetime:
        return datetime.fromisoformat(self.made)

    def is_ahead(self, now: datetime) -> bool:
        """Whether it is dated in the future: a clock was wrong, then or now."""
        return self.moment > now + AHEAD


_MANIFEST = TypeAdapter(Manifest)


@dataclass(frozen=True)
class Owner:
    """Whose a backup is: the stack's name and its home's identity."""

    stack: str
    home: str


@dataclass(frozen=True)
class Found:
    """Every backup of a store, the oldest first. Only a stack's own ones count and are the latest."""

    own: Sequence[Manifest]
    """Those which this stack has signed."""
    foreign: Sequence[Manifest] = field(default_factory=list)
    """Those of another stack, or of another home's stack of the same name."""
    unreadable: Mapping[str, str] = field(default_factory=dict)
    """Folder's name → why its manifest cannot be read."""
    unsigned: Sequence[Manifest] = field(default_factory=list)
    """Those that say they are this stack's, without its signature: an older selfhost's, or forged."""

    @property
    def readable(self) -> list[Manifest]:
        return sorted([*self.own, *self.foreign, *self.unsigned], key=lambda each: each.moment)

    def only(self, some: Sequence[Manifest]) -> Found:
        """Some of its own and of the unsigned ones."""
        own, unsigned = ([each for each in all_ if each in some] for all_ in (self.own, self.unsigned))
        return Found(own, unsigned=unsigned)

    def ahead(self, now: datetime) -> list[Manifest]:
        """Own ones that are dated in the future."""
        return [each for each in self.own if each.is_ahead(now)]

    def latest(self, now: datetime) -> Manifest:
        """The newest verified one of this stack that is not dated in the future.

        A backup which a restore made before it is never the latest: it holds the state that restore was to undo.

        Raises:
            Blocked: there is none; or one cannot be read, which might be newer.
        """
        if self.unreadable:
            what = f"which backup is the latest cannot be told: {'; '.join(self.unreadable.values())}"
            raise Blocked(what, "name the one you want by its id: selfhost backup --list")
        dated = [each for each in self.own if each.verified and not each.is_ahead(now)]
        wanted = [each for each in dated if not each.reason.startswith(BEFORE_RESTORE)]
        if not wanted:
            ahead = "".join(f"; {each.id} is dated in the future" for each in self.ahead(now))
            what = f"there is no verified backup of this stack{ahead}"
            raise Blocked(what, "selfhost backup --list shows what there is")
        return max(wanted, key=lambda each: each.moment)


def new_id(now: datetime) -> str:
    """`20261124T132200Z-1a2b3c`: sorts by time, and two of one second differ."""
    return f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


def expired(found: Found, policy: Policy, now: datetime) -> list[Manifest]:
    """Backups of this stack that may go, the oldest first.

    The newest `keep` stay, and all of the last `window_days`; verified ones go only down to `minimum_redundancy`, so
    the last verified one never does. What is dated in the future stays, and takes nobody's place among those.
    """
    by_age = sorted((each for each in found.own if not each.is_ahead(now)), key=lambda each: each.moment)
    kept = {each.id for each in by_age[-policy.keep :]}
    kept |= {each.id for each in by_age if now - each.moment <= timedelta(days=policy.window_days)}
    verified = [each for each in by_age if each.verified]
    kept |= {each.id for each in verified[-policy.minimum_redundancy :]}
    # An unsigned one counts for nothing, but is the last resort of a stack whose own backups are few.
    few = len(verified) < policy.minimum_redundancy
    kept |= {each.id for each in found.unsigned if few or now - each.moment <= timedelta(days=policy.window_days)}
    both = sorted([*by_age, *found.unsigned], key=lambda each: each.moment)
    return [each for each in both if each.id not in kept]


def recent(found: Found, policy: Policy, stack_made: datetime | None, now: datetime) -> Condition:
    """Whether this stack's last verified backup is young enough; a stack gets as long for its first one.

    A manifest that cannot be read is not well however young the others are: a person has to look at that store.
    """
    verified = [each for each in found.own if each.verified and not each.is_ahead(now)]
    last = max((each.moment for each in verified), default=stack_made)
    old = (now - last).total_seconds() / 3600 if last else float("inf")
    young = old <= policy.max_age_hours
    age = f"{old:.1f} hours old, {policy.max_age_hours} are allowed"
    text = f"the last verified backup is {age}" if verified else f"there is no verified backup; the stack is {age}"
    said = [text, *(f"{each.id} does not count: it is dated in the future" for each in found.ahead(now))]
    if found.unsigned:
        said.append(f"{len(found.unsigned)} do not count: they are not signed by this stack ({found.unsigned[-1].id})")
    if found.unreadable:
        return Condition("BackupRecent", False, "Unreadable", "; ".join([*said, *found.unreadable.values()]))
    return Condition("BackupRecent", young, "Young" if young else "TooOld", "; ".join(said))


class Catalogue:
    """The backups in a stack's object store."""

    def __init__(self, store: ObjectStore, scratch: Path, owner: Owner, keys: Sequence[str]) -> None:
        """Backups of the stack with these encryption keys. The last key counts where a manifest names none of them."""
        self._store, self._scratch, self._owner = store, scratch, owner
        self._keys, self._last = {key_mark(each): each for each in keys}, keys[-1]

    @classmethod
    def of(cls, stack: Stack, scratch: Path) -> Catalogue:
        """A stack's own.

        Args:
            scratch: A folder for files on their way.
        """
        owner = Owner(stack.spec.name, stack.ledger.id)
        return cls(stack.objects, scratch, owner, every_key(stack.secrets))

    def add(self, manifest: Manifest, dump: Path) -> None:
        """The dump first: a backup without a manifest is none, and is swept."""
        self._store.put(_dump_key(manifest.id), dump)
        self.update(manifest)

    def update(self, manifest: Manifest) -> None:
        """Write the manifest of a backup that was made or drilled just now, signed."""
        path = self._scratch / f"{manifest.id}.json"
        path.write_text(json.dumps(signature.signed(asdict(manifest), self.key_of(manifest)), indent=1))
        self._store.put(_manifest_key(manifest.id), path)
        path.unlink()

    def key_of(self, manifest: Manifest) -> str:
        """The encryption key which a backup's blocks, and its signature, are made with."""
        return self._keys.get(manifest.key, self._last)

    def all(self) -> Found:
        """Every backup; one that cannot be read keeps nobody from the others."""
        readable: list[tuple[Manifest, bool]] = []
        unreadable: dict[str, str] = {}
        for key in self._manifest_keys():
            try:
                readable.append(self._read(key))
            except Blocked as error:
                unreadable[_backup(key)] = str(error)
        # One that was dropped since it was listed could not be read either.
        there = {_backup(key) for key in self._manifest_keys()} if unreadable else set()
        readable.sort(key=lambda each: each[0].moment)
        return Found(
            own=[each for each, is_signed in readable if self._is_own(each) and is_signed],
            foreign=[each for each, _ in readable if not self._is_own(each)],
            unreadable={name: why for name, why in unreadable.items() if name in there},
            unsigned=[each for each, is_signed in readable if self._is_own(each) and not is_signed],
        )

    def find(self, backup: str, *, unsigned: bool = False) -> Manifest:
        """One backup, whatever the state of the others; `latest` is the newest verified one of this stack.

        Raises:
            Blocked: there is no such backup, or its manifest is damaged, newer than this selfhost, or unsigned where
                `unsigned` does not allow for that; see also `Found.latest`.
        """
        if backup == LATEST:
            return self.all().latest(datetime.now(UTC))
        key = _manifest_key(backup)
        if key not in self._store.listing(PREFIX):
            raise Blocked(f"there is no backup {backup!r}", "selfhost backup --list shows those there are")
        found, is_signed = self._read(key)
        if self._is_own(found) and not is_signed and not unsigned:
            what = f"backup {backup} is not signed by this stack: an older selfhost made it, or it is forged"
            raise Blocked(what, f"where you know whose it is: selfhost restore {backup} --unsigned")
        return found

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
        """The manifest first: without it a dump is no backup any more."""
        self._store.remove(_manifest_key(manifest.id))
        self._store.remove(_dump_key(manifest.id))

    def sweep(self) -> None:
        """Remove interrupted backups' dumps, beside which no manifest lies. No manifest is read: one may be damaged."""
        found = self._store.listing(PREFIX)
        for key in found:
            if key.endswith(DUMP) and key.removesuffix(DUMP) + MANIFEST not in found:
                self._store.remove(key)

    def _manifest_keys(self) -> list[str]:
        return [key for key in self._store.listing(PREFIX) if key.endswith(MANIFEST)]

    def _is_own(self, manifest: Manifest) -> bool:
        return Owner(manifest.stack, manifest.home) == self._owner

    def _read(self, key: str) -> tuple[Manifest, bool]:
        """A manifest where one of its id lies, as elsewhere its dump would not be found; and whether it is signed."""
        target = self._scratch / "manifest.json"
        self._store.get(key, target)
        content = target.read_bytes()
        target.unlink()
        found = read_manifest(content, key)
        if found.id != _backup(key):
            what = f"{key} is the manifest of the backup {found.id!r}, which its folder is not called"
            raise Blocked(what, f"call the folder {found.id}, or keep it outside of {PREFIX}")
        return found, signature.is_signed(json.loads(content), self.key_of(found))


def read_manifest(text: str | bytes, where: str) -> Manifest:
    """A manifest out of its JSON.

    Raises:
        Blocked: it is damaged, or newer than this selfhost.
    """
    try:
        raw = json.loads(text)
        if raw["format"] > FORMAT:
            raise Blocked(f"{where} was written by a newer selfhost (format {raw['format']})", "upgrade selfhost first")
        found = _MANIFEST.validate_python(raw)
        if found.moment.utcoffset() is None:
            raise ValueError(f"made, {found.made!r}, has no time zone")
        if not found.rows or found.rows.keys() != found.digests.keys():
            raise ValueError("it does not have rows and a digest for every table")
        return found
    except (ValueError, TypeError, KeyError) as error:
        what = f"the manifest {where} is damaged: {_first_line(error)}"
        raise Blocked(what, "remove that backup's folder, or put its manifest back from a copy") from error


def _first_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return str(error)


def compare(manifest: Manifest, found: Content) -> list[str]:
    """What the content of a restored copy lacks, in words; empty where it is whole."""
    wrong = []
    if found.schema_revision != manifest.schema_revision:
        wrong.append(f"schema {found.schema_revision} instead of {manifest.schema_revision}")
    wrong += [f"{table}: it was not in the dump" for table in sorted(found.rows.keys() - manifest.rows.keys())]
    for table, count in manifest.rows.items():
        if found.rows.get(table) != count:
            wrong.append(f"{table}: {found.rows.get(table, 'no')} rows instead of {count}")
        elif found.digests.get(table) != manifest.digests[table]:
            wrong.append(f"{table}: other rows than were dumped")
    return wrong


def lacking(manifest: Manifest, copy: Database, encryption_key: str, *, every_block: bool = False) -> list[str]:
    """What a restored copy lacks, in words, its blocks included; empty where it is whole.

    Args:
        every_block: Whether one block that cannot be read is a fault, as in a drill, after which a person looks at it.
            A restore goes on all the same: its blocks may have been saved with several keys before it was made.
    """
    wrong = compare(manifest, copy.content(manifest.rows))
    blocks = copy.encrypted_blocks()
    locked = [each for each in blocks if not is_readable(each, [encryption_key])]
    if locked and (every_block or len(locked) == len(blocks)):
        wrong.append(f"{len(locked)} of {len(blocks)} blocks cannot be read with the stack's encryption key")
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
    # One name for all drills of a stack, so that the next one drops an interrupted drill's scratch database.
    with database.scratch(f"drill-{manifest.stack}-{manifest.home[:8]}") as scratch:
        scratch.restore(dump, jobs=SCRATCH_JOBS)
        wrong = lacking(manifest, scratch, encryption_key, every_block=True)
        if wrong:
            raise Blocked(f"backup {manifest.id} does not restore: {'; '.join(wrong)}", "it stays, and does not count")
        now = datetime.now(UTC)
        done = Drill(now.isoformat(timespec="seconds"), (now - began).total_seconds())
        yield scratch, replace(manifest, drill=done)


def digest(path: Path) -> str:
    """sha256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _dump_key(backup: str) -> str:
    return f"{PREFIX}{backup}{DUMP}"


def _manifest_key(backup: str) -> str:
    return f"{PREFIX}{backup}{MANIFEST}"


def _backup(manifest_key: str) -> str:
    """Name of the folder a manifest lies in."""
    return manifest_key.removeprefix(PREFIX).removesuffix(MANIFEST)
