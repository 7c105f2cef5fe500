"""A database of each kind, as tests of all of them take it."""

from __future__ import annotations

import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from blocks.local.database import ClusterDatabase
from blocks.postgres.database import PostgresDatabase
from blocks.postgres.url_database import UrlDatabase
from blocks.resource import Apply, visit, visit_to_delete
from tests.contract.database.databases import PASSWORD, named, own_database, promote, secrets_of, taken_over
from tests.postgres import OWNER, Cluster, free_port, reachable_programs


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
    yield taken_over(home, programs, cluster, OWNER, cluster.password)
    cluster.drop_databases(home.name)


@pytest.fixture
def cloud(home: Path, programs: Path, cluster: Cluster) -> Iterator[UrlDatabase]:
    """The same with a login as Cloud SQL gives one: no superuser's, which may make roles and databases, and is a
    member of the role that owns the database."""
    app, owner = f"app {home.name}", f"owner {home.name}"
    cluster.execute(f'CREATE ROLE "{owner}" NOLOGIN')
    cluster.execute(f'CREATE ROLE "{app}" LOGIN CREATEDB CREATEROLE IN ROLE "{owner}" PASSWORD \'{PASSWORD}\'')
    cluster.execute(f'CREATE DATABASE "{home.name}" OWNER "{owner}"')
    yield taken_over(home, programs, cluster, quote(app), PASSWORD)
    cluster.drop_databases(home.name)
    cluster.drop_roles("selfhost_trial_%", app, owner)


@pytest.fixture
def rotated(cloud: UrlDatabase) -> UrlDatabase:
    """The same after a rotation of its login."""
    new = cloud.new_login()
    cloud.admit(new)
    promote(cloud, new)
    return cloud


@pytest.fixture(params=["own", "given", "cloud", "rotated"])
def database(request: pytest.FixtureRequest) -> PostgresDatabase:
    found: PostgresDatabase = request.getfixturevalue(request.param)
    return found


@pytest.fixture(params=["given", "cloud", "rotated"])
def external(request: pytest.FixtureRequest) -> UrlDatabase:
    found: UrlDatabase = request.getfixturevalue(request.param)
    return found
