"""The login to somebody else's database is replaced, where it may make roles; on a real PostgreSQL."""

from __future__ import annotations

from pathlib import Path

import asyncpg
import pytest

from blocks.errors import Blocked, NotReady
from blocks.host.home import Home, claim
from blocks.postgres import sql
from blocks.postgres.url_database import UrlDatabase
from blocks.resource import Apply, visit, visit_to_delete
from blocks.waiting import wait_until
from tests.contract.database.databases import PASSWORD, fill, named, promote, url_database
from tests.postgres import Cluster, connected, query

KINDS = """
CREATE TYPE public.state AS ENUM ('a', 'b');
CREATE SEQUENCE public.alone;
CREATE TABLE public.numbered (id serial PRIMARY KEY, state public.state);
CREATE TABLE public.computed (a int, b int GENERATED ALWAYS AS (a + 1) STORED);
CREATE VIEW public.seen AS SELECT id FROM public.numbered;
CREATE FUNCTION public.one() RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE EXTENSION pg_trgm;
CREATE SCHEMA theirs;
CREATE TABLE theirs.kept (id int);
"""
OWNERS = """
SELECT DISTINCT pg_get_userbyid(relowner) FROM pg_class WHERE relnamespace = 'public'::regnamespace
UNION SELECT pg_get_userbyid(typowner) FROM pg_type WHERE typnamespace = 'public'::regnamespace
      AND typname NOT LIKE '%gtrgm%'
UNION SELECT pg_get_userbyid(proowner) FROM pg_proc WHERE proname = 'one'
UNION SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()
"""
OWNER_AND_MARK = """
SELECT pg_get_userbyid(datdba), shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = $1
"""
ROLES = "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'selfhost_trial_%'"


def rotate(database: UrlDatabase) -> str:
    """As the flow does it; the new login."""
    new = database.new_login()
    database.admit(new)
    database.admit(new)  # a killed run's successor does it once more
    promote(database, new)
    (told,) = wait_until(lambda: [database.refuse_others(new)], "the end of the old sessions", timeout=10, every=0.05)
    assert database.refuse_others(new) == told and str(database.password_file) in told
    return new


def test_all_that_the_given_login_made_is_handed_over_while_it_is_at_work(cloud: UrlDatabase) -> None:
    fill(cloud)
    query(cloud.login(), KINDS)
    with connected(cloud.login().url(), "the server before") as before:
        before("SELECT count(*) FROM flow")
        rotate(cloud)
        assert before("SELECT count(*) FROM flow")[0][0] == 1000
        before("INSERT INTO flow VALUES (1001, 'late')")
        before("ALTER TABLE flow ADD COLUMN more int")
    assert query(cloud.login(), OWNERS) == [[cloud.roles.owner]]
    assert query(cloud.login(), "SELECT current_user, session_user") == [[cloud.roles.owner, cloud.roles.logins[0]]]
    assert query(cloud.given(), "SELECT tableowner FROM pg_tables WHERE schemaname = 'theirs'") == [
        [cloud.given().user]
    ]
    query(
        cloud.login(),
        "DROP VIEW seen; ALTER TABLE numbered ADD COLUMN name text; DROP FUNCTION one; DROP TYPE state CASCADE",
    )


def test_a_table_of_somebody_elses_in_the_schema_is_named_before_anything_is_switched(
    cloud: UrlDatabase, cluster: Cluster
) -> None:
    cluster.execute("CREATE TABLE public.foreign_one (id int)", cloud.given().database)
    with pytest.raises(Blocked, match="could not be given foreign_one in"):
        cloud.admit(cloud.new_login())


