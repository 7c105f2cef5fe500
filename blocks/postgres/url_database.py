"""A PostgreSQL that somebody else keeps, given by its URL: 17 or newer, and an empty database in it.

Its keeper gives us a login, which is the server's at first. Where that may make roles and databases, `selfhost rotate
database` puts another in its place, see `blocks.postgres.given_database`; the given login itself stays its keeper's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from blocks.errors import Blocked, NotReady
from blocks.host.home import Home
from blocks.host.secret_files import DATABASE_LOGIN
from blocks.postgres import ownership, sql
from blocks.postgres.database import FIND_MARK
from blocks.postgres.given_database import GivenDatabase
from blocks.resource import Attributes, Change, Resource

OLDEST = 17
"""Of PostgreSQL's major versions: an older server refuses a parameter which our pg_restore sets."""
NEWEST = 18
"""Our pg_dump refuses a newer server."""
_VERSION = "SELECT current_setting('server_version_num')::int, current_setting('server_version')"


@dataclass(frozen=True, kw_only=True)
class UrlDatabase(GivenDatabase):
    """A database in somebody else's PostgreSQL.

    Attributes:
        url: postgresql://user@host:port/database, without a password.
        password_file: File with the password of that user.
    """

    url: str
    password_file: Path

    def address(self) -> str:
        return self.url

    def password(self) -> str:
        try:
            return self.password_file.read_text("utf-8").strip()
        except OSError as error:
            raise Blocked(f"database.password_file {self.password_file}: {error.strerror}") from error

    def on_host(self) -> list[Resource]:
        return [MarkedDatabase(self)]

    def secrets(self) -> dict[str, Callable[[], str]]:
        return {DATABASE_LOGIN: self.given_login}

    def faults(self) -> list[str]:
        try:
            given = self.given()
            ((number, version),) = sql.query(given, _VERSION)
        except (Blocked, NotReady) as error:
            return [str(error)]
        return [] if is_fit(number) else [f"{given.server} is PostgreSQL {version}: {OLDEST} or {NEWEST} is wanted"]

    def require_rotatable(self) -> None:
        user = self.given().user
        try:
            may = self.may_rotate()
        except NotReady as error:
            raise Blocked(error.what, f"{self.password_file} must hold the password of {user!r}") from error
        if not may:
            raise Blocked(
                f"the database's roles are not ours to change: {user!r} may not make roles and databases",
                f"give it CREATEROLE and CREATEDB there, and the database's ownership; or: selfhost stop; change the "
                f"password there and in {self.password_file}; remove {Home(self.home).secrets / DATABASE_LOGIN}*; "
                "selfhost bootstrap",
            )

    def refuse_others(self, login: str) -> str:
        super().refuse_others(login)
        return (
            f"The login {self.given().user!r} of database.url is no longer the server's. It is still let in, and "
            f"makes the next ones: to replace its password, change it there and in {self.password_file}."
        )


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
