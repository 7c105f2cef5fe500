"""From nothing to a Prefect at Google, from a laptop and back: the whole target on real parts.

The tests follow each other on one stack; the last removes it. Nothing but Google's default APIs is enabled before.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_SSL_CERT_FILE, temporary_settings
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support.wait import WebDriverWait

from blocks.host import system_user
from tests.browser import BROWSER, DRIVER, PATIENCE, click, log_in, newest, opened_until, running, shot
from tests.lab.cloud import Lab
from tests.lab.instances import Instances
from tests.lab.laptop import Laptop
from tests.stack import Stack

pytestmark = pytest.mark.lab

PROJECT, REGION = "lab-target", "europe-west1"
SPEC = f"""\
target = "gcp"
prefect_version = "3.8.4"
[gcp]
project = "{PROJECT}"
region = "{REGION}"
[gcp.database]
protection = false
"""


@pytest.fixture(scope="module")
def laptop(lab: Lab) -> Iterator[Laptop]:
    lab.cloud.add_project(PROJECT)
    made = Laptop(lab, PROJECT)
    try:
        made.create()
        made.run("sh", "-c", f"cat > /root/stack.toml <<'E'\n{SPEC}E")
        yield made
    finally:
        made.remove()


@pytest.fixture(scope="module")
def said(laptop: Laptop) -> str:
    """What the bootstrap has said."""
    said = laptop.selfhost("bootstrap", "--spec", "/root/stack.toml", timeout=1200)
    print(said)
    return said


@pytest.fixture(scope="module")
def url(said: str) -> str:
    return re.findall(r"https://[a-z0-9.-]+\.run\.app", said)[-1]


@dataclass
class Door(Stack):
    """The stack as who has its address and the auth string reaches it."""

    address: str = ""
    auth_string: str = ""
    bundle: str = ""

    @property
    def url(self) -> str:
        return self.address

    def secret(self, name: str) -> str:
        assert name == "auth-string"
        return self.auth_string

    @contextmanager
    def client(self) -> Iterator[SyncPrefectClient]:
        reach = {PREFECT_API_AUTH_STRING: self.auth_string, PREFECT_API_SSL_CERT_FILE: self.bundle}
        with (
            temporary_settings(reach),
            SyncPrefectClient(f"{self.address}/api", auth_string=self.auth_string) as client,
        ):
            yield client


@pytest.fixture(scope="module")
def door(lab: Lab, laptop: Laptop, url: str) -> Door:
    """With the auth string as the laptop finds it."""
    script = (
        "from blocks import ledgers; from blocks.gcp.secret_store import GcpSecretStore; "
        f"print(GcpSecretStore(ledgers.google('{PROJECT}'), 'prefect', '{REGION}').found('auth-string'))"
    )
    found = laptop.run("uv", "run", "--quiet", "--no-dev", "python", "-c", script).splitlines()[-1]
    return Door(Path("/"), "prefect", 443, address=url, auth_string=found, bundle=str(lab.authority.bundle))


@pytest.fixture(scope="module")
def page(door: Door, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebDriver]:
    """The UI in a real browser, which believes any certificate: it has none of the lab's."""
    with running(tmp_path_factory.mktemp("chromium"), "ignore-certificate-errors") as driver:
        yield log_in(driver, door, door.auth_string)


def test_all_is_well_and_nothing_is_to_be_changed(laptop: Laptop, said: str, url: str) -> None:
    report = json.loads(laptop.selfhost("status", "--json"))
    assert report["healthy"], report
    assert "nothing to change" in laptop.selfhost("plan")


def test_the_bootstrap_is_in_the_record_of_the_server_it_has_made(door: Door) -> None:
    (run,) = newest(door, "bootstrap")
    assert run.state is not None and run.state.is_completed()
    with door.client() as client:
        tasks = client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run.id])))
    assert {"database instance", "machine", "front door", "image of the proxy"} <= {each.name for each in tasks}


@pytest.mark.skipif(not (BROWSER and DRIVER), reason="no browser here: chromium and chromium-driver have one")
def test_a_run_is_started_in_a_browser_and_finishes_there(page: WebDriver, door: Door, tmp_path: Path) -> None:
    before = {run.id for run in newest(door, "probe")}
    opened_until(page, door, "/v2/deployments", "maintenance", "Ready")
    click(page, By.LINK_TEXT, "default")
    click(page, By.XPATH, "//button[normalize-space()='Run']")
    click(page, By.XPATH, "//*[@role='menuitem'][contains(., 'Quick run')]")
    new = WebDriverWait(page, PATIENCE).until(lambda _: [r for r in newest(door, "probe") if r.id not in before])
    opened_until(page, door, f"/v2/runs/flow-run/{new[0].id}", "Completed", "probe answers are you there?")
    shot(page, tmp_path, "started-run")


def test_no_service_s_user_gets_the_machine_s_account(lab: Lab, url: str) -> None:
    token = "http://169.254.169.254/computeMetadata/v1/instance/service-accounts/default/token"
    ask = f"curl -sS -m 5 -o /dev/null -w '%{{http_code}}' -H Metadata-Flavor:Google {token} || echo refused"
    part = lab.cloud.backings.parts["compute.instances"]
    assert isinstance(part, Instances)
    host = f"projects/{PROJECT}/zones/{REGION}-b/instances/prefect-host"
    users = [system_user.name_for("prefect", role) for role in ("server", "w-default")]
    assert part.run(host, "sh", "-c", ask).strip() == "200"
    told = [part.run(host, "runuser", "-u", each, "--", "sh", "-c", ask).strip() for each in users]
    assert told == ["000refused", "000refused"]
    assert "internal" in part.run(host, "runuser", "-u", users[0], "--", "getent", "hosts", "metadata.google.internal")


def test_a_backup_is_restored_beside_the_database_before_it_counts(laptop: Laptop, url: str) -> None:
    assert "✓ verified" in laptop.selfhost("backup")


def test_it_is_upgraded_from_the_laptop(laptop: Laptop, door: Door) -> None:
    print(laptop.selfhost("upgrade", "--to", "3.8.8", timeout=1200))
    with door.client() as client:
        assert client.request("GET", "/admin/version").json() == "3.8.8"
    assert json.loads(laptop.selfhost("status", "--json"))["healthy"]


def test_the_log_of_a_service_is_read_without_a_shell(laptop: Laptop, url: str) -> None:
    assert "worker-default" in laptop.selfhost("logs")
    assert "prefect.server" in laptop.selfhost("logs", "server-green")


def test_destroyed_it_leaves_its_backups_alone(lab: Lab, laptop: Laptop, url: str) -> None:
    laptop.selfhost("destroy", "--yes", timeout=900)
    left = [each.name for each in lab.cloud.world.all() if PROJECT in each.name and "/instances/" in each.name]
    assert left == []
