"""Real parts which contract tests share: one PostgreSQL for the whole run, one migrated database to copy."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import releases
from tests.postgres import Cluster, base_environment, running_cluster

OLDER = "3.8.3"
"""The oldest Prefect that is supported; from it to the installed one is an upgrade with real migrations."""


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


@pytest.fixture(scope="session")
def older_release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of an environment with the oldest Prefect that is supported, and this project's wheel."""
    return releases.install(OLDER, tmp_path_factory.mktemp("older"))


@pytest.fixture(scope="session")
def older_database(cluster: Cluster, older_release: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Name of an empty database at the older release's schema, made by it; copy it as `migrated_database`."""
    name, home = "older", tmp_path_factory.mktemp("migrate-older")
    url = {"PREFECT_SERVER_DATABASE_CONNECTION_URL": cluster.create_database(name)}
    argv = [older_release, "-P", "-m", "blocks.server.migrate"]
    subprocess.run(argv, env=base_environment(home) | url, cwd=home, check=True, capture_output=True, timeout=120)
    return name
