"""The stack's own record, in its object store: who it is, what is wanted of it, and who may change it.

Small JSON objects below `ledger/`, each written whole and with a precondition, so that of two who change one at the
same time the second is refused. The lease has a file of its own: `blocks.lease`.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from packaging.version import Version

from blocks.agent.files import write_atomically
from blocks.agent.inbox import WANTED
from blocks.agent.spec import InvalidSpec, Release, from_json
from blocks.errors import Blocked, Conflict
from blocks.host.home import Home
from blocks.lease import Leases
from blocks.object_store import Versioned
from blocks.release import PROJECT

IDENTITY = "ledger/identity"
FORMER_WANTED = "wanted.json"
"""File in the home of a stack made before there was a ledger. It counts until the ledger says what is wanted, and stays
for the release before until the stack is in line with this one."""
CLOSED = b"""{"releases": {}, "spec": {"prefect_version": "what a newer selfhost keeps: use bin/selfhost in this home"}}
"""
"""What lies there from then on. A checkout of the release before finds it, and refuses in these words, with the stack's
spec file or without, where it would else begin the stack anew with its defaults."""
DAMAGED = "bootstrap writes it anew when it is given the stack's spec file by --spec"


@dataclass(frozen=True)
class Identity:
    """Who a stack is: what its backups, its database and its system users belong to."""

    stack: str
    """Its name."""
    id: str
    created: str
    """When, UTC, as `2026-11-30T02:00:00Z`."""
    key: str = ""
    """Mark of its encryption key, which does not give it away; empty where that was not noted yet."""

    def made(self) -> datetime | None:
        """When it was created; None where that is not known."""
        try:
            return datetime.fromisoformat(self.created)
        except ValueError:
            return None


@dataclass(frozen=True)
class Wanted:
    """What is wanted of a stack: its spec as plain data, and release by `server`, `tools` or worker's name."""

    spec: Mapping[str, Any]
    releases: Mapping[str, Release]
    secrets: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """The promoted version of each secret; of one that is not named, the first."""
    found: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """What is known of what stands outside its host only once it is there, such as the database's address."""
    generation: int = dataclasses.field(default=0, compare=False)
    """Of the ledger's object; 0 where it was not read from there."""
    selfhost: str = dataclasses.field(default="", compare=False)
    """Version of this project that wrote it."""


