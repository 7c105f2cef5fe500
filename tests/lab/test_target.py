"""From nothing to a Prefect at Google, from a laptop and back: the whole target on real parts.

The tests follow each other on one stack; the last removes it. Nothing but Google's default APIs is enabled before.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.cloud import Lab
from tests.lab.laptop import Laptop

pytestmark = pytest.mark.lab

PROJECT, REGION = "lab-target", "europe-west1"
SPEC = f"""\
target = "gcp"
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


def call(laptop: Laptop, url: str, path: str, body: object) -> Any:
    """What the server answers through the front door, asked with the auth string that the laptop finds."""
    script = (
        "import json,sys; from blocks import ledgers; from blocks.gcp.secret_store import GcpSecretStore as S; "
        "import requests; u,p,b=sys.argv[1:]; "
        f"a=S(ledgers.google('{PROJECT}'),'prefect','{REGION}').found('auth-string'); "
        "r=requests.post(u+'/api'+p,json=json.loads(b),auth=tuple(a.split(':',1)),timeout=60); "
        "r.raise_for_status(); print(r.text)"
    )
    python = ("uv", "run", "--quiet", "--no-dev", "python", "-c", script)
    return json.loads(laptop.run(*python, url, path, json.dumps(body)).splitlines()[-1])


def test_all_is_well_and_nothing_is_to_be_changed(laptop: Laptop, said: str, url: str) -> None:
    report = json.loads(laptop.selfhost("status", "--json"))
    assert report["healthy"], report
    assert "nothing to change" in laptop.selfhost("plan")


def test_the_bootstrap_is_in_the_record_of_the_server_it_has_made(laptop: Laptop, url: str) -> None:
    runs = call(laptop, url, "/flow_runs/filter", {"flows": {"name": {"any_": ["bootstrap"]}}})
    assert [each["state"]["type"] for each in runs] == ["COMPLETED"]
    of_it = {"flow_runs": {"id": {"any_": [runs[0]["id"]]}}, "limit": 200}
    names = {each["name"] for each in call(laptop, url, "/task_runs/filter", of_it)}
    assert {"database instance", "machine", "front door", "image of the proxy"} <= names


def test_a_backup_is_restored_beside_the_database_before_it_counts(laptop: Laptop, url: str) -> None:
    assert "✓ verified" in laptop.selfhost("backup")


def test_the_log_of_a_service_is_read_without_a_shell(laptop: Laptop, url: str) -> None:
    assert "worker-default" in laptop.selfhost("logs")
    assert "prefect.server" in laptop.selfhost("logs", "server-blue")


def test_destroyed_it_leaves_its_backups_alone(lab: Lab, laptop: Laptop, url: str) -> None:
    laptop.selfhost("destroy", "--yes", timeout=900)
    left = [each.name for each in lab.cloud.world.all() if PROJECT in each.name and "/instances/" in each.name]
    assert left == []
