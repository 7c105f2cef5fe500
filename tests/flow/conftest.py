"""One whole Prefect server for all flow tests, on PostgreSQL as ours are: on SQLite a writer may wait a minute."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker
from prefect.settings import PREFECT_API_URL, temporary_settings

from blocks.waiting import wait_until
from tests.postgres import base_environment, free_port, running_cluster


@pytest.fixture(scope="package")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`http://127.0.0.1:PORT` of a server with all its services: the one of Prefect's test harness has no scheduler."""
    with running_cluster() as cluster:
        url, home = f"http://127.0.0.1:{free_port()}", tmp_path_factory.mktemp("server")
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "uvicorn",
                "--factory",
                "prefect.server.api.server:create_app",
                "--port",
                url.rpartition(":")[2],
                "--log-level",
                "error",
            ],
            env=_environment(home, cluster.create_database("flow")),
            cwd=home,
        )
        try:
            wait_until(lambda: _lives(url), "a server", timeout=120, every=0.2)
            yield url
        finally:
            process.terminate()
            process.wait(30)


def _environment(home: Path, database: str) -> dict[str, str]:
    own = {"PREFECT_UI_ENABLED": "0", "PREFECT_SERVER_DATABASE_CONNECTION_URL": database}
    return base_environment(home) | own


def _lives(url: str) -> bool:
    try:
        return httpx.get(f"{url}/api/health").status_code == 200
    except httpx.TransportError:
        return False


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
