"""Rehearsals of an upgrade on copies of a database, with two real releases and a real PostgreSQL."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import prefect
import pytest
from cryptography.fernet import Fernet

from blocks.server.rehearse import read_options, try_old
from blocks.waiting import wait_until
from tests.contract.conftest import OLDER
from tests.postgres import Cluster, base_environment

pytestmark = pytest.mark.fault

AUTH = "admin:a-secret-of-this-test"
KEY = Fernet.generate_key().decode()
CHECKS = ["ready", "version", "flow runs", "task runs", "deployments", "logs", "write", "blocks decrypted"]
ENDED_SECONDS = 15.0
SAVE_BLOCK = """
import asyncio
from prefect.blocks.system import Secret
from prefect.server.database import provide_database_interface
from prefect.server.models.block_registration import run_block_auto_registration
from prefect.server.models import block_documents, block_schemas, block_types
from prefect.server.schemas.actions import BlockDocumentCreate

async def save():
    database = provide_database_interface()
    async with await database.session() as session:
        await run_block_auto_registration(session=session)
    async with database.session_context(begin_transaction=True) as session:
        kind = await block_types.read_block_type_by_slug(session, "secret")
        schema = await block_schemas.read_block_schema_by_checksum(session, Secret._calculate_schema_checksum())
        document = BlockDocumentCreate(
            name="hidden", data={"value": "in clear"}, block_schema_id=schema.id, block_type_id=kind.id
        )
        await block_documents.create_block_document(session, document)

asyncio.run(save())
"""
"""Saves a secret block as a server does, without one."""


@pytest.fixture(scope="module")
def filled(cluster: Cluster, older_release: Path, older_database: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Name of a database of the older release with a secret block in it."""
    home = tmp_path_factory.mktemp("fill")
    url = {"PREFECT_SERVER_DATABASE_CONNECTION_URL": cluster.create_database("filled", older_database)}
    variables = base_environment(home) | url | {"PREFECT_SERVER_ENCRYPTION_KEY": KEY}
    subprocess.run([older_release, "-c", SAVE_BLOCK], env=variables, cwd=home, check=True, timeout=120)
    return "filled"


@pytest.fixture
def copy(cluster: Cluster, filled: str, tmp_path: Path) -> Iterator[str]:
    """Name of a copy of it; `prefect.toml` in the test's folder names that."""
    name = f"copy-{tmp_path.name}"[:60]
    url = cluster.create_database(name, filled)
    toml = f'[server.api]\nauth_string = "{AUTH}"\n[server.database]\nconnection_url = "{url}"\n'
    (tmp_path / "prefect.toml").write_text(toml)
    yield name
    cluster.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def command(old_python: Path, *options: str, old_version: str = OLDER) -> list[str]:
    argv = [sys.executable, "-P", "-m", "blocks.server.rehearse", "--run-dir", "run", "--old-python", str(old_python)]
    return [*argv, "--old-version", old_version, "--new-version", prefect.__version__, *options]


