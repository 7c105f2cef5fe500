"""The stack's database in its instance of Cloud SQL, reached from the stack's host as any PostgreSQL with TLS.

The instance and the login that makes all else stand at Google; the database and its roles are made by SQL, on the host
alone, as nobody else reaches the instance: one made by Google's API would belong to Google's own role.

Source: https://cloud.google.com/sql/docs/postgres/users, https://cloud.google.com/sql/docs/postgres/configure-ssl-instance
(an instance's own authority is believed, and no host name is looked at: it names none).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from blocks.database import Tls
from blocks.errors import Blocked, NotReady
from blocks.gcp.sql import SqlInstance
from blocks.host.secret_files import DATABASE_ADMIN_PASSWORD, DATABASE_LOGIN, new_password
from blocks.postgres import ownership, sql
from blocks.postgres.connection import Login
from blocks.postgres.database import FIND_MARK
from blocks.postgres.given_database import GivenDatabase
from blocks.resource import Attributes, Change, Resource

NAME = "prefect-db"
ADDRESS, AUTHORITY = "database.address", "database.authority"
"""What is found of an instance once it is there: its private address, and its certificates as `over_tls` takes them."""
PORT = 5432
ADMIN = "selfhost-admin"
"""Login that the API makes: it may make roles and databases, and is no superuser, as nobody is there."""
_EMPTY = "SELECT count(*) = 0 FROM pg_tables WHERE schemaname = 'public'"


@dataclass(frozen=True, kw_only=True)
class SqlDatabase(GivenDatabase):
    """The database `prefect-db` in the stack's own instance.

    Attributes:
        instance: The instance at Google.
        private_address: Its address, as it was found; empty before the instance is made.
    """

    instance: SqlInstance
    private_address: str

    def outside(self) -> list[Resource]:
        return [self.instance, AdminLogin(self.instance, self.password)]

    def on_host(self) -> list[Resource]:
        return [OwnDatabase(self)]

    def learned(self) -> Mapping[str, str]:
        return {ADDRESS: self.instance.address(), AUTHORITY: self.instance.authority()}

    def secrets(self) -> dict[str, Callable[[], str]]:
        return {DATABASE_LOGIN: self.roles.first, DATABASE_ADMIN_PASSWORD: new_password}

    def address(self) -> str:
        if not self.private_address:
            raise NotReady("the database has no address yet", "selfhost bootstrap makes its instance")
        return f"postgresql://{ADMIN}@{self.private_address}:{PORT}/{NAME}"

    def password(self) -> str:
        return self.secret(DATABASE_ADMIN_PASSWORD)

    def faults(self) -> list[str]:
        return []  # its instance is the stack's own: there is nothing yet that could be unfit

    def require_rotatable(self) -> None:
        if not self.may_rotate():
            raise Blocked(f"{ADMIN!r} may no longer make roles in the database", "selfhost bootstrap gives it back")

    def admin(self) -> Login:
        """The given login, in a database that is there from the start."""
        return replace(self.given(), database="postgres")


def over_tls(authority: str) -> Tls | None:
    """What a connection to an instance must be.

    Args:
        authority: Certificates of those who may have issued the instance's, PEM; empty before it is made.
    """
    return Tls("verify-ca", authority) if authority else None


class AdminLogin(Resource):
    """The login that makes the roles and the database. Its password is not to be read at Google: it is set once.

    Args:
        password: What it is.
    """

    name = "database admin"
    needs = (SqlInstance.name, f"secret {DATABASE_ADMIN_PASSWORD}")

    def __init__(self, instance: SqlInstance, password: Callable[[], str]) -> None:
        self._instance, self._password = instance, password

    def find(self) -> Attributes | None:
        return {"login": ADMIN} if ADMIN in self._instance.users() else None

    def want(self) -> Attributes:
        return {"login": ADMIN}

    def apply(self, actual: Attributes | None, change: Change) -> None:
        self._instance.add_user(ADMIN, self._password())

    def delete(self) -> None:
        """It goes with its instance, as the roles and the database which it has made do."""


class OwnDatabase(Resource):
    """The database, the role which owns it, and the one the server logs in as."""

    name = "database"
    needs = ("home",)

    def __init__(self, database: SqlDatabase) -> None:
        self._database = database

    def find(self) -> Attributes | None:
        admin = self._database.admin()
        rows = sql.query(admin, FIND_MARK, NAME)
        if not rows:
            return None
        is_admitted = self._database.roles.is_admitted(admin, self._database.secret(DATABASE_LOGIN))
        return {"mark": rows[0][0], "login": is_admitted}

    def want(self) -> Attributes:
        return {"mark": self._database.mark(), "login": True}

    def check(self, actual: Attributes) -> None:
        # Not `require_ours`: it lies in the stack's own instance, whose label counts.
        self._database.refuse_other_mark(actual["mark"])

    def apply(self, actual: Attributes | None, change: Change) -> None:
        database, login = self._database, self._database.secret(DATABASE_LOGIN)
        database.roles.admit(database.admin(), login, attributes="CREATEDB")
        ownership.hold(database.admin(), database.roles, login)
        if actual is None:
            sql.command(database.admin(), "CREATE DATABASE %I OWNER %I", NAME, database.roles.owner)
        if actual is None or not actual["mark"]:
            self._mark()

    def _mark(self) -> None:
        with sql.session(self._database.login()) as marking:
            if not marking.value(_EMPTY):
                raise Blocked(f"the database {NAME!r} is not empty, and carries nobody's mark", "see who has filled it")
            marking.command("COMMENT ON DATABASE %I IS %L", NAME, self._database.mark())

    def delete(self) -> None:
        """It goes with its instance, of which Google keeps a final backup: dropped here, that would be empty."""
