"""Cloud SQL of the lab: a PostgreSQL 18 behind each instance of the emulator, with TLS under the CA that the API shows.

What is Cloud SQL's about it is in `sql_roles` and `sql_settings`. Locales are the C library's own, C.UTF-8; extensions
are those of PostgreSQL itself that a database's owner may create.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import threading
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.lab import sql_roles
from tests.lab.engine import PREFIX
from tests.lab.sql_network import Namespace, namespaces
from tests.lab.sql_server import Server, copied
from tests.postgres import reachable_programs

if TYPE_CHECKING:
    from tests.lab.cloud import Lab


class SqlServers:
    """The real part behind `sql.instances`."""

    def __init__(self, lab: Lab) -> None:
        self._mine = lab.mine
        self._servers: dict[str, Server] = {}
        lab.exits.callback(self.close)
        self._making = threading.Lock()

    @cached_property
    def folder(self) -> Path:
        """All data and backups; PostgreSQL's user passes through."""
        folder = Path(tempfile.mkdtemp(prefix=self._mine("sql-")))
        folder.chmod(0o711)
        return folder

    @cached_property
    def programs(self) -> Path:
        return reachable_programs(self.folder)

    def server(self, name: str) -> Server:
        """That of an instance; made with its certificate."""
        return self._servers[name]

    # -- its life ----------------------------------------------------------------------------------------------------

    def certify(self, name: str, certificate: str, key: str) -> None:
        with self._making:
            if name not in self._servers:
                short = _short(name)
                made = Server(self.folder / short, self.programs, Namespace(self._mine(f"sql-{short}")))
                made.make()
                self._servers[name] = made
        self.server(name).certify(certificate, key)

    def start(self, name: str, body: dict[str, Any]) -> None:
        self.server(name).start(body)

    def addressed(self, name: str, body: dict[str, Any]) -> None:
        for each in body.get("ipAddresses", ()):
            if each["type"] == "PRIVATE":
                self.server(name).attach(each["ipAddress"])

    def change(self, name: str, body: dict[str, Any]) -> None:
        self.server(name).change(body)

    def stop(self, name: str, body: dict[str, Any]) -> None:
        self.server(name).stop()

    def remove(self, name: str) -> None:
        if (server := self._servers.pop(name, None)) is not None:
            server.remove()

    def close(self) -> None:
        """Without a trace."""
        for name in list(self._servers):
            self.remove(name)
        shutil.rmtree(self.folder)

    # -- what is in it -----------------------------------------------------------------------------------------------

    def create_database(self, name: str, database: str) -> None:
        self.server(name).ask(sql_roles.create_database(database))

    def drop_database(self, name: str, database: str) -> None:
        self.server(name).ask(sql_roles.drop_database(database))

    def sessions(self, name: str, database: str) -> int:
        (count,) = self.server(name).ask(sql_roles.sessions(database))
        return int(count)

    def owned(self, name: str, user: str) -> dict[str, int]:
        rows = (row.split("|", 1) for row in self.server(name).ask(sql_roles.owned(user)))
        return {database: int(count) for count, database in rows}

    def set_user(self, name: str, user: str, password: str) -> None:
        server = self.server(name)
        if server.ask(sql_roles.has_user(user)) == ["0"]:
            server.ask(sql_roles.create_user(user))
        server.ask(sql_roles.set_password(user, password))

    def drop_user(self, name: str, user: str) -> None:
        self.server(name).ask(sql_roles.drop_user(user))

    def dump(self, name: str, database: str) -> bytes:
        server = self.server(name)
        where = ("--host", server.folder / "socket", "--username", sql_roles.ADMIN)
        return server.run("pg_dump", *where, "--no-owner", "--no-acl", database)

    def load(self, name: str, database: str, user: str, content: bytes) -> None:
        self.server(name).psql(content.decode(), user, database, "--single-transaction")

    # -- copies ------------------------------------------------------------------------------------------------------

    def backup(self, name: str, backup: str) -> None:
        self.server(name).copy_to(self._backup(backup))

    def restore(self, name: str, backup: str) -> None:
        server = self.server(name)
        with server.stopped() as data:
            shutil.rmtree(data)
            copied(self._backup(backup), data)
            server.end_logs()

    def forget(self, backup: str) -> None:
        shutil.rmtree(self._backup(backup))

    def copy(self, source: str, name: str, at: datetime | None = None) -> None:
        server = self.server(name)
        if at is None:
            with server.stopped() as data:
                shutil.rmtree(data)
                self.server(source).copy_to(data)
        else:
            server.become(self.server(source), at)
        server.drop_base()
        server.keep_base()

    def held(self, name: str) -> tuple[list[str], list[str]]:
        server = self.server(name)
        return server.ask(sql_roles.DATABASES), server.ask(sql_roles.USERS)

    def _backup(self, name: str) -> Path:
        return self.folder / f"backup-{_short(name)}"


def sweep(lab: str) -> None:
    """Take away what a lab of this name has left."""
    prefix = f"{PREFIX}{lab}-sql-"
    for name in namespaces(prefix):
        Namespace(name).remove()
    for folder in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        shutil.rmtree(folder)


def _short(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:10]
