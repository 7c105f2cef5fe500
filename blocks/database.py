"""Port: the PostgreSQL database of a stack."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

from prefect.blocks.core import Block

from blocks.host.agent.spec import Service
from blocks.resource import Resource


class Database(Block, ABC):
    """One database, reached by the stack's server as its owner."""

    @abstractmethod
    def resources(self) -> list[Resource]:
        """The server, role and database, in terms of what they need."""

    @abstractmethod
    def secrets(self) -> dict[str, Callable[[], str]]:
        """Secrets it needs: name → what makes the first version."""

    @abstractmethod
    def services(self, release: Path) -> list[Service]:
        """What runs on the stack's host for it, from the release's folder; none where the cloud runs it."""

    @abstractmethod
    def connection_url(self) -> str:
        """SQLAlchemy URL for the server, the password as `${secret:NAME}`."""

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
    def dump(self, target: Path) -> None:
        """Write a dump to a file, 0600, from one snapshot. Waits."""

    @abstractmethod
    def restore(self, source: Path, keep_open: tuple[int, ...] = ()) -> None:
        """Restore a dump into the empty database, all at once or not at all. Waits.

        Args:
            keep_open: Descriptors the restoring process holds too, so that a lease outlives its taker.
        """
