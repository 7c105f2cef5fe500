"""Every database behaves the same, on a real PostgreSQL; written from the port's docstrings."""

from __future__ import annotations

import os
import re
import shutil
import signal
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from blocks.agent.spec import HostSpec
from blocks.agent.validation import faults
from blocks.database import Database
from blocks.errors import Blocked, NotReady
from blocks.local.database import LocalDatabase
from blocks.local.secret_store import LocalSecretStore
from blocks.postgres import programs as postgres
from blocks.resource import Apply, Resource, visit, visit_to_delete
from tests.postgres import OWNER, SYSTEM_USER, Cluster, free_port, reachable_programs

CONTENT = """\
CREATE TABLE public.alembic_version (version_num text);
INSERT INTO public.alembic_version VALUES ('0f17b2');
CREATE TABLE public.flow (id int primary key, name text);
INSERT INTO public.flow SELECT n, 'flow ' || n FROM generate_series(1, 1000) n;
CREATE TABLE public."Odd ""name" (x int);
"""


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder which PostgreSQL's own user can pass through."""
    path = Path(tempfile.mkdtemp(prefix="sh-"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def programs(folder: Path) -> Path:
    return reachable_programs(folder)


@pytest.fixture
def home(folder: Path) -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="home-", dir=folder))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path)


def secrets_of(database: LocalDatabase) -> None:
    for name, make in database.secrets().items():
        LocalSecretStore(folder=database.home / "secrets").ensure(name, make)


@pytest.fixture(scope="module")
def own_cluster(folder: Path, programs: Path) -> Iterator[LocalDatabase]:
    """A cluster of our own, started as the service it is on a host; it holds no database of ours yet."""
    user = SYSTEM_USER if os.geteuid() == 0 else ""
    database = LocalDatabase(stack="trial", home=folder, programs=programs, port=free_port(), user=user)
    secrets_of(database)
    visit(named(database, "database cluster"), Apply())
    process = database.cluster().start(folder / "postgres.log")
    yield database
    process.send_signal(signal.SIGINT)
    process.wait(30)


@pytest.fixture
def own(own_cluster: LocalDatabase) -> Iterator[LocalDatabase]:
    """An empty database in a cluster of our own."""
    visit(named(own_cluster, "database"), Apply())
    yield own_cluster
    visit_to_delete(named(own_cluster, "database"), Apply())


@pytest.fixture
def external(home: Path, programs: Path, cluster: Cluster) -> Iterator[LocalDatabase]:
    """An empty database in a PostgreSQL which somebody else keeps."""
    name = home.name
    cluster.create_database(name)
    password_file = home / "password"
    password_file.write_text(cluster.password + "\n")
    url = f"postgresql://{OWNER}@127.0.0.1:{cluster.port}/{name}"
    database = LocalDatabase(stack="trial", home=home, programs=programs, port=0, url=url, password_file=password_file)
    secrets_of(database)
    visit(named(database, "database"), Apply())
    yield database
    cluster.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture(params=["own", "external"])
def database(request: pytest.FixtureRequest) -> LocalDatabase:
    found: LocalDatabase = request.getfixturevalue(request.param)
    return found


def named(database: Database, name: str) -> Resource:
    return next(each for each in database.on_host() if each.name == name)


def fill(database: LocalDatabase) -> None:
    postgres.query(database.programs, database.login(), CONTENT)


def empty(database: LocalDatabase) -> None:
    postgres.query(database.programs, database.login(), "DROP SCHEMA public CASCADE; CREATE SCHEMA public")


def test_second_converge_changes_nothing(database: LocalDatabase) -> None:
    assert {visit(each, Apply()).action for each in database.on_host()} == {"keep"}


def test_empty_until_it_has_content(database: LocalDatabase) -> None:
    assert database.schema_revision() is None
    assert database.row_counts() == {}
    fill(database)
    assert database.schema_revision() == "0f17b2"
    assert database.row_counts() == {"alembic_version": 1, "flow": 1000, 'Odd "name': 0}


def test_a_dump_restores_to_the_same(database: LocalDatabase, home: Path) -> None:
    fill(database)
    dump, before = home / "dump", database.row_counts()
    database.dump(dump)
    assert stat.S_IMODE(dump.stat().st_mode) == 0o600
    empty(database)
    assert database.row_counts() == {}
    database.restore(dump)
    assert (database.row_counts(), database.schema_revision()) == (before, "0f17b2")


def test_a_restore_that_fails_leaves_nothing(database: LocalDatabase, home: Path) -> None:
    fill(database)
    database.dump(home / "dump")
    empty(database)
    postgres.query(database.programs, database.login(), "CREATE TABLE public.flow (id int)")  # stands in the way
    with pytest.raises(Blocked, match="pg_restore failed") as caught:
        database.restore(home / "dump")
    assert caught.value.hint
    assert database.row_counts() == {"flow": 0}


