"""What every PostgreSQL of a stack has in common, wherever it is kept."""

from __future__ import annotations

import uuid
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from blocks.database import Content, Database, Vitals
from blocks.errors import Blocked
from blocks.host.home import Home
from blocks.host.secret_files import DATABASE_LOGIN
from blocks.postgres import content, dump, encryption, sql, swap
from blocks.postgres.connection import Login
from blocks.postgres.swap import Swappable
from blocks.secret_store import SecretStore

MARK = "prefect-selfhost stack "
"""Start of the database's comment: the ownership mark, followed by the stack's name and its home's identity."""
FIND_MARK = "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = $1"
_SCRATCHES = "SELECT datname FROM pg_database WHERE starts_with(datname, $1)"

SomeDatabase = TypeVar("SomeDatabase", bound="PostgresDatabase")


@dataclass(frozen=True, kw_only=True)
class PostgresDatabase(Database):
    """A database in a PostgreSQL.

    Attributes:
        stack: Name of the stack.
        home: The stack's home folder.
        store: Where its secrets lie.
        versions: The promoted version of each secret by its name; of one that is not named, the first.
        programs: Folder with PostgreSQL's programs.
        database: Another database of the same server, such as a scratch one; empty for the stack's own.
        identity: The stack's, where its home is on another machine; empty where the home says it.
    """

    stack: str
    home: Path
    store: SecretStore
    versions: Mapping[str, int]
    programs: Path
    database: str = ""
    identity: str = ""

    @abstractmethod
    def login_of(self, value: str) -> Login:
        """How `user:password` reaches this database."""

    @abstractmethod
    def maker(self) -> Login:
        """A login that may make and drop databases on the same server."""

    def secret(self, name: str) -> str:
        """The promoted value of a secret."""
        return self.store.read(name, self.versions.get(name, 1))

    def with_versions(self: SomeDatabase, versions: Mapping[str, int]) -> SomeDatabase:
        return replace(self, versions=versions)

    def login(self) -> Login:
        """The login which acts as the database's owner."""
        return self.login_of(self.secret(DATABASE_LOGIN))

    def mark(self) -> str:
        """The comment of a database of this stack: another home with a stack of the same name is another stack."""
        return f"{MARK}{self.stack} {self.whose() or 'without a home'}"

    def whose(self) -> str:
        """The identity of the stack it belongs to; empty where there is no home yet."""
        return self.identity or Home(self.home).identity() or ""

    def refuse_other_mark(self, mark: object) -> None:
        """Refuse, by raising Blocked, a database which another stack has marked, or somebody else has described."""
        if mark not in (None, "", self.mark()):
            raise Blocked(f"the database is not ours: its comment is {mark!r}", "choose another database or --home")

    def schema_revision(self) -> str | None:
        with sql.session(self.login()) as session:
            return content.schema_revision(session)

    def row_counts(self) -> dict[str, int]:
        with sql.session(self.login()) as session:
            return content.row_counts(session)

    def vitals(self) -> Vitals:
        with sql.session(self.login(), as_itself=True) as session:
            return content.vitals(session)

    def content(self, expected: Mapping[str, int] | None = None) -> Content:
        with sql.session(self.login()) as session:
            return content.content(session, expected)

    def encrypted_blocks(self) -> list[str]:
        with sql.session(self.login()) as session:
            return content.encrypted_blocks(session)

    def unreadable_blocks(self, keys: Sequence[str]) -> list[str]:
        with sql.session(self.login()) as session:
            return encryption.unreadable_blocks(session, keys)

    def encrypt_blocks(self, keys: Sequence[str], key: str) -> list[str]:
        with sql.session(self.login()) as session:
            return encryption.encrypt_blocks(session, keys, key)

    def dump(self, target: Path) -> Content:
        with sql.snapshot(self.login()) as (session, seen), ThreadPoolExecutor(1) as beside:
            closed = content.closed_schemas(session)
            found = beside.submit(content.content, session)
            dump.dump(self.programs, self.login(), target, seen, closed)
            return replace(found.result(), without=closed)

    def restore(self, source: Path, inherited: tuple[int, ...] = (), jobs: int = 1) -> None:
        dump.restore(self.programs, self.login(), source, inherited, jobs)

    @contextmanager
    def scratch(self: SomeDatabase, name: str) -> Iterator[SomeDatabase]:
        maker, made = self.maker(), f"{name}-{uuid.uuid4().hex[:8]}"
        for (left,) in sql.query(maker, _SCRATCHES, f"{name}-"):
            swap.drop(maker, left)
        self.make(maker, made)
        try:
            yield replace(self, database=made)
        finally:
            swap.drop(maker, made)

    @abstractmethod
    def make(self, maker: Login, name: str) -> None:
        """Make an empty database of this one's owner."""

    @contextmanager
    def beside(self: SomeDatabase) -> Iterator[SomeDatabase]:
        both = self._swappable()
        both.make_beside()
        try:
            yield replace(self, database=both.beside)
        finally:
            both.drop_beside()

    def swap(self, label: str) -> str:
        self._swappable().swap(label)
        return self._swappable().kept(label)

    def kept(self) -> dict[str, int]:
        return self._swappable().all_kept()

    def drop_kept(self, name: str) -> None:
        self._swappable().drop_kept(name)

    def _swappable(self) -> Swappable:
        # Not from within the database itself: it could not be renamed.
        return Swappable(replace(self.maker(), database="postgres"), self.login().database, self.mark())