def test_a_table_that_somebody_holds_is_waited_for_in_short_tries(
    cloud: UrlDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("blocks.postgres.ownership.TABLE_SECONDS", 1.0)
    fill(cloud)
    with connected(cloud.login().url(), "a reader") as reader:
        reader("BEGIN")
        reader("SELECT count(*) FROM flow")
        with pytest.raises(NotReady, match=r"ALTER TABLE public\.flow OWNER TO .*lock timeout"):
            cloud.admit(cloud.new_login())
        assert cloud.row_counts()["flow"] == 1000, "the server before cannot work on"
        reader("COMMIT")
    rotate(cloud)


def test_the_second_login_takes_the_first_ones_place_and_ends_its_sessions(rotated: UrlDatabase) -> None:
    fill(rotated)
    old = rotated.login()
    with connected(old.url(), "the server before") as before:
        before("SELECT 1")
        rotate(rotated)
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)):
            before("SELECT 1")
    assert rotated.login().user == rotated.roles.logins[1]
    with pytest.raises(NotReady, match="password authentication failed"):
        sql.query(old, "SELECT 1")
    assert rotated.row_counts()["flow"] == 1000


def test_who_is_in_the_way_is_seen_and_can_be_ended(rotated: UrlDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blocks.postgres.content.LONG_SECONDS", 0)
    fill(rotated)
    with connected(rotated.login().url(), "a reader") as reader:
        reader("BEGIN")
        (pid,) = reader("SELECT pg_backend_pid() AS pid FROM flow LIMIT 1")
        (told,) = rotated.vitals().long_transactions
        assert told.startswith(f"process {pid['pid']} of {rotated.login().user}, idle in transaction")
        with sql.session(rotated.login(), as_itself=True) as ending:
            assert ending.query("SELECT pg_terminate_backend($1)", pid["pid"]) == [(True,)]


def test_a_converge_lets_the_wanted_login_in_again(rotated: UrlDatabase) -> None:
    sql.command(rotated.given(), "ALTER ROLE %I NOLOGIN", rotated.login().user)
    change = visit(named(rotated, "database"), Apply())
    assert (change.action, sorted(change.fields)) == ("update", ["login"])
    assert visit(named(rotated, "database"), Apply()).action == "keep"


def test_a_destroy_gives_the_database_back_without_our_roles(rotated: UrlDatabase) -> None:
    fill(rotated)
    with rotated.scratch("drill-9") as left:
        assert visit_to_delete(named(rotated, "database"), Apply()).action == "delete"
        assert query(rotated.given(), ROLES) == [["0"]]
        assert query(rotated.given(), "SELECT count(*) FROM pg_database WHERE datname = $1", left.database) == [["0"]]
        owner = (
            "SELECT pg_get_userbyid(datdba), shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = $1"
        )
        assert query(rotated.given(), owner, rotated.given().database) == [[rotated.given().user, ""]]
        assert named(rotated, "database").find() is None, "an interrupted destroy is not finished"
        visit(named(rotated, "database"), Apply())


@pytest.mark.parametrize("attributes", ["NOCREATEROLE", "NOCREATEDB"])
def test_a_login_that_may_not_make_roles_is_its_keepers_to_change(
    cloud: UrlDatabase, cluster: Cluster, attributes: str
) -> None:
    cloud.require_rotatable()
    cluster.execute(f'ALTER ROLE "{cloud.given().user}" {attributes}')
    with pytest.raises(Blocked, match="not ours to change") as caught:
        cloud.require_rotatable()
    assert str(cloud.password_file) in caught.value.hint and attributes.removeprefix("NO") in caught.value.hint
    cluster.execute(f'ALTER ROLE "{cloud.given().user}" CREATEROLE CREATEDB')


def test_a_password_file_that_no_longer_holds_the_password_is_named(rotated: UrlDatabase) -> None:
    rotated.password_file.write_text("an older one")
    with pytest.raises(Blocked, match="password authentication failed") as caught:
        rotated.require_rotatable()
    assert str(rotated.password_file) in caught.value.hint
    rotated.password_file.write_text(PASSWORD)


def test_two_stacks_of_one_name_on_one_server_have_roles_of_their_own(cloud: UrlDatabase, programs: Path) -> None:
    claim(Home(cloud.home / "other"), "trial")
    other = url_database(cloud.home / "other", programs, cloud.url, cloud.password_file)
    assert not set(other.roles.all) & set(cloud.roles.all)
    assert all(each.startswith("selfhost_trial_") for each in (*other.roles.all, *cloud.roles.all))