def start(argv: list[str], folder: Path, **more: str) -> subprocess.Popen[str]:
    variables = base_environment(folder / "home") | {"PREFECT_SERVER_ENCRYPTION_KEY": KEY, **more}
    return subprocess.Popen(argv, env=variables, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def rehearse(argv: list[str], folder: Path, **more: str) -> tuple[int, str, str]:
    """Run to the end: exit status, output, errors."""
    process = start(argv, folder, **more)
    output, errors = process.communicate(timeout=400)
    return process.returncode, output, errors


def running_in(folder: Path) -> list[int]:
    """Processes whose working folder is `folder`; one that only waits to be reaped has none."""
    found = []
    for each in Path("/proc").iterdir():
        with suppress(OSError):
            if each.name.isdigit() and (each / "cwd").readlink() == folder:
                found.append(int(each.name))
    return found


def wait_for_processes(folder: Path, wanted: Callable[[list[int]], bool], seconds: float = 60.0) -> None:
    wait_until(lambda: wanted(running_in(folder)), f"processes in {folder}", timeout=seconds, every=0.05)


def test_an_upgrade_is_rehearsed_with_both_servers_and_the_way_back(
    cluster: Cluster, copy: str, older_release: Path, tmp_path: Path
) -> None:
    before = cluster.execute("SELECT version_num FROM alembic_version", copy)[0][0]
    status, output, errors = rehearse(command(older_release, "--revision-before", before), tmp_path)
    assert status == 0, errors
    assert len(output) < 4096, "a job's output is kept to 4 KiB"
    report = json.loads(output.splitlines()[-1])
    assert (report["from"], report["old_serves"], report["old_reason"]) == (before, True, "")
    assert report["migration_seconds"] > 0
    assert [each["name"] for each in report["new"]["checks"]] == CHECKS
    assert report["new"]["checks"][-1]["found"] == "1 read"
    assert report["new"]["ready_seconds"] > 0
    assert (report["downgrade_seconds"] > 0, report["downgrade_reason"]) == (True, "")
    assert cluster.execute("SELECT version_num FROM alembic_version", copy)[0][0] == before
    written = cluster.execute("SELECT count(*), bool_and(state_type = 'COMPLETED') FROM flow_run", copy)[0]
    assert tuple(written) == (2, True), "one by each server"
    assert running_in(tmp_path) == []
    for secret in (AUTH.split(":")[1], KEY, cluster.password, "in clear"):
        assert secret not in output + errors
        assert not [each for each in (tmp_path / "run").glob("*.log") if secret in each.read_text()]


def test_a_new_server_which_cannot_start_fails_it_in_one_line(copy: str, older_release: Path, tmp_path: Path) -> None:
    broken = "import sys\nif 'blocks.server.serve' in sys.orig_argv: sys.exit('this release is broken')\n"
    (tmp_path / "site").mkdir()
    (tmp_path / "site/sitecustomize.py").write_text(broken)
    status, output, errors = rehearse(command(older_release), tmp_path, PYTHONPATH=str(tmp_path / "site"))
    assert (status, output) == (1, "")
    assert "the new server (Prefect " in errors.splitlines()[-1]
    assert "this release is broken" in errors.splitlines()[-1]
    assert "Traceback" not in errors
    assert running_in(tmp_path) == []


def test_an_old_server_which_cannot_live_on_the_new_schema_is_said_and_no_failure(tmp_path: Path) -> None:
    options = read_options(command(Path("/bin/false"), old_version="3.8.3")[4:])
    said = try_old(replace(options, run_dir=tmp_path), AUTH, dict(os.environ))
    assert said == {"old_serves": False, "old_reason": said["old_reason"]}
    assert "exit status 1" in said["old_reason"]


def test_told_to_end_it_ends_the_server_it_started(copy: str, older_release: Path, tmp_path: Path) -> None:
    process = start(command(older_release), tmp_path)
    wait_until((tmp_path / "run/server-new.log").exists, "the new server's start", timeout=60, every=0.05)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=ENDED_SECONDS)
    assert process.returncode == 1
    assert errors.splitlines()[-1] == "rehearse: told to end by SIGTERM"
    assert running_in(tmp_path) == []


@pytest.mark.fault
def test_killed_or_orphaned_it_leaves_nothing_running(copy: str, older_release: Path, tmp_path: Path) -> None:
    shell = ["/bin/sh", "-c", '"$@" & wait', "sh", *command(older_release)]
    for argv, alone in ((command(older_release), 1), (shell, 2)):
        process = start(argv, tmp_path)
        wait_for_processes(tmp_path, lambda found, alone=alone: len(found) > alone)  # type: ignore[misc]
        process.kill()
        wait_for_processes(tmp_path, lambda found: not found, ENDED_SECONDS)
        process.communicate(timeout=ENDED_SECONDS)
