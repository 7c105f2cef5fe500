"""Real parts which contract tests share: one PostgreSQL for the whole run, one migrated database to copy."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.postgres import Cluster, running_cluster


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A real PostgreSQL on loopback in a temporary folder, as another system user where we are root."""
    with running_cluster() as running:
        yield running


@pytest.fixture(scope="session")
def migrated_database(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Name of an empty database at the installed Prefect's schema; make yours with it as the template."""
    name = "migrated"
    cluster.create_database(name)
    cluster.migrate(name, tmp_path_factory.mktemp("migrate"))
    return name
