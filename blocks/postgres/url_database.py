"""A PostgreSQL that somebody else keeps, given by its URL: 17 or newer, and an empty database in it.

Its keeper gives us a login. Where that may make roles and databases, `selfhost rotate database` puts another in its
place for the server: an owner without a login, and two roles that log in as it, see `blocks.postgres.login`. What the
given login owns becomes that owner's; the given login itself stays its keeper's, and is used to change those roles.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote, urlsplit

from blocks.agent.spec import Service
from blocks.database import Tls
from blocks.errors import Blocked, NotReady
from blocks.host.home import Home
from blocks.host.secret_files import DATABASE_LOGIN
from blocks.postgres import ownership, sql, tls
from blocks.postgres.connection import Login
from blocks.postgres.database import FIND_MARK, PostgresDatabase
from blocks.postgres.login import Roles, parts
from blocks.resource import Attributes, Change, Resource

OLDEST = 17
"""Of PostgreSQL's major versions: an older server refuses a parameter which our pg_restore sets."""
NEWEST = 18
"""Our pg_dump refuses a newer server."""
_VERSION = "SELECT current_setting('server_version_num')::int, current_setting('server_version')"
_MAY_REPLACE = """
SELECT (rolcreatedb OR rolsuper) AND pg_has_role(datdba, 'USAGE')
FROM pg_roles, pg_database WHERE rolname = current_user AND datname = $1
"""
_MAY_ROTATE = f"""
SELECT (rolcreaterole OR rolsuper) AND ({_MAY_REPLACE}) FROM pg_roles WHERE rolname = current_user
"""


@dataclass(frozen=True, kw_only=True)
class UrlDatabase(PostgresDatabase):
    """A database in somebody else's PostgreSQL.

    Attributes:
        url: postgresql://user@host:port/database, without a password.
        password_file: File with the password of that user.
        tls: What the connection must be.
    """

    url: str
    password_file: Path
    tls: Tls | None = None

    def on_host(self) -> list[Resource]:
        return [MarkedDatabase(self)]

    def secrets(self) -> dict[str, Callable[[], str]]:
        return {DATABASE_LOGIN: self._given}

    def services(self, release: Path) -> list[Service]:
        return []

    def faults(self) -> list[str]:
        try:
            given = self.given()
            ((number, version),) = sql.query(given, _VERSION)
        except (Blocked, NotReady) as error:
            return [str(error)]
        return [] if is_fit(number) else [f"{given.server} is PostgreSQL {version}: {OLDEST} or {NEWEST} is wanted"]

    def connection_url(self, login: str = DATABASE_LOGIN) -> str:
        at = urlsplit(self.url)
        path = f"/{quote(self.database)}" if self.database else at.path
        return f"postgresql+asyncpg://${{secret:{login}}}@{at.netloc.split('@')[1]}{path}{tls.in_url(self.tls)}"

    def require_rotatable(self) -> None:
        given = self.given()
        try:
            may = sql.query(given, _MAY_ROTATE, given.database) == [(True,)]
        except NotReady as error:
            raise Blocked(error.what, f"{self.password_file} must hold the password of {given.user!r}") from error
        if not may:
            raise Blocked(
                f"the database's roles are not ours to change: {given.user!r} may not make roles and databases",
                f"give it CREATEROLE and CREATEDB there, and the database's ownership; or: selfhost stop; change the "
                f"password there and in {self.password_file}; remove {Home(self.home).secrets / DATABASE_LOGIN}*; "
                "selfhost bootstrap",
            )

    def new_login(self) -> str:
        return self.roles.successor(self.secret(DATABASE_LOGIN))

    def admit(self, login: str) -> None:
        given = self.given()
        self.roles.admit(given, login, attributes="CREATEDB")
        ownership.hold(given, self.roles, login)
        ownership.give(given, self.roles.owner, self.kept())

    def refuse_others(self, login: str) -> str:
        self.roles.refuse_others(self.given(), login)
        return (
            f"The login {self.given().user!r} of database.url is no longer the server's. It is still let in, and "
            f"makes the next ones: to replace its password, change it there and in {self.password_file}."
        )

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
        at = urlsplit(self.url)
        return Login(at.hostname or "", at.port or 5432, *parts(value), self.database or at.path[1:], self.tls)

    def maker(self) -> Login:
        return replace(self, database="").login()

    def given(self) -> Login:
        """The login its keeper has given us.

        Raises:
            Blocked: its password cannot be read.
        """
        return replace(self, database="").login_of(self._given())

    def is_rotated(self) -> bool:
        """Whether the server's login is one of those we made."""
        return self.login().user in self.roles.all

    @property
    def roles(self) -> Roles:
        """Named after this very stack: there may be others on the same server."""
        return Roles(f"selfhost_{self.stack}_{(Home(self.home).identity() or '')[:8]}")

    def _given(self) -> str:
        """`user:password` of the given login, fit for a URL."""
        user = urlsplit(self.url).username
        try:
            return f"{user}:{quote(self.password_file.read_text('utf-8').strip(), '')}"
        except OSError as error:
            raise Blocked(f"database.password_file {self.password_file}: {error.strerror}") from error


def is_fit(version_number: int) -> bool:
    """Whether a PostgreSQL of this version, such as 180001, can be dumped and restored by our programs. Pure."""
    return OLDEST <= version_number // 10_000 <= NEWEST


class MarkedDatabase(Resource):
    """A database somebody else keeps: ours by its comment, or empty and taken over."""

    name = "database"
    needs = ("home", f"secret {DATABASE_LOGIN}")

    def __init__(self, database: UrlDatabase) -> None:
        self._database = database

    def find(self) -> Attributes | None:
        try:
            login, is_let_in = self._database.login(), True
        except Blocked:
            return None  # the secret has not been made yet
        try:
            rows = sql.query(login, FIND_MARK, login.database)
        except NotReady:
            if not self._database.is_rotated():
                raise
            is_let_in = False  # somebody has locked the role we made, or an interrupted destroy has dropped it
            rows = sql.query(self._database.given(), FIND_MARK, login.database)
        return {"mark": rows[0][0], "login": is_let_in} if rows and rows[0][0] else None

    def want(self) -> Attributes:
        return {"mark": self._database.mark(), "login": True}

    def require_ours(self, actual: Attributes) -> None:
        self._database.refuse_other_mark(actual["mark"])

    def apply(self, actual: Attributes | None, change: Change) -> None:
        login = self._database.login()
        if self._database.is_rotated():
            self._database.admit(self._database.secret(DATABASE_LOGIN))
        if actual is not None:
            return
        with sql.session(login) as marking:
            if marking.value("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"):
                raise Blocked(f"the database {login.database!r} at {login.host} is not empty", "give an empty one")
            marking.command("COMMENT ON DATABASE %I IS %L", login.database, self._database.mark())

    def delete(self) -> None:
        """Empty it and take the mark off; it is looked at once more, as what is dropped here cannot be had back.

        Raises:
            Blocked: it does not carry our mark.
        """
        database = self._database
        name = database.login().database
        found = self.find()
        if found is None or found["mark"] != database.mark():
            raise Blocked(f"the database {name!r} does not carry our mark any more", "nothing was dropped")
        for kept in database.kept():
            database.drop_kept(kept)
        keeper = database.given() if database.is_rotated() else database.login()
        with sql.session(keeper) as dropping:
            dropping.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        if database.is_rotated():
            ownership.take_back(keeper, database.roles)
        else:
            sql.command(keeper, "COMMENT ON DATABASE %I IS NULL", name)
