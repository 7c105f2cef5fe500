"""Who may log in to a database of our own: a role without a login owns it, and login roles are members of that.

A login role acts as the owner from its first statement, so whatever it makes belongs to the owner, and one login role
can take another's place while the database is in use. Two are enough: one is let in while the other still is.

The owner may look at, and end, what others do in the cluster. Its own sessions count as those of the login role, of
which it is no member: a migration would neither see who is in its way nor end what a killed one left at work.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote

from blocks.errors import Blocked, NotReady
from blocks.host.secret_files import new_password
from blocks.postgres import programs as postgres
from blocks.postgres.programs import OWNER, Login

ROLES = (f"{OWNER}_a", f"{OWNER}_b")
"""Login roles; one of them is in use, but for the moment in which the other takes over."""

_QUIET = "SET log_min_error_statement = 'panic';\n"
"""A statement that fails would be in PostgreSQL's log as it came, with its password."""
_ADMIT = (
    _QUIET
    + r"""
SELECT format('CREATE ROLE %I', role) FROM unnest(ARRAY[:'owner', :'user']) role
WHERE role NOT IN (SELECT rolname FROM pg_roles) \gexec
ALTER ROLE :"user" LOGIN PASSWORD :'password';
GRANT :"owner" TO :"user";
GRANT pg_read_all_stats, pg_signal_backend TO :"owner";
ALTER ROLE :"user" SET role = :'owner';
"""
)
_ADMITTED = """
SELECT rolcanlogin AND pg_has_role(rolname, :'owner', 'MEMBER')
       AND pg_has_role(:'owner', 'pg_read_all_stats', 'MEMBER') AND pg_has_role(:'owner', 'pg_signal_backend', 'MEMBER')
       AND coalesce(rolconfig, '{}') @> ARRAY['role=' || :'owner']
FROM pg_roles WHERE rolname = :'user'
"""
_REFUSE = r"""
SELECT format('ALTER ROLE %I NOLOGIN PASSWORD NULL', rolname) FROM pg_roles
WHERE rolname IN (:'owner', :'first', :'second') AND rolname <> :'user' AND rolcanlogin \gexec
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE usename IN (:'owner', :'first', :'second') AND usename <> :'user';
"""
_LET_IN = """
SELECT rolname FROM pg_roles WHERE rolname IN (:'owner', :'first', :'second') AND rolname <> :'user' AND rolcanlogin
UNION SELECT usename FROM pg_stat_activity WHERE usename IN (:'owner', :'first', :'second') AND usename <> :'user'
"""


def first() -> str:
    """`user:password` of the login role a new database begins with, fit for a URL."""
    return f"{ROLES[0]}:{new_password()}"


def successor(login: str) -> str:
    """`user:password` of the other login role, with a new password."""
    user, _ = parts(login)
    return f"{ROLES[1] if user == ROLES[0] else ROLES[0]}:{new_password()}"


def parts(login: str) -> tuple[str, str]:
    """User and password out of `user:password`, which is written as in a URL.

    Raises:
        Blocked: it is something else.
    """
    user, colon, password = login.partition(":")
    if not (user and colon and password):
        raise Blocked("the database's login is not of the form user:password", "put your copy of the secret back")
    return unquote(user), unquote(password)


def is_admitted(programs: Path, admin: Login, login: str) -> bool:
    """Whether the login's role is let in and acts as the owner; its password is not looked at."""
    return postgres.query(programs, admin, _ADMITTED, _variables(login)) == [["t"]]


def admit(programs: Path, admin: Login, login: str) -> None:
    """Let a login in, as a member of the owner; the owner is made where it is missing. Idempotent."""
    postgres.query(programs, admin, _ADMIT, {**_variables(login), "password": parts(login)[1]})


def refuse_others(programs: Path, admin: Login, login: str) -> None:
    """Let no other than this login in, and end the connections of the others. Idempotent.

    Raises:
        NotReady: another one is still connected.
    """
    postgres.query(programs, admin, _REFUSE, _variables(login))
    left = sorted(row[0] for row in postgres.query(programs, admin, _LET_IN, _variables(login)))
    if left:
        raise NotReady(f"the database still lets in {', '.join(left)}")


def _variables(login: str) -> dict[str, str]:
    return {"owner": OWNER, "user": parts(login)[0], "first": ROLES[0], "second": ROLES[1]}
