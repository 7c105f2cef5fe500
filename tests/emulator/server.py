"""The emulator running: one port, on a thread of this process; and the environment that points clients at it."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import uvicorn

from tests.emulator.accounts import email_of, key_file, put_account
from tests.emulator.app import App
from tests.emulator.cloud import Cloud
from tests.emulator.sqladmin_grpc import SqlAdminGrpc

GCLOUD_PATHS = {
    "compute": "compute/compute/v1/",
    "sql": "sqladmin/",
    "run": "run/",
    "artifactregistry": "artifactregistry/",
    "secretmanager": "secretmanager/",
    "storage": "storage/storage/v1/",
    "iam": "iam/",
    "iamcredentials": "iamcredentials/",
    "cloudresourcemanager": "cloudresourcemanager/",
    "serviceusage": "serviceusage/",
    "servicenetworking": "servicenetworking/",
    "cloudbuild": "cloudbuild/",
}
"""What gcloud wants behind the address, by the service's name in CLOUDSDK_API_ENDPOINT_OVERRIDES_*."""
KEPT_OPEN = 600
"""Seconds an idle connection stays open: with less, a client that keeps one writes into a closed one, which at Google
happens after minutes alone.

Source: 10 minutes of the front end (https://cloud.google.com/load-balancing/docs/https#timeouts_and_retries, "HTTP
keepalive timeout"); what it looks like when it is over: googleapis/google-api-python-client#218.
"""
YEAR = timedelta(days=365)
ADMIN = "emulator-admin"
"""The service account whose key the environment points at; roles/owner."""


def listen(port: int = 0, address: str = "127.0.0.1") -> socket.socket:
    """A socket on loopback or another address of this machine; OSError where the port is taken."""
    # With the protocol named, asyncio turns Nagle's algorithm off; without it each answer waits 40 ms for an ACK.
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((address, port))
    sock.listen(512)
    return sock


class Serving(uvicorn.Server):
    """HTTP, and gRPC in front of Cloud SQL, on one event loop: handlers run one at a time, however they are called."""

    def __init__(self, config: uvicorn.Config, sqladmin: SqlAdminGrpc, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self.sqladmin = sqladmin
        self.ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await self.sqladmin.start()
        await super().startup(sockets)
        self.ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self.sqladmin.stop()
        await super().shutdown(sockets)


def server(cloud: Cloud, ready: Callable[[], None] = lambda: None) -> Serving:
    """uvicorn as the emulator needs it: nothing between it and the application, no log of its own.

    `ready` is called once both ports answer.
    """
    app = App(cloud)
    sqladmin = SqlAdminGrpc(app)
    cloud.sqladmin_grpc = sqladmin.address
    config = uvicorn.Config(
        app,
        log_level="error",
        access_log=False,
        proxy_headers=False,
        date_header=False,
        lifespan="off",
        timeout_keep_alive=KEPT_OPEN,
        timeout_graceful_shutdown=1,
    )
    return Serving(config, sqladmin, ready)


@contextmanager
def running(cloud: Cloud, *others: socket.socket) -> Iterator[str]:
    """The emulator on a thread, on further sockets too; gives its address, `http://127.0.0.1:PORT`."""
    sock = listen()
    serving = server(cloud)
    thread = threading.Thread(target=serving.run, kwargs={"sockets": [sock, *others]}, daemon=True)
    thread.start()
    while not serving.started:
        time.sleep(0.005)
    try:
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    finally:
        serving.should_exit = True
        thread.join(10)
        cloud.close()


def key_of(cloud: Cloud, project: str, account: str, address: str) -> dict[str, Any]:
    """A service account with a key, made without a call, as the content of a key file."""
    owner = cloud.world.projects[project]
    record = put_account(cloud.world, owner, email_of(owner, account))
    return key_file(cloud.world, record, f"{address}/token")[1]


def environment(cloud: Cloud, project: str, address: str, folder: Path) -> dict[str, str]:
    """Variables for our clients and for gcloud; writes the key and the token under `folder` (0700).

    The token is good for a year: nothing would renew the file that gcloud reads.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = key_of(cloud, project, ADMIN, address)
    cloud.access.grant(f"projects/{project}", "roles/owner", f"serviceAccount:{key['client_email']}")
    key_file, token_file = folder / "key.json", folder / "token"
    _write(key_file, json.dumps(key))
    _write(token_file, cloud.access.mint(f"serviceAccount:{key['client_email']}", YEAR))
    host, _, port = address.removeprefix("http://").partition(":")
    return {
        "GOOGLE_CLOUD_PROJECT": project,
        "GOOGLE_APPLICATION_CREDENTIALS": str(key_file),
        "EMULATOR_SQLADMIN_GRPC": cloud.sqladmin_grpc,
        "GCE_METADATA_HOST": f"{host}:{port}",
        "CLOUDSDK_CONFIG": str(folder / "gcloud"),
        "CLOUDSDK_CORE_PROJECT": project,
        "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
        "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "1",
        "CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK": "1",
        "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE": str(token_file),
        "CLOUDSDK_PROXY_TYPE": "http",
        "CLOUDSDK_PROXY_ADDRESS": host,
        "CLOUDSDK_PROXY_PORT": port,
        **{
            f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{name.upper()}": f"{address}/{path}"
            for name, path in GCLOUD_PATHS.items()
        },
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_RUN": "http://run.googleapis.com/",
    }


def _write(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)
