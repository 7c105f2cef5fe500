"""Moves the database's schema to this release's head, or down to an older revision, as a job on the host.

`python -P -m blocks.server.migrate [--to head|REVISION]`, with the server's settings: the `prefect.toml` in the working
folder and the environment. It ends an interrupted attempt's index builds and mends their indexes, lets nobody wait
behind one of its locks for longer than `--lock-timeout`, and holds a lock of the database, so that two of them at once
come one after the other.

Its last line on standard output is JSON: {"from": revision, "to": revision, "seconds": s, "steps": [{"what": …,
"seconds": s}, …]}. Exit status: 0 the schema stands where it should and no invalid index is left, 1 it does not and the
last line on standard error says why, 2 wrong call or configuration.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from blocks.errors import Blocked, Conflict, NotReady, SelfhostError, WrongCall
from blocks.waiting import wait_until

if TYPE_CHECKING:
    from sqlalchemy.exc import DBAPIError

    from blocks.postgres.session import SqlSession
    from blocks.server.schema import Migration

ADVISORY_LOCK = int.from_bytes(b"selfhost")
"""Of the database that is migrated; held by whoever migrates it, and gone with their connection."""
BUILD_PATIENCE = 600.0
"""Seconds that an index build waits for one old transaction. Nobody waits behind it meanwhile, and giving up costs
the whole build; an open `pg_dump` is such a transaction."""
TURN_PATIENCE = 1800.0
"""Seconds to wait for another migration of the same database."""
ATTEMPTS = 20
"""With `--lock-timeout 5` they take 200 s of waiting behind an open reader, half of which others wait, too."""
PASSING = {"55P03": "no lock in time", "40P01": "a deadlock", "XX000": "another change of the same table"}
"""SQLSTATEs after which the next attempt may do. XX000 is `tuple concurrently updated`, among other things."""
BUILDER_END_SECONDS = 60.0
OTHERS_SECONDS = 5.0
"""Time for connections that are just being closed, such as those of the server booted before."""

Direction = Literal["stay", "up", "down"]


@dataclass(frozen=True)
class Options:
    """The command line. `to` is `head` or a revision; times are seconds."""

    to: str
    lock_timeout: float
    attempts: int
    alone: bool


@dataclass
class Journal:
    """What was done, and how many seconds each step took; said on standard error as it happens."""

    started: float = field(default_factory=time.monotonic)
    steps: list[dict[str, str | float]] = field(default_factory=list)

    def add(self, what: str) -> None:
        already = sum(float(each["seconds"]) for each in self.steps)
        self.steps.append({"what": what, "seconds": round(self.seconds - already, 3)})
        sys.stderr.write(f"migrate: {what}\n")

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started


def read_options(argv: Sequence[str] | None = None) -> Options:
    """Parse the command line; a wrong one ends with status 2, as argparse does."""
    parser = argparse.ArgumentParser(prog="python -m blocks.server.migrate", description=__doc__)
    parser.add_argument("--to", default="head", metavar="REVISION", help="`head`, or a revision this release knows")
    parser.add_argument("--lock-timeout", type=_positive, default=5.0, help="longest wait for a lock, seconds")
    parser.add_argument("--attempts", type=int, default=ATTEMPTS, help="tries where locks are not had in time")
    parser.add_argument("--alone", action="store_true", help="refuse a database that others are connected to")
    return Options(**vars(parser.parse_args(argv)))


def _positive(text: str) -> float:
    seconds = float(text)
    if not 0.001 <= seconds <= BUILD_PATIENCE:
        raise argparse.ArgumentTypeError(f"{text} is not between 0.001 and {BUILD_PATIENCE:g} s")
    return seconds


def lock_seconds(statement: str, lock_timeout: float) -> float:
    """How long a statement may wait for a lock.

    An ALTER TABLE that waits keeps every later reader of its table waiting, too. What is done CONCURRENTLY waits
    for old transactions without being in anyone's way, and leaves an invalid index when it gives up.
    """
    return BUILD_PATIENCE if "CONCURRENTLY" in statement.upper() else lock_timeout


def target(to: str, migrations: Sequence[Migration]) -> str:
    """The revision that `to` means.

    Raises:
        WrongCall: this release does not know it.
    """
    known = [each.revision for each in migrations]
    if to != "head" and to not in known:
        hint = "going down takes the newer release's code"
        raise WrongCall(f"this release knows no schema revision {to!r}, its newest is {known[-1]}", hint)
    return known[-1] if to == "head" else to


def direction(current: str, wanted: str, migrations: Sequence[Migration]) -> Direction:
    """Which way it is from `current` (empty: an empty database) to `wanted`.

    Raises:
        Blocked: the database is at a revision this release does not know.
    """
    place = {"": -1} | {each.revision: index for index, each in enumerate(migrations)}
    if current not in place:
        hint = "migrate with the release that made it"
        raise Blocked(f"the database stands at revision {current}, which this release does not know", hint)
    if current == wanted:
        return "stay"
    return "up" if place[current] < place[wanted] else "down"


def treatment(index: str, current: str, wanted: str, migrations: Sequence[Migration]) -> Literal["drop", "rebuild"]:
    """What to do about the invalid index of an interrupted build.

    One that a migration still to come makes is dropped: most of them say IF NOT EXISTS and would take the invalid one
    for theirs. So is what a REINDEX keeps beside the index it rebuilds. Any other is rebuilt, as nobody else
    would make it again.
    """
    base, _, ending = index.rpartition("_")
    if base and ending.rstrip("0123456789") in ("ccnew", "ccold"):
        return "drop"
    place = {each.revision: number for number, each in enumerate(migrations, start=1)}
    to_come = migrations[min(place.get(current, 0), place[wanted]) :]
    return "drop" if any(index in each.source for each in to_come) else "rebuild"


def passing(error: DBAPIError) -> str:
    """Why another attempt may do; empty where none would, or where waiting was given up already."""
    if "CONCURRENTLY" in (error.statement or "").upper() and _sqlstate(error) == "55P03":
        return ""
    return PASSING.get(_sqlstate(error), "")


def _sqlstate(error: DBAPIError) -> str:
    return str(getattr(error.orig, "sqlstate", "") or "")


def run(options: Options, journal: Journal) -> dict[str, object]:
    """Migrate the configured database. Returns what is printed.

    Raises:
        SelfhostError: it did not come out as wanted; `WrongCall` where nothing was touched.
    """
    from blocks.postgres.session import opened
    from blocks.server.schema import installed_migrations
    from blocks.server.serve import current_settings, require_postgresql

    require_postgresql(current_settings())
    migrations = installed_migrations()
    wanted = target(options.to, migrations)
    with opened("selfhost migrate", lambda sql: lock_seconds(sql, options.lock_timeout)) as session:
        journal.started = time.monotonic()
        if options.alone:
            require_alone(session)
        take_turn(session, journal)
        began_at = revision(session)
        attempt_until_done(session, wanted, migrations, options, journal)
        verify(session, wanted)
        return {"from": began_at, "to": wanted, "seconds": round(journal.seconds, 3), "steps": journal.steps}


def require_alone(session: SqlSession) -> None:
    """Refuse a database that is in use: a rehearsal with the wrong settings would be the real thing.

    Raises:
        Blocked: others are connected, and stay so.
    """
    try:
        wait_until(lambda: not session.query(_OTHERS), "their end", timeout=OTHERS_SECONDS, every=0.2)
    except NotReady as error:
        names = ", ".join(f"{row[0] or 'unnamed'} (database process {row[1]})" for row in session.query(_OTHERS))
        raise Blocked(
            f"the database {session.query('SELECT current_database()')[0][0]!r} is in use by {names}"
        ) from error


_OTHERS = """
SELECT application_name, pid FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend' ORDER BY pid LIMIT 3
"""


def take_turn(session: SqlSession, journal: Journal, patience: float = TURN_PATIENCE) -> None:
    """Take the database's lock for migrations, which is held until the session ends.

    It is tried again and again and not waited for in the database: a waiting statement holds a snapshot, which the
    other's index build would wait for in its turn, for ever.

    Raises:
        Conflict: another still migrates after `patience` seconds; the text says which process.
    """
    seen: list[str] = []

    def taken() -> bool:
        if session.query("SELECT pg_try_advisory_lock(:key)", key=ADVISORY_LOCK)[0][0]:
            return True
        if not seen:
            seen.append(_lock_holder(session))
            sys.stderr.write(f"migrate: waiting for {seen[0]}, which migrates this database\n")
        return False

    try:
        wait_until(taken, "the other migration's end", timeout=patience, every=0.2)
    except NotReady as error:
        raise Conflict(f"{_lock_holder(session)} has been migrating this database for {patience:.0f} s") from error
    if seen:
        journal.add(f"waited for {seen[0]}, which migrated this database")


def _lock_holder(session: SqlSession) -> str:
    high, low = divmod(ADVISORY_LOCK, 2**32)
    rows = session.query(_LOCK_HOLDER, high=high, low=low)
    return str(rows[0][0]) if rows else "another process"


_LOCK_HOLDER = """
SELECT a.application_name FROM pg_locks l JOIN pg_stat_activity a USING (pid)
WHERE l.locktype = 'advisory' AND l.granted AND l.classid = CAST(CAST(:high AS bigint) AS oid)
  AND l.objid = CAST(CAST(:low AS bigint) AS oid)
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


