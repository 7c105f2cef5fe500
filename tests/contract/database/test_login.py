"""Two logins to one database of our own: one takes the other's place while the database is in use."""

from __future__ import annotations

import asyncio
import shutil
import signal
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest

from blocks.errors import Blocked, NotReady
from blocks.local.database import ClusterDatabase
from blocks.postgres import content, sql
from blocks.postgres import login as database_login
from blocks.postgres.programs import DATABASE as OWN_DATABASE
from blocks.postgres.programs import OWNER
from blocks.resource import Apply, visit
from blocks.waiting import wait_until
from tests.contract.database.databases import own_database, promote, secrets_of
from tests.postgres import connected, free_port, reachable_programs
from tests.postgres import query as answer

OWNERS = "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'"


@pytest.fixture(scope="module")
def database() -> Iterator[ClusterDatabase]:
    """A cluster with our database in it, whose secrets lie in a home of its own."""
    folder = Path(tempfile.mkdtemp(prefix="sh-"))
    folder.chmod(0o711)
    database = own_database(folder, reachable_programs(folder), free_port())
    secrets_of(database)
    cluster, role = database.on_host()
    visit(cluster, Apply())
    process = database.cluster().start(folder / "postgres.log")
    visit(role, Apply())
    yield database
    process.send_signal(signal.SIGINT)
    process.wait(30)
    shutil.rmtree(folder)


def query(database: ClusterDatabase, value: str, statements: str) -> list[list[str]]:
    return answer(database.login_of(value), statements)


def test_the_first_login_acts_as_the_owner_who_has_none(database: ClusterDatabase) -> None:
    assert database.login().user == "prefect_a"
    value = database.secret("database-login")
    assert query(database, value, "SELECT current_user, session_user") == [["prefect", "prefect_a"]]
    roles = "SELECT rolname, rolcanlogin, rolsuper, rolcreatedb, rolcreaterole FROM pg_roles WHERE rolname LIKE 'pref%'"
    found = answer(database.admin(), f"{roles} ORDER BY 1")
    assert found == [["prefect", "f", "f", "f", "f"], ["prefect_a", "t", "f", "f", "f"]]
    query(database, value, "CREATE TABLE made_by_a (id int)")
    assert query(database, value, OWNERS) == [["prefect"]]


def test_who_is_in_the_way_of_a_migration_is_seen_and_can_be_ended(
    database: ClusterDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content, "LONG_SECONDS", 0)
    value = database.secret("database-login")
    query(database, value, "CREATE TABLE waited_for (id int); CREATE INDEX broken ON waited_for (id)")
    broken = "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'broken'::regclass"
    admin = replace(database.admin(), database=OWN_DATABASE)
    answer(admin, broken)
    with connected(database.login_of(value).url(), "a reader") as reader:
        reader("BEGIN")
        (pid,) = reader("SELECT pg_backend_pid() AS pid FROM waited_for RIGHT JOIN (SELECT 1) AS one ON true")
        vitals = database.vitals()
        assert vitals.invalid_indexes == ("broken",)
        assert "waited_for" in vitals.tables and vitals.size > 0
        (told,) = vitals.long_transactions
        assert told.startswith(f"process {pid['pid']} of prefect_a, idle in transaction, open for ")
        assert query(database, value, f"SELECT pg_terminate_backend({pid['pid']})") == [["t"]]
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)):
            reader("SELECT 1")
    assert database.vitals().long_transactions == ()
    query(database, value, "DROP TABLE waited_for")


def test_a_converge_gives_the_owner_of_an_older_stack_its_rights(database: ClusterDatabase) -> None:
    answer(database.admin(), f"REVOKE pg_signal_backend FROM {OWNER}")
    role = database.on_host()[1]
    assert visit(role, Apply()).action == "update"
    assert visit(role, Apply()).action == "keep"


def test_another_login_is_let_in_beside_it_and_both_do_everything(database: ClusterDatabase, tmp_path: Path) -> None:
    old, new = database.secret("database-login"), database.new_login()
    assert new.startswith("prefect_b:") and new != database.new_login()
    with pytest.raises(NotReady):
        query(database, new, "SELECT 1")
    for _ in range(2):
        database.admit(new)
    query(database, new, "CREATE TABLE made_by_b (id int); INSERT INTO made_by_a VALUES (1)")
    query(database, old, "ALTER TABLE made_by_b ADD COLUMN name text; DROP TABLE made_by_a")
    assert query(database, old, OWNERS) == [["prefect"]]
    promote(database, new)
    said = database.dump(tmp_path / "dump")
    with database.scratch("copy") as scratch:
        scratch.restore(tmp_path / "dump")
        assert scratch.content() == said
        assert answer(scratch.login(), OWNERS) == [["prefect"]]
    promote(database, old)


def test_the_old_one_is_refused_and_its_connections_end(database: ClusterDatabase) -> None:
    old, new = database.secret("database-login"), database.new_login()
    database.admit(new)
    asyncio.run(refuse_while_connected(database, old, new))
    with pytest.raises(NotReady, match="does not answer") as caught:
        query(database, old, "SELECT 1")
    assert database_login.parts(old)[1] not in str(caught.value)
    assert query(database, new, "SELECT current_user") == [["prefect"]]
    database.refuse_others(new)
    promote(database, new)
    assert {visit(each, Apply()).action for each in database.on_host()} == {"keep"}


async def refuse_while_connected(database: ClusterDatabase, old: str, new: str) -> None:
    connection = await asyncpg.connect(database.login_of(old).url("postgresql"))
    assert await connection.fetchval("SELECT session_user") == "prefect_a"
    await asyncio.to_thread(refuse_others, database, new)
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, ConnectionError)):
        await connection.fetchval("SELECT 1")


def refuse_others(database: ClusterDatabase, login: str) -> None:
    def probe() -> bool:
        database.refuse_others(login)
        return True

    wait_until(probe, "the end of the old login's connections", timeout=10, every=0.05)


def test_a_converge_lets_the_wanted_login_in_again(database: ClusterDatabase) -> None:
    value = database.secret("database-login")
    user, _ = database_login.parts(value)
    answer(database.admin(), f'ALTER ROLE "{user}" NOLOGIN')
    role = database.on_host()[1]
    change = visit(role, Apply())
    assert (change.action, sorted(change.fields)) == ("update", ["login"])
    assert query(database, value, "SELECT current_user") == [[OWNER]]
    assert visit(role, Apply()).action == "keep"


def test_a_statement_that_fails_leaves_no_password_in_its_log(database: ClusterDatabase) -> None:
    value, admin = database.secret("database-login"), database.admin()
    read_only = "default_transaction_read_only"
    answer(admin, f"ALTER ROLE postgres SET {read_only} = on")
    try:
        with pytest.raises(Blocked, match="ALTER ROLE in a read-only transaction") as caught:
            database.admit(value)
    finally:
        with sql.session(admin) as resetting:
            resetting.query(f"SET {read_only} = off")
            resetting.query(f"ALTER ROLE postgres RESET {read_only}")
    log = (database.home / "postgres.log").read_text()
    assert "ALTER ROLE in a read-only transaction" in log
    assert database_login.parts(value)[1] not in log + str(caught.value)


def test_a_login_that_is_none_is_refused_without_being_shown(database: ClusterDatabase) -> None:
    right = database.secret("database-login")
    for wrong in ("open-sesame", ":open-sesame", "open-sesame:"):
        promote(database, wrong)
        with pytest.raises(Blocked, match="user:password") as caught:
            database.schema_revision()
        assert "open-sesame" not in str(caught.value)
    promote(database, right)
