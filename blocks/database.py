"""Port: the PostgreSQL database of a stack."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from blocks.agent.spec import Service
from blocks.host.secret_files import DATABASE_LOGIN
from blocks.resource import Port

SCRATCH_JOBS = 2
"""Jobs which restore into a database that nobody uses before it was compared, and that is dropped where it differs."""

SAMPLED_BLOCKS = 10
"""So many of the oldest blocks, and as many of those that changed last, are read by a drill: a server that was given a
wrong key goes on saving with it, so that some blocks can be read with one key and some with the other."""


@dataclass(frozen=True)
class Content:
    """What a database holds: its schema, the exact rows of each table, and a checksum over a sample of them."""

    schema_revision: str | None
    rows: Mapping[str, int]
    digests: Mapping[str, str]
    without: tuple[str, ...] = field(default=(), compare=False)
    """Schemas which a dump leaves out: other people's, which our login may not read."""


@dataclass(frozen=True)
class Vitals:
    """What a change of the schema should know of a database beforehand. Sizes are bytes."""

    size: int
    tables: Mapping[str, int]
    """The largest tables with their indexes, largest first."""
    invalid_indexes: tuple[str, ...]
    """Indexes whose build was interrupted; no query uses them."""
    long_transactions: tuple[str, ...]
    """Transactions that have been open for a minute or more, in words: a migration would wait for them."""


Mode = Literal["require", "verify-ca", "verify-full"]
"""TLS as libpq says it: encrypted; by a certificate of the given authority; and for the host of the URL."""


@dataclass(frozen=True)
class Tls:
    """How a database must be reached, by the server as by us.

    Attributes:
        mode: What is asked for.
        authority: Certificates of those who may have issued the database's, PEM; empty: those this machine believes.
    """

    mode: Mode
    authority: str = field(default="", repr=False)


class Database(Port, ABC):
    """One database, reached by the stack's server as its owner."""

    @abstractmethod
    def secrets(self) -> dict[str, Callable[[], str]]:
        """Secrets it needs: name → what makes the first version."""

    @abstractmethod
    def with_versions(self, versions: Mapping[str, int]) -> Database:
        """The same database, which is logged in to with these versions of its secrets."""

    @abstractmethod
    def services(self, release: Path) -> list[Service]:
        """What runs on the stack's host for it, from the release's folder; none where the cloud runs it."""

    @abstractmethod
    def connection_url(self, login: str = DATABASE_LOGIN) -> str:
        """SQLAlchemy URL for the server.

        Args:
            login: The secret with `user:password`, as `NAME@7`; the URL has it as `${secret:NAME@7}`.
        """

    @property
    def tls(self) -> Tls | None:
        """TLS as the connection must have it; None where it stays on this machine, or TLS was not asked for."""
        return None

    @abstractmethod
    def faults(self) -> list[str]:
        """Why a stack cannot be kept in it, each a sentence, before anything is touched; empty where it can."""

    @abstractmethod
    def require_rotatable(self) -> None:
        """See that another login can take the current one's place; changes nothing.

        Raises:
            Blocked: the database's roles are not ours to change; the hint says who does it, and how.
        """

    @abstractmethod
    def new_login(self) -> str:
        """`user:password` that can take the current one's place; not let in yet."""

    @abstractmethod
    def admit(self, login: str) -> None:
        """Let this `user:password` in beside others, as the owner; idempotent."""

    @abstractmethod
    def refuse_others(self, login: str) -> str:
        """Let no other login of ours in than this `user:password`, and end their connections; idempotent.

        Returns:
            Who is still let in, and what to do about it, in sentences; empty where nobody is.

        Raises:
            NotReady: another one is still connected.
        """

    @abstractmethod
    def schema_revision(self) -> str | None:
        """Alembic revision of the schema; None while the database is empty.

        Raises:
            NotReady: it does not answer.
        """

    @abstractmethod
    def row_counts(self) -> dict[str, int]:
        """Exact number of rows by table."""

    @abstractmethod
    def vitals(self) -> Vitals:
        """What a change of the schema should know beforehand."""

    @abstractmethod
    def content(self, expected: Mapping[str, int] | None = None) -> Content:
        """What it holds now.

        Args:
            expected: Rows by table as far as they are known beforehand, which spares counting them first.
        """

    @abstractmethod
    def encrypted_blocks(self) -> list[str]:
        """What is stored of blocks, encrypted: of the oldest `SAMPLED_BLOCKS`, and of as many that changed last."""

    @abstractmethod
    def unreadable_blocks(self, keys: Sequence[str]) -> list[str]:
        """Names of the blocks which can be read with none of these keys; every block is looked at.

        Raises:
            NotReady: it does not answer.
        """

    @abstractmethod
    def encrypt_blocks(self, keys: Sequence[str], key: str) -> list[str]:
        """Have every block encrypted with `key` instead of one of `keys`, all or none; idempotent. Nobody else may
        write blocks meanwhile. Names of those which can be read with none of all these; they stay as they are.

        Raises:
            NotReady: it does not answer, or others do write blocks; nothing has changed.
        """

    @abstractmethod
    def dump(self, target: Path) -> Content:
        """Write a dump to a file, 0600; returns what the dump holds, seen at the same moment. Waits."""

    @abstractmethod
    def scratch(self, name: str) -> AbstractContextManager[Database]:
        """An empty database beside this one, dropped at the end; those of interrupted callers are dropped first.

        Each has a name of its own that begins with `name`: an interrupted caller's rehearsal may still run, and must
        not find its way into the next one.

        Raises:
            Blocked: the role may not create databases.
        """

    @abstractmethod
    def restore(self, source: Path, inherited: tuple[int, ...] = (), jobs: int = 1) -> None:
        """Restore a dump into the empty database, with one job all at once or not at all. Waits.

        Args:
            inherited: Descriptors of this process which the restoring one gets too, so that a lease outlives its taker.
            jobs: Parts that are restored side by side; after a failure some of them are there.
        """

    @abstractmethod
    def size(self) -> int:
        """Bytes it takes of the stack's host's disk; 0 where another machine keeps it, whose disk nobody here knows."""

    @abstractmethod
    def require_replaceable(self) -> None:
        """See that another database can take this one's place; changes nothing.

        Raises:
            Blocked: the role may not make or rename databases.
        """

    @abstractmethod
    def beside(self) -> AbstractContextManager[Database]:
        """An empty copy with this one's owner and mark, to be filled and swapped; an interrupted caller's is dropped.

        It is dropped at the end unless it was swapped.
        """

    @abstractmethod
    def swap(self, label: str) -> str:
        """Put the copy beside in this one's place, at once or not at all, and keep this one under another name.

        Args:
            label: End of the name it is kept under.

        Returns:
            That name.
        """

    @abstractmethod
    def kept(self) -> dict[str, int]:
        """Databases which a swap has kept: name → bytes."""

    @abstractmethod
    def drop_kept(self, name: str) -> None:
        """Drop one of them.

        Raises:
            Blocked: it is none of them.
        """
