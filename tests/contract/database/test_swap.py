"""One database in another's place, on a real PostgreSQL: nothing is lost, nothing of others is touched."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from blocks.errors import Blocked, NotReady
from blocks.local.database import ClusterDatabase
from blocks.postgres import sql, swap
from blocks.postgres.connection import Login
from blocks.postgres.database import PostgresDatabase
from blocks.postgres.url_database import UrlDatabase
from tests.contract.database.databases import fill, promote
from tests.postgres import Cluster, connected, query

LABEL = "20261124T120000Z"
_FACTS = """
SELECT pg_get_userbyid(datdba), shobj_description(oid, 'pg_database'), datallowconn
FROM pg_database WHERE datname = $1
"""


def facts(database: PostgresDatabase, name: str) -> list[list[str]]:
    return query(database.login(), _FACTS, name)


def names(database: PostgresDatabase) -> set[str]:
    return {row[0] for row in query(database.login(), "SELECT datname FROM pg_database")}


def replaced(database: PostgresDatabase, label: str = LABEL) -> str:
    with database.beside() as copy:
        assert isinstance(copy, PostgresDatabase)
        query(copy.login(), "CREATE TABLE restored (id int)")
        return database.swap(label)


def test_the_copy_takes_the_place_with_owner_and_mark_and_the_old_one_is_kept(database: PostgresDatabase) -> None:
    fill(database)
    name = database.login().database
    before = facts(database, name)
    kept = replaced(database)
    assert database.row_counts() == {"restored": 0}
    assert facts(database, name) == before == facts(database, kept)
    assert kept == f"{name}-before-{LABEL}" and list(database.kept()) == [kept]
    old = replace(database, database=kept)
    assert old.row_counts()["flow"] == 1000


def test_a_copy_that_is_not_swapped_is_dropped_and_one_that_was_left_is_made_anew(database: PostgresDatabase) -> None:
    fill(database)
    with database.beside() as copy:
        assert isinstance(copy, PostgresDatabase)
        query(copy.login(), "CREATE TABLE half (id int)")
        with database.beside() as anew:
            assert anew.row_counts() == {}
    assert not [each for each in names(database) if each.endswith("-restoring")]
    assert database.row_counts()["flow"] == 1000


def test_a_copy_that_is_not_ours_is_refused(database: PostgresDatabase) -> None:
    with database.beside() as copy:
        assert isinstance(copy, PostgresDatabase)
        name = copy.login().database
        sql.command(copy.login(), "COMMENT ON DATABASE %I IS %L", name, "somebody's")
        with pytest.raises(Blocked, match='is not ours: its comment is "somebody\'s"'), database.beside():
            pass
        assert name in names(database)


def test_one_without_a_mark_is_refused_where_it_holds_tables(database: PostgresDatabase) -> None:
    """A caller that was killed before it marked its copy has made no table in it yet."""
    name = f"{database.login().database}-restoring"
    query(_maker(database), f'CREATE DATABASE "{name}"')
    try:
        foreign = replace(_maker(database), database=name)
        query(foreign, "CREATE TABLE theirs (id int)")
        with pytest.raises(Blocked, match="is not ours: it has no comment, and 1 tables"), database.beside():
            pass
        assert query(foreign, "SELECT count(*) FROM theirs") == [["0"]]
        query(foreign, "DROP TABLE theirs")
        with database.beside() as copy:
            assert copy.row_counts() == {}
    finally:
        query(_maker(database), f'DROP DATABASE IF EXISTS "{name}"')


def test_settings_of_a_role_in_the_database_come_along(database: PostgresDatabase) -> None:
    login = database.login()
    settings = "ALTER ROLE %I IN DATABASE %I SET work_mem TO '7MB'"
    role_maker = database.given() if isinstance(database, UrlDatabase) else _maker(database)
    sql.command(role_maker, settings, login.user, login.database)
    assert query(login, "SHOW work_mem") == [["7MB"]]
    replaced(database)
    is_ours = not (isinstance(database, UrlDatabase) and database.is_rotated())  # else it was the given login's to set
    assert (query(login, "SHOW work_mem") == [["7MB"]]) is is_ours


def test_it_is_swapped_while_others_come_again_and_again(database: PostgresDatabase) -> None:
    """Whoever is connected or just coming is sent away; nobody ever finds half a database under the name."""
    fill(database)
    seen: set[str] = set()
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            whole = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public' AND tablename IN ('flow', 'restored')"
            try:
                seen.add(query(database.login(), whole)[0][0])
            except (Blocked, NotReady) as error:
                # The last is asyncpg's for a connection that ends while it is being made.
                sent_away = ("terminat", "closed", "just been dropped or renamed", "another operation")
                seen.add("sent away" if any(each in str(error) for each in sent_away) else str(error))

    with sql.snapshot(database.login()):
        callers = [threading.Thread(target=look) for _ in range(3)]
        for each in callers:
            each.start()
        replaced(database)
        over.set()
        for each in callers:
            each.join()
    assert seen <= {"1", "sent away"}, seen
    assert database.row_counts() == {"restored": 0}


def test_only_kept_databases_with_our_mark_are_listed_and_dropped(database: PostgresDatabase) -> None:
    fill(database)
    kept = replaced(database)
    login, foreign = database.login(), f"{database.login().database}-before-lunch"
    query(_maker(database), f'CREATE DATABASE "{foreign}"')
    try:
        assert set(database.kept()) == {kept} and database.kept()[kept] > 1_000_000
        for name in (foreign, login.database, "postgres"):
            with pytest.raises(Blocked, match="is no database which a restore of this stack has kept"):
                database.drop_kept(name)
        database.drop_kept(kept)
        assert database.kept() == {} and {foreign, login.database} <= names(database)
    finally:
        query(_maker(database), f'DROP DATABASE "{foreign}"')


def _maker(database: PostgresDatabase) -> Login:
    return database.admin() if isinstance(database, ClusterDatabase) else database.login()


def test_a_role_that_may_not_make_databases_is_told_so(external: UrlDatabase) -> None:
    external.require_replaceable()
    query(external.given(), "CREATE ROLE plain LOGIN PASSWORD 'plain'")
    kept = external.secret("database-login")
    try:
        promote(external, "plain:plain")
        with pytest.raises(Blocked, match="'plain' may not make databases, or does not own") as caught:
            external.require_replaceable()
        assert "CREATEDB" in caught.value.hint
    finally:
        promote(external, kept)
        query(external.given(), "DROP ROLE plain")


def test_sessions_that_are_not_ours_are_not_ended_and_waited_for(
    cloud: UrlDatabase, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody but a superuser may end a superuser's: a refusal must not undo the renames, nor end the swap."""
    fill(cloud)
    monkeypatch.setattr(swap, "SWAP_SECONDS", 6.0)
    with connected(cluster.url(cloud.login().database), "a superuser") as look:
        with pytest.raises(NotReady, match="is being accessed by other users"):
            replaced(cloud)
        assert look("SELECT count(*) FROM flow")[0][0] == 1000
    assert replaced(cloud) == f"{cloud.login().database}-before-{LABEL}"


def test_a_name_that_would_be_cut_is_refused(database: PostgresDatabase) -> None:
    with pytest.raises(Blocked, match="longer than PostgreSQL's 63 bytes"):
        database.swap("x" * 60)
