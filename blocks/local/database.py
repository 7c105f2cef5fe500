"""PostgreSQL on this machine: our own cluster as a service, or one that is already there."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote, urlsplit

from blocks.agent.spec import Health, Service
from blocks.database import SAMPLED_BLOCKS, Content, Database, Vitals
from blocks.errors import Blocked, NotReady
from blocks.host import secret_files
from blocks.host.home import Home
from blocks.host.secret_files import DATABASE_ADMIN_PASSWORD, DATABASE_LOGIN, new_password
from blocks.postgres import login as database_login
from blocks.postgres import programs as postgres
from blocks.postgres.programs import ADMIN, DATABASE, OWNER, Cluster, Login
from blocks.postgres.swap import Place
from blocks.resource import Attributes, Change, Resource
from blocks.services import StopLevel
from blocks.waiting import wait_until

MARK = "prefect-selfhost stack "
"""Start of the database's comment: the ownership mark, followed by the stack's name and its home's identity."""
LARGEST = 8
"""Tables a report names."""
_REVISION = "SELECT version_num FROM alembic_version"
_BLOCKS = f"""
WITH block AS (SELECT id, created, updated, data #>> '{{}}' AS stored FROM block_document
               WHERE jsonb_typeof(data) = 'string')
(SELECT id, stored FROM block ORDER BY created LIMIT {SAMPLED_BLOCKS})
UNION (SELECT id, stored FROM block ORDER BY updated DESC LIMIT {SAMPLED_BLOCKS})
"""
_MAY_REPLACE = """
SELECT (rolcreatedb OR rolsuper) AND pg_has_role(datdba, 'USAGE')
FROM pg_roles, pg_database WHERE rolname = current_user AND datname = :'name'
"""
_SCRATCHES = "SELECT datname FROM pg_database WHERE starts_with(datname, :'prefix')"
_HAS_REVISION = "SELECT to_regclass('public.alembic_version') IS NOT NULL"


