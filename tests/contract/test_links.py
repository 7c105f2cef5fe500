"""Where the links lead which Prefect gives: to the stack's public URL, though TLS is ended before the front door.

A real server and a real worker with the files that a stack gives them, and one run which fails.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

from blocks import catalog
from blocks import front_door as doors
from blocks.agent.spec import Artifact, Release
from blocks.automations import automations
from blocks.host.home import Home
from blocks.services import server_toml, worker_toml
from blocks.site import here
from blocks.spec import SERVER, TOOLS, Alerts, build_spec
from blocks.stack import promoted_secrets
from tests.front_door import FrontDoor, front_door
from tests.held import holding, server_environment
from tests.postgres import Cluster, base_environment, free_port
from tests.stack import eventually
from tests.traffic import headers

AUTH = "admin:a-secret-of-this-test"
PUBLIC = "https://prefect.example.org"
RELEASE = Release("3.8.8-0123456789ab", Artifact("lock.txt", "0" * 64))
FLOW = """
from pathlib import Path

from prefect import flow, runtime, task

@task
def told() -> str:
    return runtime.task_run.ui_url

@flow
def failing() -> None:
    Path("told").write_text(f"{runtime.flow_run.ui_url} {told()}")
    raise ValueError("as it was told to")
"""


@dataclass(frozen=True)
class Served:
    """The front door of a server, and the working folder of a worker."""

    door: FrontDoor
    worker: Path

    @contextmanager
    def client(self) -> Iterator[SyncPrefectClient]:
        with doors.FrontDoor(f"http://127.0.0.1:{self.door.port}", AUTH).client() as client:
            yield client

    def called_by_tls(self, path: str, body: object) -> httpx.Response:
        """The answer to a call which came by TLS to whatever ends it before the front door."""
        proto, _, host = PUBLIC.partition("://")
        outer = {"Host": host, "X-Forwarded-Proto": proto, **headers(AUTH)}
        with self.door.client() as client:
            return client.post(path, json=body, headers=outer)


@pytest.fixture(scope="module")
def served(cluster: Cluster, migrated_database: str) -> Iterator[Served]:
    with tempfile.TemporaryDirectory(prefix="links-") as name, ExitStack() as stack:
        folder = Path(name)
        run, client = folder / "server", folder / "client"
        for each in (run, client):
            each.mkdir()
        url = cluster.create_database("links", migrated_database)
        holder = stack.enter_context(holding(run, server_environment(run, url)))
        put_files(folder, run, client, holder.listening.getsockname()[1])
        holder.start("blue").wait_ready()
        door = stack.enter_context(front_door(holder.listening.getsockname()[1]))
        yield Served(door, client)


def put_files(folder: Path, server: Path, client: Path, port: int) -> None:
    """The `prefect.toml` of a stack whose server has that port, with the secrets which the host agent would put in."""
    ports = {"public": free_port(), "server": port}
    spec = build_spec({"home": str(folder / "home"), "public_url": PUBLIC, "ports": ports}, "test")
    stack = catalog.compose(spec, {SERVER: RELEASE, TOOLS: RELEASE}, here(spec), {})
    for file, where in (
        (server_toml(stack.proxy, server, stack.database, promoted_secrets(stack)), server),
        (worker_toml(stack.proxy, Home(folder), spec.workers[0], stack.reference("auth-string"), ""), client),
    ):
        (where / "prefect.toml").write_text(file.content.replace("${secret:auth-string@1}", AUTH))


@contextmanager
def webhook() -> Iterator[tuple[str, list[str]]]:
    """The address of a chat service, and what it was told."""
    told: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["text"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: pytest's output is for people."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/", told
        server.shutdown()
        thread.join()


@dataclass(frozen=True)
class Failed:
    """What a run which failed on a worker has said, and where."""

    link: str
    told: list[str]
    flow: str
    worker: str


@pytest.fixture(scope="module")
def failed(served: Served) -> Iterator[Failed]:
    """A run on the pool `maintenance`, with the alerts of a stack."""
    (served.worker / "flow.py").write_text(FLOW)
    with webhook() as (url, told), served.client() as client:
        reach = {PREFECT_API_URL: str(client.api_url), PREFECT_API_AUTH_STRING: AUTH}
        with temporary_settings(reach):
            CustomWebhookNotificationBlock(name="ops", url=url, json_data={"text": "{{body}}"}).save("ops")
        alerts = automations(Alerts(notification_block="custom-webhook/ops"))
        client.create_automation(alerts["Maintenance run failed"](client))
        client.create_work_pool(WorkPoolCreate(name="maintenance", type="process"))
        pull = {"prefect.deployments.steps.set_working_directory": {"directory": str(served.worker)}}
        deployment = client.create_deployment(
            flow_id=client.create_flow_from_name("failing"),
            name="failing",
            entrypoint="flow.py:failing",
            work_pool_name="maintenance",
            pull_steps=[pull],
        )
        run = client.create_flow_run_from_deployment(deployment)
        argv = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "maintenance", "--run-once"]
        done = subprocess.run(
            argv, cwd=served.worker, env=base_environment(served.worker), capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        eventually(lambda: told, "the alert", 60)
        said = (served.worker / "told").read_text()
        yield Failed(f"{PUBLIC}/runs/flow-run/{run.id}", told, said, done.stdout + done.stderr)


def test_an_alert_leads_to_the_run(failed: Failed) -> None:
    (body,) = failed.told
    assert body.startswith("Flow run ") and body.endswith(f" of failing: Failed. {failed.link}")


def test_a_flow_on_a_worker_knows_where_it_is_watched(failed: Failed) -> None:
    flow_run, task_run = failed.flow.split()
    assert flow_run == failed.link.replace("/runs/", "/flow-runs/")  # both UIs lead on from there
    assert task_run.startswith(f"{PUBLIC}/runs/task-run/")


def test_what_a_worker_logs_leads_to_the_run(failed: Failed) -> None:
    assert f"View at {failed.link}" in failed.worker
    assert set(re.findall(r"https?://\S+", failed.worker)) == {failed.link}


def test_pages_of_events_lead_on_by_tls(served: Served, failed: Failed) -> None:
    page = served.called_by_tls("/api/events/filter", {"limit": 1}).json()
    assert page["next_page"].startswith(f"{PUBLIC}/api/events/filter/next?page-token=")


def test_a_redirect_of_the_server_stays_where_the_client_called(served: Served) -> None:
    answer = served.called_by_tls("/api/flow_runs/filter/", {})
    assert (answer.status_code, answer.headers["location"]) == (307, "/api/flow_runs/filter")
