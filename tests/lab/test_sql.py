"""An SQL instance of the lab, by Google's own clients and asyncpg: TLS, roles, flags, backups, copies, deletion.

The tests follow each other on one instance, which the last one deletes.
Sources: https://cloud.google.com/sql/docs/postgres/users, https://cloud.google.com/sql/docs/postgres/authorize-ssl,
https://cloud.google.com/sql/docs/postgres/flags, https://cloud.google.com/sql/docs/postgres/backup-recovery/backups.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from google.api_core.exceptions import InvalidArgument

from tests.lab.cloud import Lab
from tests.lab.sql_network import namespaces
from tests.tls import authority
from tests.unit.emulator.conftest import Emulated
from tests.unit.emulator.sql import ENTERPRISE, Grpc, connected, network_with_range

pytestmark = [pytest.mark.lab, pytest.mark.rare]

PROJECT = "databases"
PASSWORD = "of postgres"
PRIVATE = {"ipv4_enabled": False, "ssl_mode": "ENCRYPTED_ONLY"}


@dataclass(frozen=True)
class Instance:
    """One by its name, for callers who have its address, its CA and a login."""

    sql: Grpc
    name: str = "db"

    def of(self, **more: Any) -> dict[str, Any]:
        return {"project": self.sql.google.project, "instance": self.name, **more}

    def done(self, operation: Any) -> Any:
        """An operation that has ended well."""
        while operation.status.name != "DONE":
            time.sleep(0.02)
            request = {"project": self.sql.google.project, "operation": operation.name}
            operation = self.sql.operations.get(request=request)
        assert not operation.error.errors, operation.error
        return operation

    def patch(self, **settings: Any) -> None:
        self.done(self.sql.instances.patch(request=self.of(body={"settings": settings})))

    @property
    def address(self) -> str:
        (found,) = self.sql.read(self.name).ip_addresses
        return str(found.ip_address)

    @contextmanager
    def session(
        self, user: str = "postgres", password: str = PASSWORD, database: str = "postgres", ca: str | None = None
    ) -> Iterator[Session]:
        """Connect with verify-ca under the CA that the API shows, or another one; in clear with an empty one."""
        context: ssl.SSLContext | bool = False
        if ca != "":
            context = ssl.create_default_context(cadata=ca or self.sql.read(self.name).server_ca_cert.cert)
            context.check_hostname = False
        with asyncio.Runner() as runner:
            where = {"host": self.address, "user": user, "password": password, "database": database}
            connection = runner.run(asyncpg.connect(**where, ssl=context, timeout=10))
            try:
                yield Session(runner, connection)
            finally:
                runner.run(connection.close())


@dataclass(frozen=True)
class Session:
    """One connection, each statement a transaction of its own."""

    runner: asyncio.Runner
    connection: asyncpg.Connection

    def ask(self, statement: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in self.runner.run(self.connection.fetch(statement))]

    def one(self, statement: str) -> Any:
        ((value,),) = self.ask(statement)
        return value


@pytest.fixture(scope="module")
def db(lab: Lab) -> Instance:
    google = Emulated(lab.cloud, lab.address, PROJECT, lab.cloud.add_project(PROJECT, ("all",)))
    network = network_with_range(google)
    connected(google, network)
    made = Instance(Grpc(google))
    began = time.monotonic()
    settings: dict[str, Any] = ENTERPRISE | {"ip_configuration": PRIVATE | {"private_network": network}}
    settings["database_flags"] = [{"name": "cloudsql.enable_pgaudit", "value": "on"}]
    settings["backup_configuration"] = {"enabled": True, "point_in_time_recovery_enabled": True}
    body = {"name": "db", "database_version": "POSTGRES_18", "region": "europe-west1", "root_password": PASSWORD}
    made.done(made.sql.instances.insert(request={"project": PROJECT, "body": body | {"settings": settings}}))
    print(f"an instance is there after {time.monotonic() - began:.1f} s")
    return made


def test_it_is_used_by_tls_under_the_ca_that_the_api_shows(db: Instance) -> None:
    (ca,) = db.sql.instances.list_server_cas(request=db.of()).certs
    with db.session(ca=ca.cert) as session:
        assert session.one("SHOW server_version_num").startswith("18")
        assert session.one("SHOW max_connections") == "400"
        assert session.one("SHOW cloudsql.enable_pgaudit") == "on"


def test_in_clear_and_under_another_ca_nobody_gets_in(db: Instance) -> None:
    with pytest.raises((asyncpg.ConnectionDoesNotExistError, ConnectionError)), db.session(ca=""):
        pass
    with pytest.raises(ssl.SSLCertVerificationError), db.session(ca=authority("another").pem):
        pass
    with pytest.raises(asyncpg.InvalidPasswordError), db.session(password="wrong"):
        pass
    with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError), db.session("cloudsqladmin", ""):
        pass


def test_users_of_the_api_are_no_superusers(db: Instance) -> None:
    db.done(db.sql.users.insert(request=db.of(body={"name": "app", "password": "one"})))
    query = """SELECT rolname::text, rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolcanlogin
               FROM pg_roles WHERE rolname IN ('app', 'postgres', 'cloudsqlsuperuser') ORDER BY 1"""
    with db.session("app", "one") as session:
        names = ("app", "cloudsqlsuperuser", "postgres")
        assert session.ask(query) == [(name, False, True, True, False, True) for name in names]
        assert session.one(
            "SELECT pg_has_role('cloudsqlsuperuser', 'SET') AND pg_has_role('pg_signal_backend', 'USAGE')"
        )
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            session.ask("SELECT pg_read_file('/etc/passwd')")
    db.done(db.sql.users.update(request=db.of(name="app", body={"password": "two"})))
    with pytest.raises(asyncpg.InvalidPasswordError), db.session("app", "one"):
        pass


def test_roles_that_they_make_have_what_postgresql_gives_them(db: Instance) -> None:
    with db.session("app", "two") as session:
        session.ask("CREATE ROLE owners NOLOGIN CREATEDB")
        session.ask("CREATE ROLE member LOGIN PASSWORD 'three' IN ROLE owners")
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="must be able to SET ROLE"):
            session.ask("CREATE DATABASE theirs OWNER owners")
        session.ask("GRANT owners TO app WITH SET TRUE, INHERIT FALSE")
        session.ask("CREATE DATABASE theirs OWNER owners")
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied to grant role"):
            session.ask("GRANT cloudsqlsuperuser TO member")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            session.ask("ALTER ROLE member SUPERUSER")
    with db.session("member", "three", "theirs") as session:
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied to create database"):
            session.ask("CREATE DATABASE another")  # the attribute of a role is not its members'
        session.ask("SET ROLE owners")
        session.ask("CREATE EXTENSION pg_trgm")
        session.ask("CREATE DATABASE another")
    with db.session("app", "two") as session:
        session.ask("SET ROLE owners")
        session.ask("DROP DATABASE another")


def test_one_ends_another_s_session(db: Instance) -> None:
    with db.session() as victim, db.session("app", "two") as session:
        pid = victim.one("SELECT pg_backend_pid()")
        assert session.one(f"SELECT pg_terminate_backend({pid}, 5000)")
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)):
            victim.ask("SELECT 1")


def test_a_database_of_the_api_belongs_to_the_group_and_goes_when_nobody_uses_it(db: Instance) -> None:
    db.done(db.sql.databases.insert(request=db.of(body={"name": "data"})))
    delete = db.of(database="data")
    with db.session(database="data") as session:
        owner = "SELECT pg_get_userbyid(datdba)::text FROM pg_database WHERE datname = current_database()"
        assert session.one(owner) == "cloudsqlsuperuser"
        with pytest.raises(InvalidArgument, match='database "data" is being accessed by other users'):
            db.sql.databases.delete(request=delete)
    with db.session("app", "two", "data") as session:
        session.ask("CREATE TABLE public.kept AS SELECT n FROM generate_series(1, 1000) n")
    with pytest.raises(InvalidArgument, match="1 object in database data"):
        db.sql.users.delete(request=db.of(name="app"))


def test_a_copy_is_of_the_same_content_and_its_own_ca(db: Instance) -> None:
    began = time.monotonic()
    clone = {"destination_instance_name": "copy"}
    db.done(db.sql.instances.clone(request=db.of(body={"clone_context": clone})))
    print(f"a clone is there after {time.monotonic() - began:.1f} s")
    copy = Instance(db.sql, "copy")
    assert copy.address != db.address
    with copy.session("app", "two", "data") as session:
        assert session.one("SELECT count(*) FROM kept") == 1000
        session.ask("DROP TABLE kept")
    ca = db.sql.read().server_ca_cert.cert
    with pytest.raises(ssl.SSLCertVerificationError), copy.session(ca=ca):
        pass
    copy.done(db.sql.instances.delete(request=copy.of()))


def test_what_is_damaged_is_had_again_as_of_the_moment_before(db: Instance) -> None:
    with db.session("app", "two", "data") as session:
        moment = session.one("SELECT clock_timestamp()")
        session.ask("CREATE TABLE later AS SELECT * FROM kept")
        session.ask("UPDATE kept SET n = n + 1")
    db.done(db.sql.databases.insert(request=db.of(body={"name": "later"})))
    began = time.monotonic()
    clone = {"destination_instance_name": "before", "point_in_time": moment}
    db.done(db.sql.instances.clone(request=db.of(body={"clone_context": clone})))
    print(f"recovered to a moment in {time.monotonic() - began:.1f} s")
    before = Instance(db.sql, "before")
    with before.session("app", "two", "data") as session:
        assert session.one("SELECT sum(n) FROM kept") == 500_500
        assert session.one("SELECT to_regclass('later') IS NULL")
    assert "later" not in {each.name for each in db.sql.databases.list(request=before.of()).items}
    before.done(db.sql.instances.delete(request=before.of()))
    with db.session("app", "two", "data") as session:
        session.ask("UPDATE kept SET n = n - 1")
    db.done(db.sql.databases.delete(request=db.of(database="later")))


def test_what_is_damaged_comes_back_from_a_backup(db: Instance) -> None:
    run = db.done(db.sql.runs.insert(request=db.of(body={}))).backup_context.backup_id
    with db.session("app", "two", "data") as session:
        session.ask("UPDATE kept SET n = 0")
    db.done(db.sql.databases.insert(request=db.of(body={"name": "later"})))
    context = {"backup_run_id": run, "instance_id": "db"}
    began = time.monotonic()
    db.done(db.sql.instances.restore_backup(request=db.of(body={"restore_backup_context": context})))
    print(f"restored in {time.monotonic() - began:.1f} s")
    with db.session("app", "two", "data") as session:
        assert session.one("SELECT sum(n) FROM kept") == 500_500
        assert session.one("SELECT count(*) FROM pg_database WHERE datname = 'later'") == 0


def test_flags_and_the_machine_type_have_an_effect(db: Instance) -> None:
    flags = {"log_statement": "ddl", "log_min_duration_statement": "250"}
    with db.session() as session:
        db.patch(database_flags=[{"name": name, "value": value} for name, value in flags.items()])
        assert session.one("SELECT 1") == 1  # nothing was restarted
    with db.session() as session:
        assert session.one("SHOW log_statement") == "ddl"
    db.patch(tier="db-g1-small")
    with db.session() as session:
        assert session.one("SHOW max_connections") == "50"
    db.patch(database_flags=[{"name": "max_connections", "value": "77"}])
    with db.session() as session:
        assert (session.one("SHOW max_connections"), session.one("SHOW log_statement")) == ("77", "none")


def test_it_stops_starts_and_restarts(db: Instance) -> None:
    with db.session() as session:
        started = session.one("SELECT pg_postmaster_start_time()")
    db.patch(activation_policy="NEVER")
    with pytest.raises(OSError), db.session():
        pass
    db.patch(activation_policy="ALWAYS")
    db.done(db.sql.instances.restart(request=db.of()))
    with db.session("app", "two", "data") as session:
        assert session.one("SELECT pg_postmaster_start_time()") > started
        assert session.one("SELECT count(*) FROM kept") == 1000


def test_its_ca_is_rotated(db: Instance) -> None:
    old = db.sql.read().server_ca_cert.cert
    db.done(db.sql.instances.add_server_ca(request=db.of()))
    both = "".join(f"{each.cert}\n" for each in db.sql.instances.list_server_cas(request=db.of()).certs)
    with db.session(ca=both) as lasting:
        db.done(db.sql.instances.rotate_server_ca(request=db.of()))
        with pytest.raises(ssl.SSLCertVerificationError), db.session(ca=old):
            pass
        with db.session(ca=both) as session, db.session() as another:
            assert (lasting.one("SELECT 1"), session.one("SELECT 1"), another.one("SELECT 1")) == (1, 1, 1)


def test_nothing_is_left_of_it(db: Instance, lab: Lab) -> None:
    (namespace,) = namespaces(lab.mine("sql-"))
    folder = f"{lab.mine('sql-')}*/{namespace.rpartition('-')[2]}"
    assert len(list(Path("/tmp").glob(folder))) == 1
    db.done(db.sql.instances.delete(request=db.of()))
    assert namespaces(namespace) == [] and list(Path("/tmp").glob(folder)) == []