def revision(session: SqlSession) -> str:
    """The schema's revision; empty in an empty database."""
    if session.query("SELECT to_regclass('alembic_version')")[0][0] is None:
        return ""
    return ", ".join(sorted(str(row[0]) for row in session.query("SELECT version_num FROM alembic_version")))


def attempt_until_done(
    session: SqlSession, wanted: str, migrations: Sequence[Migration], options: Options, journal: Journal
) -> None:
    """Heal and migrate, again where a lock was not had in time.

    Raises:
        Blocked: no attempt came through, or one failed for good.
    """
    from sqlalchemy.exc import DBAPIError

    for attempt in range(1, options.attempts + 1):
        try:
            healed = heal(session, wanted, migrations, journal)
            move(session, wanted, migrations, journal, idle=not healed and attempt == 1)
            return
        except DBAPIError as error:
            reason = passing(error)
            if not reason or attempt == options.attempts:
                raise Blocked(f"stopped at attempt {attempt}: {first_line(error)}; {_oldest(session)}") from error
            journal.add(f"attempt {attempt} gave up: {reason}; {_oldest(session)}")
        time.sleep(options.lock_timeout)  # those who waited behind it get as long as they had to wait


def move(session: SqlSession, wanted: str, migrations: Sequence[Migration], journal: Journal, *, idle: bool) -> None:
    """Run Prefect's own migrations from where the schema stands; each is a transaction and recorded with it."""
    from prefect.server.database.alembic_commands import alembic_downgrade, alembic_upgrade

    current = revision(session)
    way = direction(current, wanted, migrations)
    if way != "stay":
        session.run_in_thread(alembic_upgrade if way == "up" else alembic_downgrade, wanted)
        journal.add(f"migrated {way} from {current or 'an empty database'} to {wanted}")
    elif idle:
        journal.add(f"nothing to do: the schema stands at {wanted}")


