"""Every database behaves the same, on a real PostgreSQL; written from the port's docstrings."""

from __future__ import annotations

import re
import signal
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from blocks.agent.spec import HostSpec
from blocks.agent.validation import faults
from blocks.errors import Blocked, NotReady
from blocks.local.database import ClusterDatabase
from blocks.postgres import sql
from blocks.postgres.database import PostgresDatabase
from blocks.postgres.url_database import UrlDatabase, is_fit
from blocks.resource import Apply, visit, visit_to_delete
from tests.contract.database.databases import (
    fill,
    named,
    own_database,
    promote,
    secrets_of,
    url_database,
)
from tests.postgres import free_port, query
from tests.stack import eventually

OLDER = next((each for each in Path("/usr/lib/postgresql").glob("1[3-6]/bin") if (each / "postgres").exists()), None)
"""Programs of the system's own PostgreSQL."""


def empty(database: PostgresDatabase) -> None:
    query(database.login(), "DROP SCHEMA public CASCADE; CREATE SCHEMA public")


def test_second_converge_changes_nothing(database: PostgresDatabase) -> None:
    assert {visit(each, Apply()).action for each in database.on_host()} == {"keep"}


def test_empty_until_it_has_content(database: PostgresDatabase) -> None:
    assert database.schema_revision() is None
    assert database.row_counts() == {}
    fill(database)
    assert database.schema_revision() == "0f17b2"
    assert database.row_counts() == {"alembic_version": 1, "flow": 1000, 'Odd "name': 0}


def test_a_dump_restores_to_the_same(database: PostgresDatabase, home: Path) -> None:
    fill(database)
    dump, before = home / "dump", database.row_counts()
    database.dump(dump)
    assert stat.S_IMODE(dump.stat().st_mode) == 0o600
    empty(database)
    assert database.row_counts() == {}
    database.restore(dump)
    assert (database.row_counts(), database.schema_revision()) == (before, "0f17b2")


def test_a_restore_that_fails_leaves_nothing(database: PostgresDatabase, home: Path) -> None:
    fill(database)
    database.dump(home / "dump")
    empty(database)
    query(database.login(), "CREATE TABLE public.flow (id int)")  # stands in the way
    with pytest.raises(Blocked, match="pg_restore failed") as caught:
        database.restore(home / "dump")
    assert caught.value.hint
    assert database.row_counts() == {"flow": 0}


