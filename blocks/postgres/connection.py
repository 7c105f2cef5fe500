"""How a login reaches its database: said here once, for asyncpg and for PostgreSQL's own programs alike."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from blocks.database import Tls
from blocks.postgres import forwarder, tls

CONNECT_SECONDS = 5
"""Time a connection gets to be made."""


@dataclass(frozen=True)
class Login:
    """How to reach one database. The password never enters an argument list or a log."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    database: str
    tls: Tls | None = None

    @property
    def server(self) -> str:
        """The PostgreSQL it leads to, for people."""
        return f"{self.host}:{self.port}"

    def url(self, driver: str = "postgresql+asyncpg") -> str:
        """SQLAlchemy URL, password and all: for a 0600 file or a process's own environment only."""
        return (
            f"{driver}://{quote(self.user)}:{quote(self.password, '')}@{self.host}:{self.port}/{quote(self.database)}"
        )

    def for_asyncpg(self) -> dict[str, Any]:
        """Arguments of `asyncpg.connect`."""
        return {
            "host": self.host,
            "port": self.port,
            "user": self.user,
            "password": self.password,
            "database": self.database,
            "ssl": tls.context(self.tls) if self.tls else False,
            "timeout": CONNECT_SECONDS,
        }

    @contextmanager
    def for_programs(self) -> Iterator[dict[str, str]]:
        """The environment in which pg_dump and pg_restore reach it, as long as the context lasts.

        Raises:
            NotReady, Blocked: at the end, where TLS was asked for and not to be had.
        """
        if self.tls is None:
            yield self._environment(self.host, self.port)
            return
        with forwarder.forwarded(self.host, self.port, self.tls) as folder:
            yield self._environment(str(folder), forwarder.PORT)

    def _environment(self, host: str, port: int) -> dict[str, str]:
        return {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "LANG": "C.UTF-8",
            "PGHOST": host,
            "PGPORT": str(port),
            "PGUSER": self.user,
            "PGPASSWORD": self.password,
            "PGDATABASE": self.database,
            "PGCONNECT_TIMEOUT": str(CONNECT_SECONDS),
        }