def test_a_damaged_dump_is_refused(database: LocalDatabase, home: Path) -> None:
    fill(database)
    database.dump(home / "dump")
    content = (home / "dump").read_bytes()
    (home / "dump").write_bytes(content[: len(content) // 2])
    empty(database)
    with pytest.raises(Blocked):
        database.restore(home / "dump")
    assert database.row_counts() == {}


def test_connection_url_names_the_secret_and_does_not_hold_it(database: LocalDatabase) -> None:
    url = database.connection_url()
    assert re.fullmatch(r"postgresql\+asyncpg://\$\{secret:database-login\}@127\.0\.0\.1:\d+/[\w-]+", url)
    assert database.login().password not in url + repr(database)


def test_a_login_of_somebody_elses_database_is_theirs_to_change(external: LocalDatabase) -> None:
    with pytest.raises(Blocked, match="not ours to change") as caught:
        external.new_login()
    assert str(external.password_file) in caught.value.hint


def test_its_services_are_ones_a_host_accepts(database: LocalDatabase) -> None:
    services = tuple(database.services(Path("/release")))
    assert list(faults(HostSpec("trial", 1, services=services))) == []
    assert len(services) == (0 if database.url else 1)


def test_its_plan_shows_no_secret(database: LocalDatabase) -> None:
    secrets = [database.secret(name) for name in database.secrets()]
    shown = str([visit(each, Apply()) for each in database.on_host()]) + str(
        [each.find() for each in database.on_host()]
    )
    assert not [secret for secret in secrets if secret in shown]


def test_a_database_of_another_stack_is_refused(database: LocalDatabase) -> None:
    theirs = replace(database, stack="other")
    with pytest.raises(Blocked, match="is not ours") as caught:
        visit(named(theirs, "database"), Apply())
    assert "trial" in caught.value.what


def test_a_destroy_leaves_another_stacks_database_as_it_is(external: LocalDatabase) -> None:
    fill(external)
    theirs = named(replace(external, stack="other"), "database")
    change = visit_to_delete(theirs, Apply())
    assert change.action == "leave" and "'prefect-selfhost stack trial" in change.why
    with pytest.raises(Blocked, match="does not carry our mark any more"):
        theirs.delete()
    assert external.row_counts()["flow"] == 1000
    assert visit(named(external, "database"), Apply()).action == "keep", "its mark was touched"


def test_deleting_takes_its_content(database: LocalDatabase) -> None:
    fill(database)
    assert visit_to_delete(named(database, "database"), Apply()).action == "delete"
    assert named(database, "database").find() is None
    visit(named(database, "database"), Apply())
    assert database.row_counts() == {}


def test_where_none_answers_it_is_not_ready(home: Path, programs: Path) -> None:
    database = LocalDatabase(stack="trial", home=home, programs=programs, port=free_port())
    secrets_of(database)
    for call in (database.schema_revision, database.row_counts):
        with pytest.raises(NotReady, match="does not answer"):
            call()


def test_a_wrong_password_is_told_without_showing_it(own: LocalDatabase) -> None:
    store, right = LocalSecretStore(folder=own.home / "secrets"), own.secret("database-login")
    store.publish("database-login", store.add_version("database-login", "prefect_a:open-sesame"))
    with pytest.raises((Blocked, NotReady)) as caught:
        own.schema_revision()
    store.publish("database-login", store.add_version("database-login", right))
    assert "password authentication failed" in str(caught.value)
    assert "open-sesame" not in str(caught.value)


def test_somebody_elses_database_must_be_empty(external: LocalDatabase) -> None:
    fill(external)
    postgres.query(external.programs, external.login(), f'COMMENT ON DATABASE "{external.login().database}" IS NULL')
    with pytest.raises(Blocked, match="is not empty"):
        visit(named(external, "database"), Apply())
    assert external.row_counts()["flow"] == 1000


def test_own_cluster_takes_passwords_alone_and_loopback_alone(own: LocalDatabase) -> None:
    rows = postgres.query(own.programs, own.admin(), "SELECT DISTINCT auth_method FROM pg_hba_file_rules")
    assert rows == [["scram-sha-256"]]
    assert postgres.query(own.programs, own.admin(), "SHOW listen_addresses") == [["127.0.0.1"]]
    assert postgres.query(own.programs, own.admin(), "SHOW data_checksums") == [["on"]]


def test_server_is_no_superuser_of_our_own_cluster(own: LocalDatabase) -> None:
    sql = "SELECT rolsuper, rolcreatedb FROM pg_roles WHERE rolname = current_user"
    assert postgres.query(own.programs, own.login(), sql) == [["f", "f"]]


def test_half_made_cluster_is_made_anew(home: Path, programs: Path) -> None:
    user = SYSTEM_USER if os.geteuid() == 0 else ""
    database = LocalDatabase(stack="trial", home=home, programs=programs, port=free_port(), user=user)
    secrets_of(database)
    half_made = database.cluster().folder / "data-01234567"
    half_made.mkdir(parents=True)
    (half_made / "rubbish").touch()
    assert visit(named(database, "database cluster"), Apply()).action == "create"
    assert not half_made.exists()
    assert stat.S_IMODE(database.cluster().data.stat().st_mode) == 0o700
    assert visit(named(database, "database cluster"), Apply()).action == "keep"


def test_a_password_file_that_cannot_be_read_is_named(home: Path, programs: Path) -> None:
    file = home / "absent"
    url = "postgresql://me@127.0.0.1:1/mine"
    database = LocalDatabase(stack="trial", home=home, programs=programs, port=0, url=url, password_file=file)
    with pytest.raises(Blocked, match="password_file") as caught:
        secrets_of(database)
    assert str(file) in str(caught.value)
