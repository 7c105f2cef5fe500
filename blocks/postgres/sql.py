"""SQL from synchronous code, by asyncpg: values are parameters, and no text of theirs is ever parsed.

Callers are flows, threads and the command line, some of them inside an event loop of their own. So connections live on
one loop in a thread of this module, and a call waits for it. What goes wrong is translated here: `NotReady` where the
database does not answer or is busy, `Blocked` where it refuses.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from blocks.errors import Blocked, NotReady, SelfhostError
from blocks.postgres import tls
from blocks.postgres.connection import Login

if TYPE_CHECKING:
    import asyncpg

T = TypeVar("T")
Row = tuple[Any, ...]

STATEMENT_SECONDS = 3600
"""A bound for one statement, not a demand: checksums of 1.6 GB take 6 s."""
LOCK_SECONDS = 30
"""Time a statement waits for a lock: what we change is in use only for moments."""
CLOSE_SECONDS = 5.0
_OVER = ("08", "57P")
"""SQLSTATEs begin so where the connection, or the server, is going away."""
_BUSY = ("55P03", "57014")
"""A lock was not had in time; a statement took too long."""
_FULL = "53100"
_UNLIMITED = """
SELECT set_config(name, '0', false) FROM pg_settings
WHERE name IN ('idle_in_transaction_session_timeout', 'transaction_timeout')
"""


class Session:
    """One connection. Each statement is a transaction of its own."""

    def __init__(self, connection: asyncpg.Connection, login: Login) -> None:
        self._connection, self._login = connection, login

    def query(self, sql: str, *values: object) -> list[Row]:
        """Run one statement; `$1` in it is the first value. Returns its rows."""
        with _translated(self._login):
            return [tuple(row) for row in _wait(self._connection.fetch(sql, *values))]

    def value(self, sql: str, *values: object) -> Any:
        """The first column of the first row; None where there is none."""
        return next((row[0] for row in self.query(sql, *values)), None)

    def command(self, template: str, *words: str) -> None:
        """Run what takes no parameters: in it `%I` is a name and `%L` a text, which the server quotes.

        Args:
            template: Such as `ALTER ROLE %I SET role = %L`.
        """
        self.execute(self.value("SELECT pg_catalog.format($1, VARIADIC $2::text[])", template, list(words)))

    def execute(self, sql: str) -> None:
        """Run statements without values, all of them or none."""
        with _translated(self._login):
            _wait(self._connection.execute(sql))


@contextmanager
def session(login: Login, *, as_itself: bool = False) -> Iterator[Session]:
    """A connection as long as the context lasts.

    Args:
        as_itself: Whether it acts as the login's own role, also where that is set to act as the owner: only so it sees
            what its other sessions do, and may end them.

    Raises:
        NotReady: none can be had.
        Blocked: TLS was asked for, and is not to be had.
    """
    connection = _wait(_connected(login, as_itself))
    try:
        yield Session(connection, login)
    finally:
        _wait(_closed(connection))


def query(login: Login, sql: str, *values: object) -> list[Row]:
    """Run one statement in a connection of its own; see `Session.query`."""
    with session(login) as opened:
        return opened.query(sql, *values)


def command(login: Login, template: str, *words: str) -> None:
    """Run what takes no parameters in a connection of its own; see `Session.command`."""
    with session(login) as opened:
        opened.command(template, *words)


@contextmanager
def snapshot(login: Login) -> Iterator[tuple[Session, str]]:
    """A session that sees one moment, and the name by which others see the same as long as the context lasts."""
    with session(login) as opened:
        opened.query(_UNLIMITED)
        opened.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        yield opened, opened.value("SELECT pg_export_snapshot()")


async def _connected(login: Login, as_itself: bool) -> asyncpg.Connection:
    import asyncpg

    settings = {
        "application_name": "selfhost",
        "statement_timeout": f"{STATEMENT_SECONDS}s",
        "lock_timeout": f"{LOCK_SECONDS}s",
        "timezone": "UTC",  # texts of rows, which checksums are made of, depend on it
    }
    try:
        return await asyncpg.connect(
            **login.for_asyncpg(),
            server_settings=settings | ({"role": "none"} if as_itself else {}),
            command_timeout=STATEMENT_SECONDS + 60,  # where the server is gone without a word
        )
    except (*_lost(), asyncpg.PostgresError) as error:
        if login.tls:
            await tls.require(login.host, login.port, login.tls)  # where it is TLS that fails, it says why
        raise _does_not_answer(login, error) from error


async def _closed(connection: asyncpg.Connection) -> None:
    import asyncpg

    # What it was wanted for has come to its end, whatever became of the connection since.
    with suppress(*_lost(), asyncpg.PostgresError):
        await connection.close(timeout=CLOSE_SECONDS)


@contextmanager
def _translated(login: Login) -> Iterator[None]:
    import asyncpg

    try:
        yield
    except _lost() as error:
        raise _does_not_answer(login, error) from error
    except asyncpg.PostgresError as error:
        raise _refused(login, error) from error


def _lost() -> tuple[type[Exception], ...]:
    """What asyncpg raises, at one moment or another, where the other end has gone."""
    import asyncpg

    return OSError, asyncpg.InterfaceError, asyncpg.InternalClientError


def _refused(login: Login, error: asyncpg.PostgresError) -> SelfhostError:
    state = str(error.sqlstate or "")
    if state in _BUSY:
        return NotReady(f"the database {login.database!r} at {login.server} is busy: {_text(error)}", tls.AGAIN)
    if state.startswith(_OVER):
        return _does_not_answer(login, error)
    hint = "the database's disk is full: df shows it" if state == _FULL else "the database's log says more"
    return Blocked(f"SQL failed in {login.database!r} at {login.server}: {_text(error)}", hint)


def _does_not_answer(login: Login, error: Exception) -> NotReady:
    return NotReady(f"the database at {login.server} does not answer: {_text(error)}", tls.AGAIN)


def _text(error: Exception) -> str:
    """The server's own words: never the statement, nor a value of it."""
    return " ".join(str(error).split())[:400] or type(error).__name__


def _wait(work: Coroutine[Any, Any, T]) -> T:
    future = asyncio.run_coroutine_threadsafe(work, _loop())
    try:
        return future.result()
    except BaseException:
        future.cancel()  # a caller that is interrupted leaves no statement at work
        raise


_starting = threading.Lock()
_started: list[asyncio.AbstractEventLoop] = []


def _loop() -> asyncio.AbstractEventLoop:
    """The loop on which all connections live; its thread ends with the process."""
    with _starting:
        if not _started:
            _started.append(asyncio.new_event_loop())
            threading.Thread(target=_started[0].run_forever, name="sql", daemon=True).start()
    return _started[0]
