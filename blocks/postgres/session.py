"""One connection to the configured database for programs that are not servers, used from synchronous code.

It is made by Prefect's own engine, so that TLS and all other database settings hold here as they do in the server.
Every statement is a transaction of its own: an open snapshot would hold up index builds, our own among them.
"""

from __future__ import annotations

import asyncio
import copy
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine, event, text
from sqlalchemy.ext.asyncio import AsyncConnection

LONGEST_STATEMENT = 86_400.0
"""Seconds; the server's own limit is meant for API queries and would end an index build within 10 s."""
CLIENT_CHECK = "1s"
"""How soon PostgreSQL notices that our process is gone, and ends the index build it was doing for us."""
_SETTINGS = """
SELECT set_config('application_name', $1, false),
       (SELECT set_config(name, $2, false) FROM pg_settings WHERE name = 'client_connection_check_interval')
"""


class SqlSession:
    """A connection in autocommit mode, and the event loop it lives on."""

    def __init__(self, runner: asyncio.Runner, connection: AsyncConnection) -> None:
        self._runner, self._connection = runner, connection

    def query(self, sql: str, **values: object) -> list[Any]:
        """Run one statement and return its rows; `:name` in it is a value."""
        return self._runner.run(self._query(sql, values))

    async def _query(self, sql: str, values: dict[str, object]) -> list[Any]:
        result = await self._connection.execute(text(sql), values)
        return list(result.all()) if result.returns_rows else []

    def run_in_thread(self, call: Callable[..., object], *arguments: object) -> None:
        """Run what itself wants the event loop, from a thread, as Prefect's command line runs alembic."""
        from prefect.utilities.asyncutils import run_sync_in_worker_thread

        self._runner.run(run_sync_in_worker_thread(call, *arguments))


@contextmanager
def opened(program: str, lock_timeout: Callable[[str], float]) -> Iterator[SqlSession]:
    """Connect, once; every connection which this process makes is set up the same way, alembic's too.

    The session acts as its login role itself, not as the owner: only so it sees an interrupted one's index build, and
    may end it, where the owner has no right to look at others. What it does to indexes it may do as the owner's member.

    Args:
        program: What the session is called in `pg_stat_activity`, in front of the process's number.
        lock_timeout: Seconds that a given statement may wait for a lock.
    """
    prepare = _preparation(f"{program}, process {os.getpid()}")
    limit = _lock_limit(lock_timeout)
    event.listen(Engine, "connect", prepare)
    event.listen(Engine, "before_cursor_execute", limit)
    try:
        with asyncio.Runner() as runner:
            connection = runner.run(_connect())
            try:
                session = SqlSession(runner, connection)
                session.query("SET ROLE NONE")
                yield session
            finally:
                runner.run(_disconnect(connection))
    finally:
        event.remove(Engine, "connect", prepare)
        event.remove(Engine, "before_cursor_execute", limit)


async def _connect() -> AsyncConnection:
    from prefect.server.database import provide_database_interface

    configuration = copy.copy(provide_database_interface().database_config)
    configuration.timeout = LONGEST_STATEMENT
    engine = await configuration.engine()
    connection = await engine.connect()
    return await connection.execution_options(isolation_level="AUTOCOMMIT")


async def _disconnect(connection: AsyncConnection) -> None:
    await connection.close()
    await connection.engine.dispose()


def _preparation(name: str) -> Callable[[Any, Any], None]:
    def prepare(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        # Not every PostgreSQL knows the setting, so it is set where it is found.
        cursor.execute(_SETTINGS, (name, CLIENT_CHECK))
        cursor.close()
        connection.commit()  # else it would be undone with the first transaction that fails

    return prepare


def _lock_limit(lock_timeout: Callable[[str], float]) -> Callable[..., None]:
    def limit(connection: Any, _cursor: Any, statement: str, *_others: Any) -> None:
        # Set before each statement, as a transaction that fails undoes it.
        cursor = connection.connection.cursor()
        cursor.execute(f"SET lock_timeout = {round(lock_timeout(statement) * 1000)}")
        cursor.close()

    return limit
