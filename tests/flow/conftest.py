"""One whole Prefect server for all flow tests, on PostgreSQL as ours are: on SQLite a writer may wait a minute."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker
from prefect.settings import PREFECT_API_URL, temporary_settings

from tests.postgres import running_cluster
from tests.prefect_server import running_server


@pytest.fixture(scope="package")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_cluster() as cluster, running_server(cluster, tmp_path_factory.mktemp("server")) as url:
        yield url


@pytest.fixture(scope="package", autouse=True)
def server(address: str) -> Iterator[None]:
    """Flows of this process run on it."""
    with temporary_settings({PREFECT_API_URL: f"{address}/api"}):
        yield
        APILogWorker.drain_all()
        EventsWorker.drain_all()


@pytest.fixture(scope="package")
def client(server: None) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as client:
        yield client
