"""A database of each kind, as tests of all of them take it."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from blocks.local.database import ClusterDatabase
from blocks.postgres.database import PostgresDatabase
from blocks.postgres.url_database import UrlDatabase
from blocks.resource import Apply, visit, visit_to_delete
from tests.contract.database.databases import PASSWORD, named, own_database, promote, secrets_of, taken_over
from tests.postgres import OWNER, Cluster, free_port, query, reachable_programs

if TYPE_CHECKING:
    from tests.contract.database.at_google import AtGoogle

AT_CLOUD_SQL = pytest.param("at_cloud_sql", marks=[pytest.mark.lab, pytest.mark.rare])


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


@pytest.fixture(scope="module")
def own_cluster(folder: Path, programs: Path) -> Iterator[ClusterDatabase]:
    """A cluster of our own, started as the service it is on a host; it holds no database of ours yet."""
    database = own_database(folder, programs, free_port())
    secrets_of(database)
    visit(named(database, "database cluster"), Apply())
    process = database.cluster().start(folder / "postgres.log")
    yield database
    process.send_signal(signal.SIGINT)
    process.wait(30)


@pytest.fixture
def own(own_cluster: ClusterDatabase) -> Iterator[ClusterDatabase]:
    """An empty database in a cluster of our own."""
    visit(named(own_cluster, "database"), Apply())
    yield own_cluster
    for name in own_cluster.kept():
        own_cluster.drop_kept(name)
    visit_to_delete(named(own_cluster, "database"), Apply())


@pytest.fixture
def given(home: Path, programs: Path, cluster: Cluster) -> Iterator[UrlDatabase]:
    """An empty database in a PostgreSQL which somebody else keeps, with a superuser's login."""
    cluster.create_database(home.name)
    yield taken_over(home, programs, f"127.0.0.1:{cluster.port}", OWNER, cluster.password)
    cluster.drop_databases(home.name)


@pytest.fixture
def cloud(home: Path, programs: Path, cluster: Cluster) -> Iterator[UrlDatabase]:
    """The same with a login as Cloud SQL gives one: no superuser's, which may make roles and databases, and is a
    member of the role that owns the database."""
    app, owner = f"app {home.name}", f"owner {home.name}"
    cluster.execute(f'CREATE ROLE "{owner}" NOLOGIN')
    cluster.execute(f'CREATE ROLE "{app}" LOGIN CREATEDB CREATEROLE IN ROLE "{owner}" PASSWORD \'{PASSWORD}\'')
    cluster.execute(f'CREATE DATABASE "{home.name}" OWNER "{owner}"')
    yield taken_over(home, programs, f"127.0.0.1:{cluster.port}", quote(app), PASSWORD)
    cluster.drop_databases(home.name)
    cluster.drop_roles("selfhost_trial_%", app, owner)


@pytest.fixture(scope="session")
def instance() -> Iterator[AtGoogle]:
    from tests.contract.database.at_google import at_google  # Google's clients take a second to load
    from tests.lab.engine import NoEngine, require

    try:
        require()
    except NoEngine as error:
        if os.environ.get("SELFHOST_LAB_REQUIRED"):
            raise
        pytest.skip(str(error))
    with at_google() as made:
        yield made


@pytest.fixture
def at_cloud_sql(home: Path, programs: Path, instance: AtGoogle) -> Iterator[UrlDatabase]:
    """The same in the lab's Cloud SQL, by TLS alone: a login that the API made, and a database which it has made."""
    app = f"app {home.name}"
    instance.instance.add_user(app, PASSWORD)
    query(replace(instance.admin, user=app), f'CREATE DATABASE "{home.name}"')
    yield taken_over(home, programs, f"{instance.admin.host}:5432", quote(app), PASSWORD, instance.tls)
    instance.drop(home.name, "selfhost_trial_%", app)


@pytest.fixture
def rotated(cloud: UrlDatabase) -> UrlDatabase:
    """The same after a rotation of its login."""
    new = cloud.new_login()
    cloud.admit(new)
    promote(cloud, new)
    return cloud


@pytest.fixture(params=["own", "given", "cloud", "rotated", AT_CLOUD_SQL])
def database(request: pytest.FixtureRequest) -> PostgresDatabase:
    found: PostgresDatabase = request.getfixturevalue(request.param)
    return found


@pytest.fixture(params=["given", "cloud", "rotated", AT_CLOUD_SQL])
def external(request: pytest.FixtureRequest) -> UrlDatabase:
    found: UrlDatabase = request.getfixturevalue(request.param)
    return found