@dataclass(frozen=True)
class LocalDatabase(Database):
    """A database of our own cluster; with `url`, one in a PostgreSQL that somebody else keeps."""

    stack: str
    """Name of the stack."""
    home: Path
    """The stack's home folder."""
    programs: Path
    """Folder with PostgreSQL's programs."""
    port: int
    """Loopback port of our own PostgreSQL."""
    version: str = ""
    """Version of our own PostgreSQL, for people."""
    user: str = ""
    """System user our own PostgreSQL runs as; empty for the one who runs us."""
    url: str | None = None
    """postgresql://user@host:port/database of one that is already there."""
    password_file: Path | None = None
    """File with the password for `url`."""
    database: str = ""
    """Another database of the same server, such as a scratch one."""

    def on_host(self) -> list[Resource]:
        if self.url:
            return [ExternalDatabase(self)]
        return [ClusterResource(self), RoleAndDatabase(self)]

    def secrets(self) -> dict[str, Callable[[], str]]:
        if self.url:
            return {DATABASE_LOGIN: self._given_login}
        return {DATABASE_LOGIN: database_login.first, DATABASE_ADMIN_PASSWORD: new_password}

    def services(self, release: Path) -> list[Service]:
        if self.url:
            return []
        cluster = self.cluster(postgres.programs(release))
        return [
            Service(
                name="postgres",
                version=self.version,
                argv=cluster.argv(),
                user=self.user,
                stop_signal="SIGINT",  # a fast shutdown; SIGTERM would wait for every client to leave
                stop_timeout=60.0,
                stop_level=StopLevel.DATABASE,
                health=Health("tcp", port=self.port),
            )
        ]

    def connection_url(self, login: str = DATABASE_LOGIN) -> str:
        secret = f"${{secret:{login}}}"
        if self.url:
            parts = urlsplit(self.url)
            path = f"/{quote(self.database)}" if self.database else parts.path
            return f"postgresql+asyncpg://{secret}@{parts.netloc.split('@')[1]}{path}"
        return f"postgresql+asyncpg://{secret}@127.0.0.1:{self.port}/{self.database or DATABASE}"

    def new_login(self) -> str:
        if self.url:
            raise Blocked(
                "the database is kept by somebody else, its roles are not ours to change",
                f"selfhost stop; change the password there and in {self.password_file}; "
                f"remove {Home(self.home).secrets / DATABASE_LOGIN}*; selfhost bootstrap",
            )
        return database_login.successor(self.secret(DATABASE_LOGIN))

    def admit(self, login: str) -> None:
        database_login.admit(self.programs, self.admin(), login)

    def refuse_others(self, login: str) -> None:
        database_login.refuse_others(self.programs, self.admin(), login)

    def mark(self) -> str:
        """The comment of a database of this stack: another home with a stack of the same name is another stack."""
        return f"{MARK}{self.stack} {Home(self.home).identity() or 'without a home'}"

    def schema_revision(self, seen: str = "") -> str | None:
        if postgres.query(self.programs, self.login(), postgres.at(seen) + _HAS_REVISION) == [["f"]]:
            return None
        rows = postgres.query(self.programs, self.login(), postgres.at(seen) + _REVISION)
        return rows[0][0] if rows else None

    def row_counts(self) -> dict[str, int]:
        return postgres.row_counts(self.programs, self.login())

    def vitals(self) -> Vitals:
        where = (self.programs, self.login())
        size = postgres.query(*where, "SELECT pg_database_size(current_database())")
        return Vitals(
            size=int(size[0][0]),
            tables=dict(list(postgres.sizes(*where).items())[:LARGEST]),
            invalid_indexes=tuple(postgres.invalid_indexes(*where)),
            long_transactions=tuple(postgres.long_transactions(*where)),
        )

    def content(self, expected: Mapping[str, int] | None = None, seen: str = "") -> Content:
        where = (self.programs, self.login())
        found = postgres.contents(*where, postgres.row_counts(*where, seen) if expected is None else expected, seen)
        rows = {name: count for name, (count, _) in found.items()}
        return Content(self.schema_revision(seen), rows, {name: digest for name, (_, digest) in found.items()})

    def encrypted_blocks(self) -> list[str]:
        return [stored for _, stored in postgres.query(self.programs, self.login(), _BLOCKS)]

    def dump(self, target: Path) -> Content:
        with postgres.snapshot(self.programs, self.login()) as seen, ThreadPoolExecutor(1) as beside:
            content = beside.submit(self.content, seen=seen)
            postgres.dump(self.programs, self.login(), target, seen)
            return content.result()

    @contextmanager
    def scratch(self, name: str) -> Iterator[LocalDatabase]:
        maker = self.login() if self.url else self.admin()
        drop, make = 'DROP DATABASE IF EXISTS :"name" WITH (FORCE)', 'CREATE DATABASE :"name" OWNER :"owner"'
        for (left,) in postgres.query(self.programs, maker, _SCRATCHES, {"prefix": f"{name}-"}):
            postgres.query(self.programs, maker, drop, {"name": left})
        variables = {"name": f"{name}-{uuid.uuid4().hex[:8]}", "owner": self.login().user if self.url else OWNER}
        postgres.query(self.programs, maker, make, variables)
        try:
            yield replace(self, database=variables["name"])
        finally:
            postgres.query(self.programs, maker, drop, variables)

    def restore(self, source: Path, keep_open: tuple[int, ...] = (), jobs: int = 1) -> None:
        postgres.restore(self.programs, self.login(), source, keep_open, jobs)

    def size(self) -> int:
        found = postgres.query(self.programs, self.login(), "SELECT pg_database_size(current_database())")
        return 0 if self.url else int(found[0][0])

    def require_replaceable(self) -> None:
        if not self.url:
            return
        role, name = self.login().user, self.login().database
        try:
            may = postgres.query(self.programs, self._place().maker, _MAY_REPLACE, {"name": name})
        except NotReady as error:
            raise Blocked(f"{error.what}: renaming {name!r} takes a connection to the database postgres") from error
        if may != [["t"]]:
            raise Blocked(
                f"the role {role!r} may not make databases, or does not own {name!r}",
                f'as a superuser: ALTER ROLE "{role}" CREATEDB; ALTER DATABASE "{name}" OWNER TO "{role}"',
            )

    @contextmanager
    def beside(self) -> Iterator[LocalDatabase]:
        place = self._place()
        place.make_beside()
        try:
            yield replace(self, database=place.beside)
        finally:
            place.drop_beside()

    def swap(self, label: str) -> str:
        self._place().swap(label)
        return self._place().kept(label)

    def kept(self) -> dict[str, int]:
        return self._place().all_kept()

    def drop_kept(self, name: str) -> None:
        self._place().drop_kept(name)

    def _place(self) -> Place:
        # Not from within the database itself: it could not be renamed.
        maker = replace(self.login(), database="postgres") if self.url else self.admin()
        return Place(self.programs, maker, self.login().database, self.mark())

    def cluster(self, programs: Path | None = None) -> Cluster:
        return Cluster(programs or self.programs, Home(self.home).postgres, self.port, self.user)

    def clients(self) -> Path:
        """PostgreSQL's client programs: the wanted ones, or those of another release while these are not installed."""
        others = (postgres.programs(each) for each in sorted(Home(self.home).releases.glob("tools-*")))
        return next((each for each in (self.programs, *others) if each.exists()), self.programs)

    def secret(self, name: str) -> str:
        return secret_files.read(Home(self.home).secrets, name)

    def login(self) -> Login:
        """The login which acts as the database's owner."""
        user, password = database_login.parts(self.secret(DATABASE_LOGIN))
        if not self.url:
            return Login("127.0.0.1", self.port, user, password, self.database or DATABASE)
        parts = urlsplit(self.url)
        return Login(parts.hostname or "", parts.port or 5432, user, password, self.database or parts.path[1:])

    def _given_login(self) -> str:
        """User and password of a PostgreSQL that is already there, fit for a URL."""
        user = urlsplit(self.url or "").username
        try:
            return f"{user}:{quote(Path(self.password_file or '').read_text('utf-8').strip(), '')}"
        except OSError as error:
            raise Blocked(f"database.password_file {self.password_file}: {error.strerror}") from error

    def admin(self, database: str = "postgres") -> Login:
        """The superuser's login to our own cluster."""
        return Login("127.0.0.1", self.port, ADMIN, self.secret(DATABASE_ADMIN_PASSWORD), database)


