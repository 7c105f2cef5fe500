"""How a login reaches its database: said here once, for asyncpg and for PostgreSQL's own programs alike."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

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
            "ssl": False,
            "timeout": CONNECT_SECONDS,
        }

    @contextmanager
    def for_programs(self) -> Iterator[dict[str, str]]:
        """The environment in which pg_dump and pg_restore reach it, as long as the context lasts."""
        yield {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "LANG": "C.UTF-8",
            "PGHOST": self.host,
            "PGPORT": str(self.port),
            "PGUSER": self.user,
            "PGPASSWORD": self.password,
            "PGDATABASE": self.database,
            "PGCONNECT_TIMEOUT": str(CONNECT_SECONDS),
        }