class Ledger(Leases):
    """The record of one stack."""

    def identity(self) -> Identity | None:
        """Who the stack is; None where nobody has said yet. A stack made before there was a ledger says it in its home.

        Raises:
            Blocked: it is damaged.
        """
        found = self._objects.read(IDENTITY)
        if found is None:
            return None if self._home is None else _identity_of(self._home)
        try:
            return Identity(**json.loads(found.content))
        except (ValueError, TypeError) as error:
            hint = "put it back from a copy of the store: backups and database belong to the identity in it"
            raise Blocked(f"{IDENTITY} in {self._objects.address()} is damaged: {error}", hint) from error

    @property
    def id(self) -> str:
        """What the stack's backups are marked with; empty where it has no identity yet."""
        found = self.identity()
        return found.id if found else ""

    def ensure_identity(self, stack: str, key: str = "") -> Identity:
        """The stack's identity, which is written down where it was not yet.

        Args:
            key: Mark of its encryption key.

        Raises:
            Blocked: what is here is another stack.
        """
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        made, there = self.identity() or Identity(stack, str(uuid.uuid4()), now), self._objects.read(IDENTITY)
        if made.stack != stack:
            what = f"{self._where} holds the stack {made.stack!r}, not {stack!r}"
            raise Blocked(what, "choose another folder, or that name")
        made = made if made.key else dataclasses.replace(made, key=key)
        content = _json(dataclasses.asdict(made))
        if there is None or there.content != content:
            try:
                self._objects.write(IDENTITY, content, if_generation=there.generation if there else 0)
            except Conflict:  # another was quicker, so that it is there now
                return self.ensure_identity(stack, key)
        return made

    def note_key(self, key: str) -> None:
        """Say that the stack's encryption key is another one from now on; its mark, which does not give it away.

        Raises:
            Conflict: another holds the lease.
        """
        made, there, _ = self.identity(), self._objects.read(IDENTITY), self.require_lease()
        if made is not None and made.key != key:
            content = _json(dataclasses.asdict(dataclasses.replace(made, key=key)))
            self._objects.write(IDENTITY, content, if_generation=there.generation if there else 0)

    def has_wanted(self) -> bool:
        """Whether a bootstrap has come so far; True also where what it said is damaged."""
        return self._find_wanted() is not None

    def wanted(self) -> Wanted:
        """What is wanted.

        Raises:
            Blocked: nothing is, or it is damaged, or a newer selfhost's whose form this one cannot read.
        """
        found = self._find_wanted()
        if found is None:
            raise Blocked(f"no stack has been bootstrapped in {self._where}", "selfhost bootstrap makes one")
        return _read_wanted(found, f"{WANTED} in {self._where}")

    def find_wanted(self) -> Wanted | None:
        """The same for a bootstrap, which is given the spec: None where nothing is wanted, or where it is damaged."""
        return self._parsed(self._find_wanted())

    def write_wanted(
        self,
        spec: Mapping[str, Any],
        releases: Mapping[str, Release],
        secrets: Mapping[str, int] | None = None,
        *,
        found: Mapping[str, str] | None = None,
        back: bool = False,
    ) -> None:
        """Make this what is wanted; nothing is written where it is.

        Args:
            secrets: Promoted versions of secrets; left out, they stay as they are.
            found: What is known of what stands outside; left out, it stays as it is.
            back: Whether this takes a newer selfhost back, as an upgrade that is rolled back does.

        Raises:
            Conflict: the lease is another's, or somebody has written it meanwhile.
            Blocked: a newer selfhost has written what is there.
        """
        own, there = importlib.metadata.version(PROJECT), self._find_wanted()
        kept = self._parsed(there)
        if kept and not back:
            refuse_older(kept, own)
        versions = dict(secrets if secrets is not None else kept.secrets if kept else {})
        known = dict(found if found is not None else kept.found if kept else {})
        new = Wanted(dict(spec), dict(releases), versions, known)
        if kept and kept.generation and kept == new and kept.selfhost == own:
            return
        # Between reading and writing: another that takes the lease over after this look changes the generation.
        number = self.require_lease()
        plain = {name: dataclasses.asdict(each) for name, each in releases.items()}
        data = {"spec": dict(spec), "releases": plain, "secrets": versions, "selfhost": own, "lease": number}
        content = _json(data | ({"found": known} if known else {}))
        self._objects.write(WANTED, content, if_generation=there.generation if there else 0)

    def close_former(self) -> None:
        """Write `CLOSED` over the file of the release before in the home, once none of its processes runs."""
        if self._home is not None and self._objects.read(WANTED) is not None:
            path = self._home.root / FORMER_WANTED
            if path.exists() and path.read_bytes() != CLOSED:
                write_atomically(path, CLOSED)

    def _find_wanted(self) -> Versioned | None:
        """The object; in a stack from before there was a ledger the file in its home instead, with the generation 0."""
        found = self._objects.read(WANTED)
        if found is not None or self._home is None:
            return found
        path = self._home.root / FORMER_WANTED
        try:
            content = path.read_bytes()
            return None if content == CLOSED else Versioned(content, 0)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise Blocked(f"{path} cannot be read: {error.strerror}", "run as the user who made the stack") from error

    @property
    def _where(self) -> str:
        return self._objects.address() if self._home is None else str(self._home.root)

    def _parsed(self, found: Versioned | None) -> Wanted | None:
        try:
            return None if found is None else _read_wanted(found, WANTED)
        except Blocked:
            return None


def _identity_of(home: Home) -> Identity | None:
    """What the mark of a home says, which had the identity before there was a ledger."""
    id_, stack, created = home.identity(), home.owner(), home.created()
    return Identity(stack, id_, f"{created:%Y-%m-%dT%H:%M:%SZ}" if created else "") if id_ and stack else None


def refuse_older(kept: Wanted, own: str) -> None:
    """Refuse what an older selfhost would make of a stack: a laptop with an old checkout must not bring one back.

    Raises:
        Blocked: a newer one has written what is wanted.
    """
    if kept.selfhost and Version(kept.selfhost) > Version(own):
        what = f"this stack was last changed by selfhost {kept.selfhost}, and this one is {own}"
        raise Blocked(what, "use bin/selfhost in the stack's home, or bring this checkout up to date")


def _read_wanted(found: Versioned, where: str) -> Wanted:
    try:
        data = json.loads(found.content)
        releases = {name: from_json(Release, json.dumps(each)) for name, each in data["releases"].items()}
        marked = _marked(releases, data["spec"].get("workers", ()))
        versions = {str(name): int(version) for name, version in data.get("secrets", {}).items()}
        known = {str(name): str(each) for name, each in data.get("found", {}).items()}
        return Wanted(dict(data["spec"]), marked, versions, known, found.generation, str(data.get("selfhost", "")))
    except (ValueError, KeyError, TypeError, AttributeError, InvalidSpec) as error:
        raise Blocked(f"{where} is damaged: {error}", DAMAGED) from error


def _marked(releases: Mapping[str, Release], workers: Sequence[Mapping[str, Any]]) -> dict[str, Release]:
    """The releases, those of workers with packages marked as untrusted, which stacks made before do not say."""
    packaged = {each["name"] for each in workers if each.get("packages")}
    return {
        name: dataclasses.replace(each, untrusted=each.untrusted or name in packaged) for name, each in releases.items()
    }


def _json(data: Mapping[str, Any]) -> bytes:
    return json.dumps(data, indent=1, sort_keys=True).encode()