def heal(session: SqlSession, wanted: str, migrations: Sequence[Migration], journal: Journal) -> bool:
    """End an interrupted attempt's index builds, and mend their indexes. Returns whether there was any."""
    already = len(journal.steps)
    end_builders(session, journal)
    current = revision(session)
    direction(current, wanted, migrations)  # refused before anything is touched
    for quoted, name in invalid_indexes(session):
        if treatment(name, current, wanted, migrations) == "drop":
            session.query(f"DROP INDEX CONCURRENTLY IF EXISTS {quoted}")
            journal.add(f"dropped the invalid index {name}, which an interrupted build left")
        else:
            session.query(f"REINDEX INDEX CONCURRENTLY {quoted}")
            journal.add(f"rebuilt the invalid index {name}, which an interrupted build left")
    return len(journal.steps) > already


def end_builders(session: SqlSession, journal: Journal) -> None:
    """End the index builds in this database: as we hold the migrations' lock, they are those of interrupted ones."""
    for pid, table in session.query(_BUILDERS):
        if session.query("SELECT pg_terminate_backend(:pid)", pid=pid)[0][0]:
            journal.add(f"ended a leftover index build on {table} (database process {pid})")
    wait_until(lambda: not session.query(_BUILDERS), "the end of index builds", timeout=BUILDER_END_SECONDS, every=0.05)


