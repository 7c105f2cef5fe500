"""Who may log in to a database of ours: a role without a login owns it, and two login roles are members of that.

A login role acts as the owner from its first statement, in every database, so whatever it makes belongs to the owner,
and one login role can take the other's place while the database is in use. Attributes such as CREATEDB are not
inherited by membership: it is the owner who has them.

The owner gets the rights to see the sessions of other roles and to end them, where the role that makes it may grant
those rights. Its own sessions count as the login role's, of which it is no member: only a session which acts as that
login role itself sees them.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from dataclasses import dataclass
from urllib.parse import unquote

from blocks.errors import Blocked, NotReady
from blocks.host.secret_files import new_password
from blocks.postgres import sql
from blocks.postgres.connection import Login

RIGHTS = ("pg_read_all_stats", "pg_signal_backend")
"""What lets an owner see who is in the way of a migration, and end an interrupted one's index build."""
ITERATIONS = 4096
"""PostgreSQL's own number for a password's verifier; ours are random, so more would protect nothing."""

_MISSING = "SELECT role FROM unnest($1::text[]) role WHERE role NOT IN (SELECT rolname FROM pg_roles)"
_GRANTABLE = """
SELECT name FROM unnest($1::text[]) name
WHERE pg_has_role(name, 'MEMBER WITH ADMIN OPTION') OR (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
"""
_ADMITTED = """
SELECT rolcanlogin AND pg_has_role(rolname, $2, 'MEMBER')
       AND (SELECT coalesce(bool_and(pg_has_role($2, name, 'MEMBER')), true) FROM unnest($3::text[]) name)
       AND coalesce(rolconfig, '{}') @> ARRAY['role=' || $2]
FROM pg_roles WHERE rolname = $1
"""
_OTHERS = "SELECT rolname FROM pg_roles WHERE rolname = ANY($1) AND rolname <> $2 AND rolcanlogin"
_END = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = ANY($1) AND usename <> $2
"""
_LET_IN = f"{_OTHERS} UNION SELECT usename FROM pg_stat_activity WHERE usename = ANY($1) AND usename <> $2"


@dataclass(frozen=True)
class Roles:
    """The owner of a database, and the two roles which log in as it: one is in use, but for the moment in which the
    other takes over. Each method is given a login that may make and change these roles."""

    owner: str

    @property
    def logins(self) -> tuple[str, str]:
        return f"{self.owner}_a", f"{self.owner}_b"

    @property
    def all(self) -> list[str]:
        return [self.owner, *self.logins]

    def first(self) -> str:
        """`user:password` of the login role a new database begins with, fit for a URL."""
        return f"{self.logins[0]}:{new_password()}"

    def successor(self, login: str) -> str:
        """`user:password` of the other login role, with a new password."""
        user, _ = parts(login)
        return f"{self.logins[1] if user == self.logins[0] else self.logins[0]}:{new_password()}"

    def is_admitted(self, admin: Login, login: str) -> bool:
        """Whether the login's role is let in and acts as the owner; its password is not looked at."""
        with sql.session(admin) as asking:
            return bool(asking.value(_ADMITTED, parts(login)[0], self.owner, _grantable(asking)))

    def admit(self, admin: Login, login: str, attributes: str = "") -> None:
        """Let a login in, as a member of the owner; the owner is made where it is missing. Idempotent.

        Args:
            attributes: Of the owner, such as `CREATEDB`.
        """
        user, password = parts(login)
        with sql.session(admin) as making:
            for (role,) in making.query(_MISSING, [self.owner, user]):
                making.command("CREATE ROLE %I NOLOGIN", role)
            if attributes:
                making.command(f"ALTER ROLE %I {attributes}", self.owner)
            making.command("ALTER ROLE %I LOGIN PASSWORD %L", user, verifier(password))
            making.command("GRANT %I TO %I", self.owner, user)
            for right in _grantable(making):
                making.command("GRANT %I TO %I", right, self.owner)
            making.command("ALTER ROLE %I SET role = %L", user, self.owner)

    def refuse_others(self, admin: Login, login: str) -> None:
        """Let neither of the others than this login in, and end their connections. Idempotent.

        Raises:
            NotReady: another one is still connected.
        """
        user, _ = parts(login)
        with sql.session(admin) as refusing:
            for (other,) in refusing.query(_OTHERS, self.all, user):
                refusing.command("ALTER ROLE %I NOLOGIN PASSWORD NULL", other)
            refusing.query(_END, self.all, user)
            left = sorted(name for (name,) in refusing.query(_LET_IN, self.all, user))
        if left:
            raise NotReady(f"the database still lets in {', '.join(left)}")


def _grantable(asking: sql.Session) -> list[str]:
    """The rights among `RIGHTS` which this session's role may grant."""
    return [name for (name,) in asking.query(_GRANTABLE, list(RIGHTS))]


def parts(login: str) -> tuple[str, str]:
    """User and password out of `user:password`, which is written as in a URL.

    Raises:
        Blocked: it is something else.
    """
    user, colon, password = login.partition(":")
    if not (user and colon and password):
        raise Blocked("the database's login is not of the form user:password", "put your copy of the secret back")
    return unquote(user), unquote(password)


def verifier(password: str) -> str:
    """What PostgreSQL keeps of a password (RFC 5803): so a statement, which its log may show, does not hold it."""
    salt = os.urandom(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, ITERATIONS)
    client, server = (hmac.digest(salted, name, "sha256") for name in (b"Client Key", b"Server Key"))
    kept = [base64.b64encode(each).decode() for each in (salt, hashlib.sha256(client).digest(), server)]
    return f"SCRAM-SHA-256${ITERATIONS}:{kept[0]}${kept[1]}:{kept[2]}"
