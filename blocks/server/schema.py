"""Whether the database stands at a schema which the installed Prefect can serve, and waiting until it does.

A server which is started early imports while the database is still being made, migrated or restored, and is
ready a moment after the schema is. Migrating is never its business: that is a job of its own.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.1
PROBLEM_POLL_SECONDS = 0.5
"""While the database cannot be reached: each refused try may be a line in its log."""
REMINDER_SECONDS = 60.0
Standing = Literal["absent", "behind", "at head", "ahead"]


@dataclass(frozen=True)
class Lineage:
    """The schema revisions which the installed Prefect knows, by alembic identifier."""

    head: str
    known: frozenset[str]


@dataclass(frozen=True)
class Observation:
    """What one look at the database saw; `problem` says why it could not be looked at."""

    revisions: frozenset[str] = frozenset()
    problem: str = ""


@dataclass(frozen=True)
class Migration:
    """One step of the schema: the revision it leads to, and the Python that does it."""

    revision: str
    source: str


def installed_migrations() -> tuple[Migration, ...]:
    """The installed Prefect's PostgreSQL migrations, the oldest first, without a database. Takes about 0.4 s."""
    import prefect.server.database
    from alembic.script import ScriptDirectory

    folder = Path(prefect.server.database.__file__).parent / "_migrations"
    scripts = ScriptDirectory(str(folder), version_locations=[str(folder / "versions" / "postgresql")])
    found = [Migration(each.revision, Path(each.path).read_text("utf-8")) for each in scripts.walk_revisions()]
    if not found:
        raise RuntimeError(f"{folder} holds no migration: the Prefect installation is incomplete")
    return tuple(reversed(found))


def installed_lineage() -> Lineage:
    """The revisions among them."""
    migrations = installed_migrations()
    return Lineage(migrations[-1].revision, frozenset(each.revision for each in migrations))


def standing(revisions: frozenset[str], lineage: Lineage) -> Standing:
    """Where a database at `revisions` stands. An unknown revision is a newer release's: `ahead`."""
    if not revisions:
        return "absent"
    if revisions == {lineage.head}:
        return "at head"
    return "behind" if revisions <= lineage.known else "ahead"


def can_serve(seen: Observation, lineage: Lineage) -> bool:
    """An older server may serve on a newer schema: so it is during every upgrade."""
    return not seen.problem and standing(seen.revisions, lineage) in ("at head", "ahead")


def describe(seen: Observation, lineage: Lineage) -> str:
    """One sentence for the log on what was seen, without credentials."""
    if seen.problem:
        return f"cannot be reached: {seen.problem}"
    found = ", ".join(sorted(seen.revisions))
    return {
        "absent": "holds no Prefect schema yet",
        "behind": f"stands at revision {found}, behind {lineage.head}; run the migration job",
        "at head": f"stands at revision {found}",
        "ahead": f"stands at revision {found}, which is newer than this release ({lineage.head})",
    }[standing(seen.revisions, lineage)]


async def observe() -> Observation:
    """Look at the configured database once, through the engine the server will use itself.

    So TLS and all other database settings hold here too, and the pool is warm afterwards. The connection
    is kept between two looks, without a transaction: an open snapshot would block the very migration that
    is waited for.
    """
    import asyncpg
    from prefect.server.database import provide_database_interface
    from sqlalchemy.exc import SQLAlchemyError

    try:
        engine = await provide_database_interface().engine()
        async with engine.connect() as connection:
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            # Asked first, as a query on a missing table would be an error in the database's log each time.
            is_there = await connection.exec_driver_sql("SELECT to_regclass('alembic_version') IS NOT NULL")
            if not is_there.scalar_one():
                return Observation()
            rows = await connection.exec_driver_sql("SELECT version_num FROM alembic_version")
            return Observation(frozenset(str(each[0]) for each in rows))
    except (OSError, TimeoutError, SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        return Observation(problem=_first_line(getattr(error, "orig", None) or error))


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__


async def wait_until_served(
    lineage: Lineage,
    *,
    observe: Callable[[], Awaitable[Observation]] = observe,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Observation:
    """Wait, without limit, until the database can be served; log why at first, on a change, each minute.

    Without limit, because the supervisor owns the deadline: its health check says what is not ready.
    """
    said, said_at, waited = "", 0.0, False
    while not can_serve(seen := await observe(), lineage):
        message = describe(seen, lineage)
        if message != said or clock() - said_at >= REMINDER_SECONDS:
            logger.info("waiting for the database, which %s", message)
            said, said_at, waited = message, clock(), True
        await sleep(PROBLEM_POLL_SECONDS if seen.problem else POLL_SECONDS)
    if waited or standing(seen.revisions, lineage) == "ahead":
        logger.info("the database %s", describe(seen, lineage))
    return seen


async def migrate_once_reached() -> None:
    """Wait, without limit, until the database answers, then bring its schema to this release's head.

    Only for a server that is alone on its database, as nothing locks migrations: the temporary one.
    """
    from prefect.server.database import provide_database_interface

    while (await observe()).problem:
        await asyncio.sleep(POLL_SECONDS)
    await provide_database_interface().create_db()
