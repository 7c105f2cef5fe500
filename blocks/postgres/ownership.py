"""What a database's given login owns is handed over to the owner without a login, while the database is in use."""

from __future__ import annotations

from collections.abc import Iterable

from blocks.errors import Blocked
from blocks.postgres import sql, swap
from blocks.postgres.connection import Login
from blocks.postgres.login import Roles, parts
from blocks.postgres.sql import Session
from blocks.waiting import wait_until

LOCK_MILLISECONDS = 300
"""Time to get one table; callers queue behind that, and so they never wait longer. Below `deadlock_timeout`, too."""
TABLE_SECONDS = 60.0
"""Time until one table was had, in so many tries as it takes."""

_DATABASES = """
SELECT format('ALTER DATABASE %I OWNER TO %I', datname, $1::text) FROM pg_database
WHERE datname = ANY($2) AND pg_get_userbyid(datdba) <> $1 AND pg_has_role(datdba, 'USAGE')
"""
_SCHEMA = """
SELECT format('ALTER SCHEMA public OWNER TO %I', $1::text) FROM pg_namespace
WHERE nspname = 'public' AND pg_has_role(nspowner, 'USAGE')
AND pg_get_userbyid(nspowner) NOT IN ($1, 'pg_database_owner')
"""
_OBJECTS = """
SELECT format('ALTER %s public.%I OWNER TO %I', kind, name, $1::text) FROM (
    SELECT 'TABLE' AS kind, tableoid, oid, relname AS name, relowner AS owner FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
    UNION ALL
    SELECT 'TYPE', tableoid, oid, typname, typowner FROM pg_type
    WHERE typnamespace = 'public'::regnamespace AND typtype IN ('e', 'd', 'r')
) AS found
WHERE pg_get_userbyid(owner) <> $1 AND pg_has_role(owner, 'USAGE')
AND NOT EXISTS (SELECT FROM pg_depend
                WHERE classid = found.tableoid AND objid = found.oid AND objsubid = 0 AND deptype IN ('e', 'a', 'i'))
"""
"""A sequence of a table's goes with that, and what is an extension's stays so."""
_ROUTINES = """
SELECT format('ALTER ROUTINE %s OWNER TO %I', oid::regprocedure, $1::text) FROM pg_proc
WHERE pronamespace = 'public'::regnamespace AND pg_get_userbyid(proowner) <> $1 AND pg_has_role(proowner, 'USAGE')
AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_proc'::regclass AND objid = pg_proc.oid AND deptype = 'e')
"""


_NOT_HAD = """
SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
AND NOT pg_has_role($1, relowner, 'USAGE')
AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = pg_class.oid AND deptype = 'e')
ORDER BY relname
"""


def hold(given: Login, roles: Roles, login: str) -> None:
    """Have the given login, which made them, act as the owner, too, and end the sessions of this one. Idempotent."""
    with sql.session(given) as granting:
        granting.command("GRANT %I TO %I WITH INHERIT TRUE, SET TRUE", roles.owner, given.user)
        granting.command("GRANT %I TO %I WITH INHERIT TRUE, SET FALSE", parts(login)[0], given.user)


def give(given: Login, owner: str, further: Iterable[str]) -> None:
    """Make the owner that of the database, of these further ones and of all in the schema `public`. Idempotent.

    One thing after the other, each in a transaction of its own: whoever is at work waits for one table at most, and
    both roles can do everything all the time.

    Raises:
        Blocked: something is left that the owner may not use, as it is neither's.
    """
    with sql.session(given) as giving:
        giving.execute(f"SET lock_timeout = {LOCK_MILLISECONDS}")
        for (statement,) in giving.query(_DATABASES, owner, [given.database, *further]):
            _run(giving, statement)
        for listing in (_SCHEMA, _OBJECTS, _ROUTINES):
            for (statement,) in giving.query(listing, owner):
                _run(giving, statement)
        left = [name for (name,) in giving.query(_NOT_HAD, owner)]
    if left:
        what = f"the role {owner!r} could not be given {', '.join(left)} in {given.database!r}"
        raise Blocked(what, f"as a superuser: ALTER TABLE … OWNER TO {given.user!r}; nothing was switched")


def _run(giving: Session, statement: str) -> None:
    def done() -> bool:
        giving.execute(statement)
        return True

    wait_until(done, statement, timeout=TABLE_SECONDS, every=0.2)


def take_back(given: Login, roles: Roles) -> None:
    """Give an emptied database back to the given login, without our roles and our mark: all of it or nothing.

    Other databases of the owner's, such as an interrupted drill's scratch database, are dropped.
    """
    for (left,) in sql.query(given, _LEFT, roles.owner, given.database):
        swap.drop(given, left)
    with sql.session(given) as taking:
        taking.command(_TAKE_BACK, given.database, given.user, *roles.all)


_LEFT = "SELECT datname FROM pg_database WHERE pg_get_userbyid(datdba) = $1 AND datname <> $2"
_TAKE_BACK = """
ALTER DATABASE %1$I OWNER TO %2$I; DROP ROLE IF EXISTS %3$I, %4$I, %5$I; COMMENT ON DATABASE %1$I IS NULL
"""