_BUILDERS = """
SELECT p.pid, coalesce(c.relname, 'a table') FROM pg_stat_progress_create_index p
LEFT JOIN pg_class c ON c.oid = p.relid WHERE p.datname = current_database() AND p.pid <> pg_backend_pid()
"""


def invalid_indexes(session: SqlSession) -> list[tuple[str, str]]:
    """Invalid indexes of schema `public`: quoted for SQL, and by name."""
    return [(row[0], row[1]) for row in session.query(_INVALID)]


_INVALID = """
SELECT format('%I.%I', n.nspname, c.relname), c.relname FROM pg_index i
JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE NOT i.indisvalid AND n.nspname = 'public' AND c.relkind = 'i' ORDER BY c.relname
"""


def _oldest(session: SqlSession) -> str:
    """Who has had a transaction open for longest, for the person who has to end it; never what it asked."""
    rows = session.query(_OLDEST)
    if not rows:
        return "no transaction is open now"
    pid, name, state, seconds = rows[0]
    return f"the oldest transaction is {name or 'unnamed'} (database process {pid}), {state}, {seconds:.0f} s old"


_OLDEST = """
SELECT pid, application_name, state, extract(epoch FROM clock_timestamp() - xact_start) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL
ORDER BY xact_start LIMIT 1
"""


def verify(session: SqlSession, wanted: str) -> None:
    """Raises Blocked unless the schema stands at `wanted` and no index is invalid."""
    found, invalid = revision(session), [name for _, name in invalid_indexes(session)]
    if found != wanted:
        raise Blocked(f"the schema stands at {found or 'no revision'} instead of {wanted}")
    if invalid:
        raise Blocked(f"invalid indexes are left: {', '.join(invalid)}", "run it again")


def first_line(error: BaseException) -> str:
    """What an error says, in one line, without SQL and its parameters."""
    cause = getattr(error, "orig", None) or error
    text = next(iter(str(cause).splitlines()), "") or type(cause).__name__
    return text.rpartition(">: ")[2]  # SQLAlchemy puts the driver's class in front


def main(argv: Sequence[str] | None = None) -> int:
    import asyncpg
    from alembic.util import CommandError
    from sqlalchemy.exc import SQLAlchemyError

    from blocks.server import serve

    options = read_options(argv)
    try:
        done = run(options, Journal())
    except (WrongCall, serve.WrongCall) as error:
        sys.stderr.write(f"migrate: {error}\n")
        return 2
    except SelfhostError as error:
        sys.stderr.write(f"migrate: {error}\n")
        return 1
    except (OSError, TimeoutError, SQLAlchemyError, asyncpg.PostgresError, CommandError, RuntimeError) as error:
        sys.stderr.write(f"migrate: {first_line(error)}\n")
        return 1
    sys.stdout.write(json.dumps(done) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
