"""The database in an instance of Cloud SQL, on a PostgreSQL whose admin may do what one made by Google's API may."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from blocks.errors import Blocked, NotReady
from blocks.gcp import database as sql_database
from blocks.gcp.database import ADMIN, NAME, OwnDatabase, SqlDatabase
from blocks.gcp.network import Network
from blocks.gcp.sql import SqlInstance
from blocks.host.home import Home, claim
from blocks.host.secret_files import DATABASE_ADMIN_PASSWORD
from blocks.local.secret_store import LocalSecretStore
from blocks.resource import Apply, visit
from tests import google
from tests.contract.database.databases import PASSWORD, fill, promote, secrets_of
from tests.postgres import Cluster, query

if TYPE_CHECKING:
    from tests.contract.database.at_google import AtGoogle


@pytest.fixture
def here(home: Path, programs: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[SqlDatabase]:
    """Nothing but its admin is there yet."""
    monkeypatch.setattr(sql_database, "PORT", cluster.port)
    seen = google.project().seen_by()
    instance = SqlInstance(seen, Network(seen, "trial", google.REGION, "host@example.com"), "trial")
    made = sql_database_of(home, programs, instance, "127.0.0.1")
    secrets_of(made)
    cluster.execute(f"""CREATE ROLE "{ADMIN}" LOGIN CREATEDB CREATEROLE PASSWORD '{made.password()}'""")
    yield made
    cluster.drop_databases(NAME)
    cluster.drop_roles("selfhost_trial_%", ADMIN)


@pytest.fixture
def at_cloud_sql_itself(home: Path, programs: Path, instance: AtGoogle) -> Iterator[SqlDatabase]:
    """The same in the lab's Cloud SQL, by TLS alone; the API has made the admin."""
    made = replace(sql_database_of(home, programs, instance.instance, instance.admin.host), tls=instance.tls)
    made.store.ensure(DATABASE_ADMIN_PASSWORD, lambda: PASSWORD)
    secrets_of(made)
    yield made
    instance.drop(NAME, "selfhost_trial_%")


@pytest.fixture(params=["here", pytest.param("at_cloud_sql_itself", marks=[pytest.mark.lab, pytest.mark.rare])])
def database(request: pytest.FixtureRequest) -> SqlDatabase:
    found: SqlDatabase = request.getfixturevalue(request.param)
    return found


def sql_database_of(home: Path, programs: Path, instance: SqlInstance, address: str) -> SqlDatabase:
    claim(Home(home), "trial")
    return SqlDatabase(
        stack="trial",
        home=home,
        store=LocalSecretStore(folder=home / "secrets"),
        versions={},
        programs=programs,
        instance=instance,
        private_address=address,
    )


def test_its_roles_and_the_database_are_made_once_and_the_server_owns_what_it_makes(database: SqlDatabase) -> None:
    own = OwnDatabase(database)
    assert visit(own, Apply()).action == "create"
    assert visit(own, Apply()).action == "keep"
    assert database.schema_revision() is None
    fill(database)
    owners = query(database.login(), "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'")
    assert owners == [[database.roles.owner]]


def test_what_was_interrupted_before_the_mark_is_finished(
    database: SqlDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(self: OwnDatabase) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(OwnDatabase, "_mark", killed)
        visit(OwnDatabase(database), Apply())
    assert visit(OwnDatabase(database), Apply()).action == "update"
    assert OwnDatabase(database).find() == {"mark": database.mark(), "login": True}


def test_a_database_with_content_that_carries_no_mark_is_refused(database: SqlDatabase) -> None:
    visit(OwnDatabase(database), Apply())
    fill(database)
    query(database.login(), f'COMMENT ON DATABASE "{NAME}" IS NULL')
    with pytest.raises(Blocked, match="not empty"):
        visit(OwnDatabase(database), Apply())


def test_its_login_is_rotated_without_a_word_about_another_keeper(database: SqlDatabase) -> None:
    visit(OwnDatabase(database), Apply())
    fill(database)
    former = database.login()
    database.require_rotatable()
    new = database.new_login()
    database.admit(new)
    promote(database, new)
    assert database.refuse_others(new) == ""
    assert query(database.login(), "SELECT count(*) FROM flow") == [["1000"]]
    with pytest.raises(Exception, match=former.user):
        query(former, "SELECT 1")


def test_a_drill_and_a_restore_have_room_beside_it(database: SqlDatabase, home: Path) -> None:
    visit(OwnDatabase(database), Apply())
    fill(database)
    dumped = database.dump(home / "dump")
    with database.scratch("drill") as scratch:
        scratch.restore(home / "dump")
        assert scratch.content() == dumped
    database.require_replaceable()
    with database.beside() as beside:
        beside.restore(home / "dump")
        kept = database.swap("before")
    assert database.content() == dumped and list(database.kept()) == [kept]


def test_before_its_instance_is_made_it_has_no_address(database: SqlDatabase) -> None:
    with pytest.raises(NotReady, match="no address yet"):
        replace(database, private_address="").login()
