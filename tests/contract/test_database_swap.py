"""One database in another's place, on a real PostgreSQL: nothing is lost, nothing of others is touched."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from blocks.errors import Blocked, NotReady
from blocks.local.database import LocalDatabase
from blocks.postgres import programs as postgres
from blocks.postgres.programs import Login
from tests.contract.test_database import database, external, fill, folder, home, own, own_cluster, programs
from tests.postgres import Cluster

__all__ = ["database", "external", "folder", "home", "own", "own_cluster", "programs"]
LABEL = "20261124T120000Z"
_FACTS = """
SELECT pg_get_userbyid(datdba), shobj_description(oid, 'pg_database'), datallowconn
FROM pg_database WHERE datname = :'name'
"""


@pytest.fixture(autouse=True)
def nothing_left(database: LocalDatabase) -> Iterator[None]:
    yield
    for name in database.kept():
        database.drop_kept(name)


def facts(database: LocalDatabase, name: str) -> list[list[str]]:
    return postgres.query(database.programs, database.login(), _FACTS, {"name": name})


def names(database: LocalDatabase) -> set[str]:
    return {row[0] for row in postgres.query(database.programs, database.login(), "SELECT datname FROM pg_database")}


def replaced(database: LocalDatabase, label: str = LABEL) -> str:
    with database.beside() as copy:
        assert isinstance(copy, LocalDatabase)
        postgres.query(copy.programs, copy.login(), "CREATE TABLE restored (id int)")
        return database.swap(label)


def test_the_copy_takes_the_place_with_owner_and_mark_and_the_old_one_is_kept(database: LocalDatabase) -> None:
    fill(database)
    name = database.login().database
    before = facts(database, name)
    kept = replaced(database)
    assert database.row_counts() == {"restored": 0}
    assert facts(database, name) == before == facts(database, kept)
    assert kept == f"{name}-before-{LABEL}" and list(database.kept()) == [kept]
    old = replace(database, database=kept)
    assert old.row_counts()["flow"] == 1000


def test_a_copy_that_is_not_swapped_is_dropped_and_one_that_was_left_is_made_anew(database: LocalDatabase) -> None:
    fill(database)
    with database.beside() as copy:
        assert isinstance(copy, LocalDatabase)
        postgres.query(copy.programs, copy.login(), "CREATE TABLE half (id int)")
        with database.beside() as anew:
            assert anew.row_counts() == {}
    assert not [each for each in names(database) if each.endswith("-restoring")]
    assert database.row_counts()["flow"] == 1000


def test_a_copy_that_is_not_ours_is_refused(database: LocalDatabase) -> None:
    with database.beside() as copy:
        assert isinstance(copy, LocalDatabase)
        name = copy.login().database
        comment = "COMMENT ON DATABASE :\"name\" IS 'somebody''s'"
        postgres.query(copy.programs, copy.login(), comment, {"name": name})
        with pytest.raises(Blocked, match='is not ours: its comment is "somebody\'s"'), database.beside():
            pass
        assert name in names(database)


def test_one_without_a_mark_is_refused_where_it_holds_tables(database: LocalDatabase) -> None:
    """A caller that was killed before it marked its copy has made no table in it yet."""
    name = f"{database.login().database}-restoring"
    postgres.query(database.programs, _maker(database), f'CREATE DATABASE "{name}"')
    try:
        foreign = replace(_maker(database), database=name)
        postgres.query(database.programs, foreign, "CREATE TABLE theirs (id int)")
        with pytest.raises(Blocked, match="is not ours: it has no comment, and 1 tables"), database.beside():
            pass
        assert postgres.query(database.programs, foreign, "SELECT count(*) FROM theirs") == [["0"]]
        postgres.query(database.programs, foreign, "DROP TABLE theirs")
        with database.beside() as copy:
            assert copy.row_counts() == {}
    finally:
        postgres.query(database.programs, _maker(database), f'DROP DATABASE IF EXISTS "{name}"')


def test_settings_of_a_role_in_the_database_come_along(database: LocalDatabase) -> None:
    login = database.login()
    settings = 'ALTER ROLE :"role" IN DATABASE :"name" SET work_mem TO \'7MB\''
    postgres.query(database.programs, _maker(database), settings, {"role": login.user, "name": login.database})
    replaced(database)
    assert postgres.query(database.programs, login, "SHOW work_mem") == [["7MB"]]


def test_it_is_swapped_while_others_come_again_and_again(database: LocalDatabase) -> None:
    """Whoever is connected or just coming is sent away; nobody ever finds half a database under the name."""
    fill(database)
    seen: set[str] = set()
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            sql = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public' AND tablename IN ('flow', 'restored')"
            try:
                seen.add(postgres.query(database.programs, database.login(), sql)[0][0])
            except (Blocked, NotReady) as error:
                sent_away = ("terminat", "just been dropped or renamed")
                seen.add("sent away" if any(each in str(error) for each in sent_away) else str(error))

    with postgres.snapshot(database.programs, database.login()):
        callers = [threading.Thread(target=look) for _ in range(3)]
        for each in callers:
            each.start()
        replaced(database)
        over.set()
        for each in callers:
            each.join()
    assert seen <= {"1", "sent away"}, seen
    assert database.row_counts() == {"restored": 0}


def test_only_kept_databases_with_our_mark_are_listed_and_dropped(database: LocalDatabase) -> None:
    fill(database)
    kept = replaced(database)
    login, foreign = database.login(), f"{database.login().database}-before-lunch"
    postgres.query(database.programs, _maker(database), f'CREATE DATABASE "{foreign}"')
    try:
        assert set(database.kept()) == {kept} and database.kept()[kept] > 1_000_000
        for name in (foreign, login.database, "postgres"):
            with pytest.raises(Blocked, match="is no database which a restore of this stack has kept"):
                database.drop_kept(name)
        database.drop_kept(kept)
        assert database.kept() == {} and {foreign, login.database} <= names(database)
    finally:
        postgres.query(database.programs, _maker(database), f'DROP DATABASE "{foreign}"')


def _maker(database: LocalDatabase) -> Login:
    return database.login() if database.url else database.admin()


def test_a_role_that_may_not_make_databases_is_told_so(external: LocalDatabase, cluster: Cluster) -> None:
    external.require_replaceable()
    cluster.execute("CREATE ROLE plain LOGIN PASSWORD 'plain'")
    login = external.home / "secrets/database-login"
    kept = login.read_text()
    try:
        other = replace(external, url=(external.url or "").replace("selfhost@", "plain@"))
        login.write_text("plain:plain")
        with pytest.raises(Blocked, match="'plain' may not make databases, or does not own") as caught:
            other.require_replaceable()
        assert "CREATEDB" in caught.value.hint
    finally:
        login.write_text(kept)
        cluster.execute("DROP ROLE plain")


def test_a_name_that_would_be_cut_is_refused(database: LocalDatabase) -> None:
    with pytest.raises(Blocked, match="longer than PostgreSQL's 63 bytes"):
        database.swap("x" * 60)
