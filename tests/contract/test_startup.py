"""What the machine runs at its start, by a real shell and curl, against the emulated metadata server and bucket."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

from blocks.agent.mark import Bucket
from blocks.gcp import startup
from blocks.gcp.account import ProjectRoles, ServiceAccount
from blocks.gcp.instance import Instance
from blocks.gcp.network import Network
from blocks.gcp.object_store import GcsObjectStore
from blocks.host.interpreter import uv_binary
from blocks.release import ARTIFACTS
from blocks.resource import converge, plan
from tests import google

ZONE = f"{google.REGION}-b"
NOTES = """
import json, sys
from pathlib import Path
told = dict(zip(sys.argv[2::2], sys.argv[3::2]))
notes = Path(told["--home"]) / "notes"
count = len(notes.read_text().splitlines()) if notes.exists() else 0
with notes.open("a") as file:
    file.write(json.dumps([sys.argv[1], told, sys.flags.isolated, sys.flags.no_site]) + "\\n")
sys.exit(1 if count == 0 else 0)
"""
"""A host agent which notes how it is called; its first start fails."""


@pytest.fixture(scope="module")
def project() -> google.Project:
    return google.project()


@pytest.fixture(scope="module")
def bucket(project: google.Project) -> Bucket:
    """The bucket; a machine in the project, whose account may read and write there."""
    seen = project.seen_by()
    account = ServiceAccount(seen, "trial", "host")
    network, made = Network(seen, "trial", google.REGION, account.email), Bucket(f"{project.id}-b", project.id, "")
    parts = ("network", "subnetwork of the host", "address of the host")
    machine = Instance(
        seen, "trial", ZONE, network.subnetwork("host"), network.wanted.host_address, account.email, lambda: ""
    )
    roles = ProjectRoles(seen, account, ("roles/storage.objectUser",))
    store = GcsObjectStore(seen, "trial", made.name, google.REGION)
    converge([*store.outside(), account, roles, *(e for e in network.resources() if e.name in parts), machine])
    google.pass_seconds(600)  # the role is known by then
    return Bucket(made.name, project.id, google.REGION)


@pytest.fixture
def store(project: google.Project, bucket: Bucket) -> Iterator[GcsObjectStore]:
    made = GcsObjectStore(project.seen_by(), "trial", bucket.name, bucket.region)
    yield made
    for key in made.listing():
        made.remove(key)


def archive(main: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        file.writestr("__main__.py", main)
    return content.getvalue()


def run(project: google.Project, text: str) -> subprocess.CompletedProcess[str]:
    """Run a script as the machine would, but for where it finds Google, and its pauses."""
    machine = f"projects/{project.id}/zones/{ZONE}/instances/trial-host"
    found = {
        "GCE_METADATA_HOST": f"{project.address.removeprefix('http://')}/metadata/{machine}",
        "SELFHOST_STORAGE": f"{project.address}/storage",
        "PATH": os.environ["PATH"],
    }
    text = text.replace(f"sleep {startup.PAUSE}", "sleep 0").replace(f"-ge {startup.TRIES}", "-ge 3")
    return subprocess.run(["/bin/sh", "-c", text], env=found, cwd="/", capture_output=True, text=True, check=False)


def script(home: Path, bucket: Bucket, agent: str) -> str:
    return startup.script("trial", "the-id", PurePosixPath(home), bucket, {"agent": agent, "uv": "5" * 64})


def test_it_fetches_the_agent_and_has_it_settle_until_that_is_done(
    project: google.Project, bucket: Bucket, store: GcsObjectStore, tmp_path: Path
) -> None:
    digest = hashlib.sha256(archive(NOTES)).hexdigest()
    store.write(ARTIFACTS + digest, archive(NOTES), if_generation=0)
    done = run(project, script(tmp_path, bucket, digest))
    assert done.returncode == 0, done.stderr
    first, second = map(json.loads, (tmp_path / "notes").read_text().splitlines())
    told = {"--home": str(tmp_path), "--bucket": bucket.name, "--project": project.id, "--region": google.REGION}
    told |= {"--stack": "trial", "--identity": "the-id", "--uv": "5" * 64}
    assert first == second == ["settle", told, 1, 1]
    assert "selfhost: fetches the host agent" in done.stdout
    stage = store.read("boot/script")
    assert stage is not None
    assert {"stage": "script", "said": "fetches the host agent"}.items() <= json.loads(stage.content).items()
    assert set(json.loads(stage.content)) == {"stage", "at", "boot", "said"}


def test_the_agent_that_is_there_is_run_and_nothing_fetched(
    project: google.Project, bucket: Bucket, store: GcsObjectStore, tmp_path: Path
) -> None:
    """As after a reboot: it may be newer, and the bucket out of reach."""
    (tmp_path / "agent").mkdir()
    (tmp_path / "agent/agent.pyz").write_bytes(archive(NOTES))
    assert run(project, script(tmp_path, bucket, "0" * 64)).returncode == 0
    assert len((tmp_path / "notes").read_text().splitlines()) == 2
    assert store.listing("boot/") == []


def test_another_archive_than_the_one_that_is_wanted_is_not_run(
    project: google.Project, bucket: Bucket, store: GcsObjectStore, tmp_path: Path
) -> None:
    store.write(ARTIFACTS + "0" * 64, archive(NOTES), if_generation=0)
    done = run(project, script(tmp_path, bucket, "0" * 64))
    assert (done.returncode, list(tmp_path.iterdir())) == (1, [])
    assert "selfhost: gave up" in done.stdout


@pytest.mark.usefixtures("store")
def test_an_archive_that_is_not_there_yet_is_tried_again(
    project: google.Project, bucket: Bucket, tmp_path: Path
) -> None:
    done = run(project, script(tmp_path, bucket, "1" * 64))
    assert done.returncode == 1
    assert done.stderr.count("404") == 3


def test_the_programs_are_put_into_the_bucket_once(store: GcsObjectStore) -> None:
    programs = startup.HostPrograms(store)
    parts = [*store.outside(), programs]
    assert [each.resource for each in plan(parts)] == ["host programs"]
    converge(parts)
    assert plan(parts) == []
    for name, path in startup.programs().items():
        found = store.read(ARTIFACTS + startup.digests()[name])
        assert found is not None and found.content == path.read_bytes()
    store.remove(ARTIFACTS + startup.digests()["uv"])
    (change,) = plan(parts)
    assert list(change.fields) == ["uv"]
    programs.delete()
    assert store.listing() == []


def test_a_launcher_of_another_platform_fetches_the_machines_uv(tmp_path: Path) -> None:
    """Here both are the same one."""
    assert startup.fetch_uv(tmp_path).read_bytes() == Path(uv_binary()).read_bytes()


def test_a_plan_before_there_is_a_bucket_says_that_the_programs_are_put_there(project: google.Project) -> None:
    store = GcsObjectStore(project.seen_by(), "trial", f"{project.id}-none", google.REGION)
    assert startup.HostPrograms(store).find() is None
