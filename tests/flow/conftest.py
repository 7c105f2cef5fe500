"""A temporary Prefect server for flows, on PostgreSQL as ours are: on SQLite a writer may wait a minute for another."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker
from prefect.server.api.server import SubprocessASGIServer
from prefect.settings import PREFECT_API_URL, PREFECT_SERVER_DATABASE_CONNECTION_URL, temporary_settings

from tests.postgres import free_port, running_cluster


@pytest.fixture(scope="session", autouse=True)
def server() -> Iterator[None]:
    with running_cluster() as cluster:
        with temporary_settings({PREFECT_SERVER_DATABASE_CONNECTION_URL: cluster.create_database("flow")}):
            started = SubprocessASGIServer(port=free_port())
            started.start(timeout=120)
        try:
            with temporary_settings({PREFECT_API_URL: started.api_url}):
                yield
                APILogWorker.drain_all()
                EventsWorker.drain_all()
        finally:
            started.stop()


@pytest.fixture(scope="session")
def client(server: None) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as client:
        yield client
