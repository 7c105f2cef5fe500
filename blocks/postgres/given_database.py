"""A database in a PostgreSQL that is not ours, of which we have a login that may make roles and databases there.

The server logs in as another: an owner without a login, and two roles that log in as it, see `blocks.postgres.login`.
What the given login owns becomes that owner's; the given login itself is used to make and change those roles.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote, urlsplit

from blocks.agent.spec import Service
from blocks.database import Tls
from blocks.errors import Blocked, NotReady
from blocks.host.secret_files import DATABASE_LOGIN
from blocks.postgres import ownership, sql, tls
from blocks.postgres.connection import Login
from blocks.postgres.database import PostgresDatabase
from blocks.postgres.login import Roles, parts

_MAY_REPLACE = """
SELECT (rolcreatedb OR rolsuper) AND pg_has_role(datdba, 'USAGE')
FROM pg_roles, pg_database WHERE rolname = current_user AND datname = $1
"""
_MAY_ROTATE = f"""
SELECT (rolcreaterole OR rolsuper) AND ({_MAY_REPLACE}) FROM pg_roles WHERE rolname = current_user
"""


@dataclass(frozen=True, kw_only=True)
class GivenDatabase(PostgresDatabase):
    """A database in a PostgreSQL that somebody else keeps.

    Attributes:
        tls: What the connection must be.
    """

    tls: Tls | None = None

    @abstractmethod
    def address(self) -> str:
        """postgresql://user@host:port/database, the given login's user in it, without a password.

        Raises:
            NotReady: it has none yet.
        """

    @abstractmethod
    def password(self) -> str:
        """The given login's.

        Raises:
            Blocked: it cannot be read.
        """

    def services(self, release: Path) -> list[Service]:
        return []

    def connection_url(self, login: str = DATABASE_LOGIN) -> str:
        at = urlsplit(self.address())
        path = f"/{quote(self.database)}" if self.database else at.path
        return f"postgresql+asyncpg://${{secret:{login}}}@{at.netloc.split('@')[1]}{path}{tls.in_url(self.tls)}"

    def may_rotate(self) -> bool:
        """Whether the given login may make roles and databases, and has the database's ownership.

        Raises:
            NotReady: it is not let in.
        """
        given = self.given()
        return sql.query(given, _MAY_ROTATE, given.database) == [(True,)]

    def new_login(self) -> str:
        return self.roles.successor(self.secret(DATABASE_LOGIN))

    def admit(self, login: str) -> None:
        given = self.given()
        self.roles.admit(given, login, attributes="CREATEDB")
        ownership.hold(given, self.roles, login)
        ownership.give(given, self.roles.owner, self.kept())

    def refuse_others(self, login: str) -> str:
        self.roles.refuse_others(self.given(), login)
        return ""

    def size(self) -> int:
        return 0

    def require_replaceable(self) -> None:
        role, name = self.login().user, self.login().database
        try:
            may = sql.query(replace(self.maker(), database="postgres"), _MAY_REPLACE, name)
        except NotReady as error:
            raise Blocked(f"{error.what}: renaming {name!r} takes a connection to the database postgres") from error
        if may != [(True,)]:
            raise Blocked(
                f"the role {role!r} may not make databases, or does not own {name!r}",
                f'as a superuser: ALTER ROLE "{role}" CREATEDB; ALTER DATABASE "{name}" OWNER TO "{role}"',
            )

    def make(self, maker: Login, name: str) -> None:
        sql.command(maker, "CREATE DATABASE %I", name)

    def login_of(self, value: str) -> Login:
        at = urlsplit(self.address())
        return Login(at.hostname or "", at.port or 5432, *parts(value), self.database or at.path[1:], self.tls)

    def maker(self) -> Login:
        return replace(self, database="").login()

    def given(self) -> Login:
        """The login its keeper has given us.

        Raises:
            Blocked: its password cannot be read.
        """
        return replace(self, database="").login_of(self.given_login())

    def given_login(self) -> str:
        """`user:password` of the given login, fit for a URL."""
        return f"{urlsplit(self.address()).username}:{quote(self.password(), '')}"

    def is_rotated(self) -> bool:
        """Whether the server's login is one of those we made."""
        return self.login().user in self.roles.all

    @property
    def roles(self) -> Roles:
        """Named after this very stack: there may be others on the same server."""
        return Roles(f"selfhost_{self.stack}_{self.whose()[:8]}")
