"""PostgreSQL of our own on this machine: a cluster in the home folder, run as a service."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from blocks.agent.spec import Health, Service
from blocks.errors import NotReady
from blocks.host.home import Home
from blocks.host.secret_files import DATABASE_ADMIN_PASSWORD, DATABASE_LOGIN, new_password
from blocks.postgres import content, programs, sql, swap
from blocks.postgres.connection import Login
from blocks.postgres.database import PostgresDatabase
from blocks.postgres.login import Roles, parts
from blocks.postgres.programs import ADMIN, DATABASE, OWNER, Cluster
from blocks.resource import Attributes, Change, Resource
from blocks.services import StopLevel
from blocks.waiting import wait_until

ROLES = Roles(OWNER)
_FIND = """
SELECT pg_get_userbyid(datdba), shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = $1
"""


@dataclass(frozen=True, kw_only=True)
class ClusterDatabase(PostgresDatabase):
    """A database of our own cluster.

    Attributes:
        port: Loopback port of our PostgreSQL.
        version: Its version, for people.
        user: System user it runs as; empty for the one who runs us.
    """

    port: int
    version: str = ""
    user: str = ""

    def on_host(self) -> list[Resource]:
        return [ClusterResource(self), RoleAndDatabase(self)]

    def secrets(self) -> dict[str, Callable[[], str]]:
        return {DATABASE_LOGIN: ROLES.first, DATABASE_ADMIN_PASSWORD: new_password}

    def services(self, release: Path) -> list[Service]:
        return [
            Service(
                name="postgres",
                version=self.version,
                argv=self.cluster(programs.programs(release)).argv(),
                user=self.user,
                stop_signal="SIGINT",  # a fast shutdown; SIGTERM would wait for every client to leave
                stop_timeout=60.0,
                stop_level=StopLevel.DATABASE,
                health=Health("tcp", port=self.port),
            )
        ]

    def faults(self) -> list[str]:
        return []

    def connection_url(self, login: str = DATABASE_LOGIN) -> str:
        return f"postgresql+asyncpg://${{secret:{login}}}@127.0.0.1:{self.port}/{self.database or DATABASE}"

    def require_rotatable(self) -> None:
        pass  # the cluster's roles are ours

    def new_login(self) -> str:
        return ROLES.successor(self.secret(DATABASE_LOGIN))

    def admit(self, login: str) -> None:
        ROLES.admit(self.admin(), login)

    def refuse_others(self, login: str) -> str:
        ROLES.refuse_others(self.admin(), login)
        return ""

    def size(self) -> int:
        with sql.session(self.login()) as session:
            return content.size(session)

    def require_replaceable(self) -> None:
        pass  # the cluster's superuser makes and renames its databases

    def make(self, maker: Login, name: str) -> None:
        sql.command(maker, "CREATE DATABASE %I OWNER %I", name, OWNER)

    def login_of(self, value: str) -> Login:
        return Login("127.0.0.1", self.port, *parts(value), self.database or DATABASE)

    def maker(self) -> Login:
        return self.admin()

    def admin(self) -> Login:
        """The superuser's login. It enters no database where others make functions: it might call one."""
        return Login("127.0.0.1", self.port, ADMIN, self.secret(DATABASE_ADMIN_PASSWORD), "postgres")

    def cluster(self, bin_folder: Path | None = None) -> Cluster:
        return Cluster(bin_folder or self.programs, Home(self.home).postgres, self.port, self.user)


class ClusterResource(Resource):
    """The data folder of our own PostgreSQL."""

    name = "database cluster"

    def __init__(self, database: ClusterDatabase) -> None:
        user = ("system user",) if database.user else ()
        self.needs = ("home", f"secret {DATABASE_ADMIN_PASSWORD}", *user)
        self._database = database

    def find(self) -> Attributes | None:
        return {"initialised": True} if self._database.cluster().exists() else None

    def want(self) -> Attributes:
        return {"initialised": True}

    def apply(self, actual: Attributes | None, change: Change) -> None:
        self._database.cluster().initialise(self._database.secret(DATABASE_ADMIN_PASSWORD))

    def delete(self) -> None:
        shutil.rmtree(self._database.cluster().folder)


class RoleAndDatabase(Resource):
    """The database, the role which owns it, and the one the server logs in as."""

    name = "database"
    needs = ("home", "host services", f"secret {DATABASE_LOGIN}", f"secret {DATABASE_ADMIN_PASSWORD}")

    def __init__(self, database: ClusterDatabase) -> None:
        self._database = database

    def find(self) -> Attributes | None:
        if not self._database.cluster().exists():
            return None
        try:
            rows = sql.query(self._database.admin(), _FIND, DATABASE)
            if not rows:
                return None
            owner, mark = rows[0]
            return {"owner": owner, "mark": mark, "login": ROLES.is_admitted(self._database.admin(), self._login())}
        except NotReady:
            return None  # PostgreSQL does not run yet, or no longer; what it holds stays as it is

    def want(self) -> Attributes:
        return {"owner": OWNER, "mark": self._database.mark(), "login": True}

    def check(self, actual: Attributes) -> None:
        # Not `require_ours`: it lies in our own cluster, and that is removed with the home, whose mark counts.
        self._database.refuse_other_mark(actual["mark"])

    def apply(self, actual: Attributes | None, change: Change) -> None:
        admin = self._database.admin()
        wait_until(lambda: sql.query(admin, "SELECT 1"), "PostgreSQL accepting connections", timeout=60, every=0.1)
        self._database.admit(self._login())
        if self.find() is None:  # it may only not have been seen, while PostgreSQL was starting
            self._database.make(admin, DATABASE)
        sql.command(admin, "COMMENT ON DATABASE %I IS %L", DATABASE, self._database.mark())

    def delete(self) -> None:
        swap.drop(self._database.admin(), DATABASE)

    def _login(self) -> str:
        return self._database.secret(DATABASE_LOGIN)
