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

from blocks.agent.spec import InvalidSpec, Release, from_json
from blocks.errors import Blocked, Conflict
from blocks.lease import Leases
from blocks.object_store import Versioned
from blocks.release import PROJECT

IDENTITY, WANTED = "ledger/identity", "ledger/wanted"
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


@dataclass(frozen=True)
class Wanted:
    """What is wanted of a stack: its spec as plain data, and release by `server`, `tools` or worker's name."""

    spec: Mapping[str, Any]
    releases: Mapping[str, Release]
    secrets: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """The promoted version of each secret; of one that is not named, the first."""
    generation: int = dataclasses.field(default=0, compare=False)
    """Of the ledger's object; 0 where it was not read from there."""
    selfhost: str = dataclasses.field(default="", compare=False)
    """Version of this project that wrote it."""


class Ledger(Leases):
    """The record of one stack."""

    def identity(self) -> Identity | None:
        """Who the stack is; None where nobody has said yet.

        Raises:
            Blocked: it is damaged.
        """
        found = self._objects.read(IDENTITY)
        if found is None:
            return None
        try:
            return Identity(**json.loads(found.content))
        except (ValueError, TypeError) as error:
            hint = "put it back from a copy of the store: backups and database belong to the identity in it"
            raise Blocked(f"{IDENTITY} in {self._objects.address()} is damaged: {error}", hint) from error

    def ensure_identity(self, stack: str, *, id_: str = "", created: str = "", key: str = "") -> Identity:
        """The stack's identity; where it has none yet, it gets the given one, or a new one.

        Raises:
            Blocked: it is another stack's.
        """
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        found = self.identity()
        if found is None:
            made = Identity(stack, id_ or str(uuid.uuid4()), created or now, key)
            try:
                self._objects.write(IDENTITY, _json(dataclasses.asdict(made)), if_generation=0)
                return made
            except Conflict:  # another was quicker, so it is there
                found = self.identity()
        if found is None or found.stack != stack:
            whose = found.stack if found else "another"
            raise Blocked(
                f"{self._objects.address()} holds the stack {whose!r}, not {stack!r}", "choose another store, or name"
            )
        return found

    def has_wanted(self) -> bool:
        """Whether a bootstrap has come so far; True also where what it said is damaged."""
        return self._objects.read(WANTED) is not None

    def wanted(self) -> Wanted:
        """What is wanted.

        Raises:
            Blocked: nothing is, or it is damaged, or a newer selfhost's whose form this one cannot read.
        """
        found = self._objects.read(WANTED)
        if found is None:
            raise Blocked(f"no stack has been bootstrapped in {self._where}", "selfhost bootstrap makes one")
        return _read_wanted(found, f"{WANTED} in {self._where}")

    def find_wanted(self) -> Wanted | None:
        """The same for a bootstrap, which is given the spec: None where nothing is wanted, or where it is damaged."""
        return self._parsed(self._objects.read(WANTED))

    def write_wanted(
        self,
        spec: Mapping[str, Any],
        releases: Mapping[str, Release],
        secrets: Mapping[str, int] | None = None,
        *,
        back: bool = False,
    ) -> None:
        """Make this what is wanted; nothing is written where it is.

        Args:
            secrets: Promoted versions of secrets; left out, they stay as they are.
            back: Whether this takes a newer selfhost back, as an upgrade that is rolled back does.

        Raises:
            Conflict: the lease is another's, or somebody has written it meanwhile.
            Blocked: a newer selfhost has written what is there.
        """
        own, found = importlib.metadata.version(PROJECT), self._objects.read(WANTED)
        kept = self._parsed(found)
        if kept and not back:
            refuse_older(kept, own)
        versions = dict(secrets if secrets is not None else kept.secrets if kept else {})
        if kept and (kept.spec, kept.releases, kept.secrets, kept.selfhost) == (
            dict(spec),
            dict(releases),
            versions,
            own,
        ):
            return
        # Between reading and writing, as whoever takes the lease over after this look changes the generation.
        number = self.require_lease()
        plain = {name: dataclasses.asdict(each) for name, each in releases.items()}
        content = _json({"spec": dict(spec), "releases": plain, "secrets": versions, "selfhost": own, "lease": number})
        self._objects.write(WANTED, content, if_generation=found.generation if found else 0)

    @property
    def _where(self) -> str:
        return self._objects.address() if self._home is None else str(self._home.root)

    def _parsed(self, found: Versioned | None) -> Wanted | None:
        try:
            return None if found is None else _read_wanted(found, WANTED)
        except Blocked:
            return None


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
        return Wanted(dict(data["spec"]), marked, versions, found.generation, str(data.get("selfhost", "")))
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