class ClusterResource(Resource):
    """The data folder of our own PostgreSQL."""

    name = "database cluster"

    def __init__(self, database: LocalDatabase) -> None:
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
    needs = ("host services", f"secret {DATABASE_LOGIN}")

    def __init__(self, database: LocalDatabase) -> None:
        self._database = database

    def find(self) -> Attributes | None:
        if not self._database.cluster().exists():
            return None
        sql = (
            "SELECT pg_get_userbyid(datdba), shobj_description(oid, 'pg_database') "
            "FROM pg_database WHERE datname = :'database'"
        )
        try:
            rows = self._query(sql)
        except NotReady:
            return None  # PostgreSQL does not run yet, or no longer; what it holds stays as it is
        if not rows:
            return None
        admitted = database_login.is_admitted(self._database.clients(), self._database.admin(), self._login())
        return {"owner": rows[0][0], "mark": rows[0][1], "login": admitted}

    def want(self) -> Attributes:
        return {"owner": OWNER, "mark": self._database.mark(), "login": True}

    def check(self, actual: Attributes) -> None:
        # Not `require_ours`: it lies in our own cluster, and that is removed with the home, whose mark counts.
        _refuse_other_mark(actual["mark"], self._database)

    def apply(self, actual: Attributes | None, change: Change) -> None:
        wait_until(lambda: self._query("SELECT 1"), "PostgreSQL accepting connections", timeout=60, every=0.1)
        self._database.admit(self._login())
        if self.find() is None:  # it may only not have been seen, while PostgreSQL was starting
            self._query('CREATE DATABASE :"database" OWNER :"owner"')
        self._query("COMMENT ON DATABASE :\"database\" IS :'mark'")

    def delete(self) -> None:
        self._query('DROP DATABASE IF EXISTS :"database" WITH (FORCE)')

    def _login(self) -> str:
        return self._database.secret(DATABASE_LOGIN)

    def _query(self, sql: str) -> list[list[str]]:
        database = self._database
        variables = {
            "database": DATABASE,
            "owner": OWNER,
            "mark": database.mark(),
        }
        return postgres.query(database.clients(), database.admin(), sql, variables)


class ExternalDatabase(Resource):
    """A database somebody else keeps: ours by its comment, or empty and taken over."""

    name = "database"
    needs = ("home", f"secret {DATABASE_LOGIN}")

    def __init__(self, database: LocalDatabase) -> None:
        self._database = database

    def find(self) -> Attributes | None:
        if DATABASE_LOGIN not in secret_files.names(Home(self._database.home).secrets):
            return None
        sql = "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = current_database()"
        rows = postgres.query(self._database.programs, self._database.login(), sql)
        return {"mark": rows[0][0]} if rows and rows[0][0] else None

    def want(self) -> Attributes:
        return {"mark": self._database.mark()}

    def require_ours(self, actual: Attributes) -> None:
        _refuse_other_mark(actual["mark"], self._database)

    def apply(self, actual: Attributes | None, change: Change) -> None:
        tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
        login = self._database.login()
        if postgres.query(self._database.programs, login, tables) != [["0"]]:
            raise Blocked(f"the database {login.database!r} at {login.host} is not empty", "give an empty one")
        variables = {"database": login.database, "mark": self._database.mark()}
        postgres.query(self._database.programs, login, "COMMENT ON DATABASE :\"database\" IS :'mark'", variables)

    def delete(self) -> None:
        """Empty it and take the mark off; it is looked at once more, as what is dropped here cannot be had back.

        Raises:
            Blocked: it does not carry our mark.
        """
        login = self._database.login()
        if self.find() != self.want():
            raise Blocked(f"the database {login.database!r} does not carry our mark any more", "nothing was dropped")
        sql = 'DROP SCHEMA public CASCADE; CREATE SCHEMA public; COMMENT ON DATABASE :"database" IS NULL'
        for name in self._database.kept():
            self._database.drop_kept(name)
        postgres.query(self._database.programs, login, sql, {"database": login.database})


def _refuse_other_mark(mark: object, database: LocalDatabase) -> None:
    if mark not in (None, "", database.mark()):
        raise Blocked(f"the database is not ours: its comment is {mark!r}", "choose another database or --home")
