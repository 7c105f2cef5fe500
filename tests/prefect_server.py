"""One whole Prefect server with all its services: the one of Prefect's test harness has no scheduler."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from blocks.waiting import wait_until
from tests.postgres import Cluster, base_environment, free_port


@contextmanager
def running_server(cluster: Cluster, home: Path) -> Iterator[str]:
    """Start one on a new database of the cluster; its `http://127.0.0.1:PORT`."""
    url = f"http://127.0.0.1:{free_port()}"
    app = ["uvicorn", "--factory", "prefect.server.api.server:create_app"]
    process = subprocess.Popen(
        [sys.executable, "-m", *app, "--port", url.rpartition(":")[2], "--log-level", "error"],
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
    own = {
        "PREFECT_UI_ENABLED": "0",
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": database,
        "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_FLUSH_INTERVAL": "0.1",  # instead of 5 s: tests wait for each event
    }
    return base_environment(home) | own


def _lives(url: str) -> bool:
    try:
        return httpx.get(f"{url}/api/health").status_code == 200
    except httpx.TransportError:
        return False
