"""A PostgreSQL that somebody else keeps, given by URL."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import tls
from tests.postgres import Cluster, running_cluster
from tests.stack import Stack, scratch
from tests.tls import TlsServer

pytestmark = pytest.mark.fault

PASSWORD = secrets.token_urlsafe(12) + "/@:%"
"""With what a URL would have to escape."""


SERVERS_LOGINS = """
SELECT DISTINCT usename FROM pg_stat_activity
WHERE datname = 'theirs' AND backend_type = 'client backend' AND pid <> pg_backend_pid()
"""


@dataclass(frozen=True)
class Given:
    """A stack to be made, and the database it is given."""

    stack: Stack
    cluster: Cluster
    spec: tuple[str, str]

    def rows(self, sql: str) -> list[object]:
        return [each[0] for each in self.cluster.execute(sql, "theirs")]

    def tables(self) -> list[object]:
        return self.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")

    def comment(self) -> object:
        return self.rows("SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = 'theirs'")[0]


@pytest.fixture
def given() -> Iterator[Given]:
    with running_cluster() as cluster, scratch("flt-") as stack:
        cluster.execute(f"CREATE ROLE app LOGIN PASSWORD '{PASSWORD}'")
        cluster.execute("CREATE DATABASE theirs OWNER app")
        password, spec = stack.folder / "password", stack.folder / "spec.toml"
        password.touch(mode=0o600)
        password.write_text(PASSWORD + "\n")
        url = f"postgresql://app@127.0.0.1:{cluster.port}/theirs"
        spec.write_text(f'[database]\nurl = "{url}"\npassword_file = "{password}"\n')
        yield Given(stack, cluster, ("--spec", str(spec)))


@pytest.fixture
def by_tls(given: Given) -> Iterator[TlsServer]:
    """The same database, asked for by TLS."""
    authority = tls.authority()
    (given.stack.folder / "authority.pem").write_text(authority.pem)
    spec = Path(given.spec[1])
    with tls.tls_before(given.cluster.port, authority.issue(given.stack.folder, "127.0.0.1")) as server:
        plain = spec.read_text().replace(f":{given.cluster.port}/", f":{server.port}/")
        lines = ['sslmode = "verify-full"', f'sslrootcert = "{given.stack.folder}/authority.pem"']
        spec.write_text("\n".join([plain, *lines]))
        yield server


def test_a_stack_on_a_given_database_with_a_login_as_cloud_sql_gives_one(given: Given, by_tls: TlsServer) -> None:
    stack = given.stack
    given.cluster.execute("CREATE ROLE keeper NOLOGIN")
    given.cluster.execute("GRANT keeper TO app")
    given.cluster.execute("ALTER ROLE app CREATEDB CREATEROLE")
    given.cluster.execute("ALTER DATABASE theirs OWNER TO keeper")
    first = stack.bootstrap(*given.spec)
    status = stack.status()
    assert status["healthy"] is True
    assert "postgres" not in {each["name"] for each in status["services"]}
    assert given.comment() == f"prefect-selfhost stack {stack.name} {stack.paths.identity()}"
    runs = "SELECT r.state_name FROM flow_run r JOIN flow f ON f.id = r.flow_id WHERE f.name = 'bootstrap'"
    assert given.rows(runs) == ["Completed"]
    assert stack.plan() == []
    assert "0 changes" in stack.bootstrap(*given.spec).stdout
    assert PASSWORD not in first.output
    for letter in "ab":
        told = stack.call("rotate", "database", *stack.where)
        assert told.status == 0, told.output
        assert given.rows(SERVERS_LOGINS) == [f"selfhost_{stack.name}_{(stack.paths.identity() or '')[:8]}_{letter}"]
    stack.run("backup")
    status = stack.status()
    assert status["healthy"] is True and stack.plan() == []
    given.cluster.execute("CREATE SCHEMA kept", "theirs")
    given.cluster.execute("CREATE TABLE kept.row AS SELECT 1 AS n", "theirs")
    stack.destroy()
    assert by_tls.calls > 5 and by_tls.heard_in_clear == [], "something was said before TLS"
    assert given.rows("SELECT rolname FROM pg_roles WHERE rolname LIKE 'selfhost_%'") == [], "roles of ours are left"
    assert given.tables() == [] and given.comment() is None
    assert given.rows("SELECT n FROM kept.row") == [1], "what is not in our schema was touched"
    assert stack.processes() == {} and not stack.home.exists()


@pytest.mark.rare
def test_its_password_is_changed_as_the_refused_rotation_says(given: Given) -> None:
    stack = given.stack
    stack.bootstrap(*given.spec)
    refused = stack.call("rotate", "database", *stack.where)
    assert refused.status == 1 and "not ours to change" in refused.output and "remove " in refused.output, (
        refused.output
    )
    stack.run("stop")
    another = secrets.token_urlsafe(12)
    given.cluster.execute(f"ALTER ROLE app PASSWORD '{another}'")
    (stack.folder / "password").write_text(another)
    for each in (stack.home / "secrets").glob("database-login*"):  # as the hint says
        each.unlink()
    stack.bootstrap(*given.spec)
    assert stack.status()["healthy"] is True
    assert stack.secret("database-login") == f"app:{another}"


def test_a_database_with_foreign_tables_is_refused_by_name(given: Given) -> None:
    given.cluster.execute("CREATE TABLE thesis AS SELECT 'years of work' AS text", "theirs")
    done = given.stack.call("bootstrap", *given.stack.where, *given.spec)
    assert done.status == 1 and "'theirs'" in done.stderr and "is not empty" in done.stderr, done.output
    assert "Traceback" not in done.output
    given.stack.call("destroy", *given.stack.where, "--yes")
    assert given.tables() == ["thesis"] and given.rows("SELECT text FROM thesis") == ["years of work"]
    assert given.comment() is None


def test_another_stacks_database_is_refused_by_its_mark(given: Given) -> None:
    stack, mark = given.stack, "prefect-selfhost stack another"
    given.cluster.execute("CREATE TABLE flow AS SELECT 'theirs' AS name", "theirs")
    given.cluster.execute("ALTER TABLE flow OWNER TO app", "theirs")
    given.cluster.execute(f"COMMENT ON DATABASE theirs IS '{mark}'", "theirs")
    done = stack.call("bootstrap", *stack.where, *given.spec)
    assert done.status == 1 and mark in done.stderr, done.output
    assert (given.comment(), given.rows("SELECT name FROM flow")) == (mark, ["theirs"])
    gone = stack.destroy()
    assert f"database was left as it is: the database is not ours: its comment is '{mark}'" in gone.stdout
    assert (given.comment(), given.rows("SELECT name FROM flow")) == (mark, ["theirs"])
    assert stack.processes() == {} and not stack.home.exists()


def test_a_password_that_is_wrong_is_said(given: Given) -> None:
    (given.stack.folder / "password").write_text("wrong")
    done = given.stack.call("bootstrap", *given.stack.where, *given.spec)
    assert done.status == 1 and "password authentication failed" in done.stderr, done.output
    assert "Traceback" not in done.output


def test_a_lost_home_is_made_again_with_its_store_and_database(given: Given) -> None:
    """The host burned down; the store, on another disk, and the database did not."""
    stack, store, key = given.stack, given.stack.folder / "store", given.stack.folder / "key"
    spec = Path(given.spec[1])
    spec.write_text(f'{spec.read_text()}[local]\nstore = "{store}"\n')
    stack.bootstrap(*given.spec)
    identity, before = stack.paths.identity(), given.rows("SELECT count(*) FROM flow_run")[0]
    key.touch(mode=0o600)
    key.write_text(stack.secret("encryption-key"))
    stack.run("stop")
    shutil.rmtree(stack.home)
    refused = stack.call("bootstrap", *stack.where, *given.spec)
    assert refused.status == 1 and "the home was lost" in refused.stderr and "secrets/encryption-key" in refused.stderr
    again = stack.bootstrap(*given.spec, "--encryption-key-file", str(key))
    assert "temporary server started" not in again.steps
    assert stack.paths.identity() == identity
    assert given.comment() == f"prefect-selfhost stack {stack.name} {identity}"
    assert given.rows(f"SELECT count(*) >= {before} FROM flow_run") == [True]
    assert stack.status()["healthy"] is True
    stack.destroy()
    assert not stack.home.exists() and (store / "ledger/identity").exists()
    shutil.rmtree(store)