def test_a_damaged_dump_is_refused(database: PostgresDatabase, home: Path) -> None:
    fill(database)
    database.dump(home / "dump")
    content = (home / "dump").read_bytes()
    (home / "dump").write_bytes(content[: len(content) // 2])
    empty(database)
    with pytest.raises(Blocked):
        database.restore(home / "dump")
    assert database.row_counts() == {}


def test_connection_url_names_the_secret_and_does_not_hold_it(database: PostgresDatabase) -> None:
    url = database.connection_url()
    assert re.fullmatch(r"postgresql\+asyncpg://\$\{secret:database-login\}@[\d.]+:\d+/[\w-]+", url)
    assert database.login().password not in url + repr(database)


def test_its_services_are_ones_a_host_accepts(database: PostgresDatabase) -> None:
    services = tuple(database.services(Path("/release")))
    assert list(faults(HostSpec("trial", 1, services=services))) == []
    assert len(services) == (1 if isinstance(database, ClusterDatabase) else 0)


def test_its_plan_shows_no_secret(database: PostgresDatabase) -> None:
    secrets = [database.secret(name) for name in database.secrets()]
    shown = str([visit(each, Apply()) for each in database.on_host()]) + str(
        [each.find() for each in database.on_host()]
    )
    assert not [secret for secret in secrets if secret in shown]


def test_a_database_of_another_stack_is_refused(database: PostgresDatabase) -> None:
    theirs = replace(database, stack="other")
    with pytest.raises(Blocked, match="is not ours") as caught:
        visit(named(theirs, "database"), Apply())
    assert "trial" in caught.value.what


def test_a_destroy_leaves_another_stacks_database_as_it_is(external: UrlDatabase) -> None:
    fill(external)
    theirs = named(replace(external, stack="other"), "database")
    change = visit_to_delete(theirs, Apply())
    assert change.action == "leave" and "'prefect-selfhost stack trial" in change.why
    with pytest.raises(Blocked, match="does not carry our mark any more"):
        theirs.delete()
    assert external.row_counts()["flow"] == 1000
    assert visit(named(external, "database"), Apply()).action == "keep", "its mark was touched"


def test_deleting_takes_its_content(database: PostgresDatabase) -> None:
    fill(database)
    assert visit_to_delete(named(database, "database"), Apply()).action == "delete"
    assert named(database, "database").find() is None
    visit(named(database, "database"), Apply())
    assert database.row_counts() == {}


def test_where_none_answers_it_is_not_ready(home: Path, programs: Path) -> None:
    database = own_database(home, programs, free_port())
    secrets_of(database)
    for call in (database.schema_revision, database.row_counts):
        with pytest.raises(NotReady, match="does not answer"):
            call()


def test_a_wrong_password_is_told_without_showing_it(own: ClusterDatabase) -> None:
    right = own.secret("database-login")
    promote(own, "prefect_a:open-sesame")
    with pytest.raises((Blocked, NotReady)) as caught:
        own.schema_revision()
    promote(own, right)
    assert "password authentication failed" in str(caught.value)
    assert "open-sesame" not in str(caught.value)


def test_somebody_elses_database_must_be_empty(external: UrlDatabase) -> None:
    fill(external)
    sql.command(external.login(), "COMMENT ON DATABASE %I IS NULL", external.login().database)
    with pytest.raises(Blocked, match="is not empty"):
        visit(named(external, "database"), Apply())
    assert external.row_counts()["flow"] == 1000


def test_own_cluster_takes_passwords_alone_and_loopback_alone(own: ClusterDatabase) -> None:
    rows = query(own.admin(), "SELECT DISTINCT auth_method FROM pg_hba_file_rules")
    assert rows == [["scram-sha-256"]]
    assert query(own.admin(), "SHOW listen_addresses") == [["127.0.0.1"]]
    assert query(own.admin(), "SHOW data_checksums") == [["on"]]


def test_server_is_no_superuser_of_our_own_cluster(own: ClusterDatabase) -> None:
    rights = "SELECT rolsuper, rolcreatedb FROM pg_roles WHERE rolname = current_user"
    assert query(own.login(), rights) == [["f", "f"]]


def test_half_made_cluster_is_made_anew(home: Path, programs: Path) -> None:
    database = own_database(home, programs, free_port())
    secrets_of(database)
    half_made = database.cluster().folder / "data-01234567"
    half_made.mkdir(parents=True)
    (half_made / "rubbish").touch()
    assert visit(named(database, "database cluster"), Apply()).action == "create"
    assert not half_made.exists()
    assert stat.S_IMODE(database.cluster().data.stat().st_mode) == 0o700
    assert visit(named(database, "database cluster"), Apply()).action == "keep"


def test_a_password_file_that_cannot_be_read_is_named(home: Path, programs: Path) -> None:
    database = url_database(home, programs, "postgresql://me@127.0.0.1:1/mine", home / "absent")
    with pytest.raises(Blocked, match="password_file") as caught:
        secrets_of(database)
    assert str(home / "absent") in str(caught.value)
    assert database.faults() == [str(caught.value)]


def test_where_a_stack_can_be_kept_there_is_no_fault(database: PostgresDatabase) -> None:
    assert database.faults() == []


def test_a_server_that_does_not_let_us_in_is_a_fault(given: UrlDatabase) -> None:
    given.password_file.write_text("wrong")
    (told,) = given.faults()
    assert "password authentication failed" in told and "wrong" not in told


def test_only_versions_that_our_programs_dump_and_restore_are_fit() -> None:
    fit = [is_fit(each) for each in (150_018, 160_999, 170_000, 180_001, 190_000)]
    assert fit == [False, False, True, True, False]


@pytest.mark.skipif(OLDER is None, reason="there is no PostgreSQL before 17 in /usr/lib/postgresql")
def test_a_server_before_17_is_a_fault_of_one_line(home: Path, programs: Path) -> None:
    assert OLDER is not None
    database = url_database(
        home, programs, f"postgresql://postgres@127.0.0.1:{free_port()}/postgres", home / "password"
    )
    (home / "password").write_text("open-sesame")
    cluster = replace(own_database(home, programs, database.given().port).cluster(), bin=OLDER)
    cluster.initialise("open-sesame")
    process = cluster.start(home / "log")
    try:
        eventually(lambda: "does not answer" not in str(database.faults()), "its start", 60)
        (told,) = database.faults()
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)
    assert re.fullmatch(r"127\.0\.0\.1:\d+ is PostgreSQL 1[3-6]\.\d+.*: 17 or 18 is wanted", told)
