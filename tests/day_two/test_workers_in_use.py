"""A worker of one's own: added with a package and a token for git, used, scaled and removed under running flows."""

from __future__ import annotations

import json
import os
import secrets
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import BlockDocumentCreate

from blocks.pools import is_marked
from tests import gated, git_server
from tests.e2e.test_operation import artifacts, run_deployment
from tests.gated import Gated
from tests.stack import CALL_SECONDS, Result, Stack, eventually

pytestmark = pytest.mark.fault

NAME = "ours"
CREDENTIALS = "secret/git@127.0.0.1"
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def client(stack: Stack) -> Iterator[SyncPrefectClient]:
    with stack.client() as client:
        yield client


@pytest.fixture
def token(client: SyncPrefectClient) -> Iterator[str]:
    """A token which a secret block on the server holds."""
    value = secrets.token_hex(16)
    kind = client.read_block_type_by_slug("secret")
    (schema,) = [each for each in client.read_block_schemas() if each.block_type_id == kind.id][:1]
    made = client.create_block_document(
        BlockDocumentCreate(name="git", data={"value": value}, block_type_id=kind.id, block_schema_id=schema.id)
    )
    yield value
    client.delete_block_document(made.id)


@pytest.fixture
def repository(token: str, tmp_path: Path) -> Iterator[str]:
    bare = git_server.commit(tmp_path / "git", {gated.FILE: gated.FLOW})
    with git_server.serving(bare.parent, "x-access-token", token) as url:
        yield f"{url}/{bare.name}"


def workers(stack: Stack, verb: str, *options: str) -> Result:
    return stack.call("workers", verb, *options, *stack.where)


def listed(stack: Stack) -> dict[str, dict[str, Any]]:
    done = workers(stack, "list", "--json")
    assert done.status == 0, done.output
    return {each["name"]: each for each in json.loads(done.stdout)["workers"]}


def begin(stack: Stack, client: SyncPrefectClient, verb: str, *options: str) -> subprocess.Popen[str]:
    """Begin a change, and return once its pool is paused because of it."""
    process = stack.start("workers", verb, *options, *stack.where)
    eventually(lambda: is_marked(client.read_work_pool(NAME)), "the pool paused", 90)
    return process


def end(stack: Stack, process: subprocess.Popen[str]) -> Result:
    return stack.ended(process, ("workers", "…"), *process.communicate(timeout=CALL_SECONDS))


def test_a_worker_is_added_used_scaled_and_removed_and_no_run_is_lost(
    stack: Stack, client: SyncPrefectClient, token: str, repository: str
) -> None:
    (stack.folder / "stack.toml").write_text("# the defaults\n")
    options = ("--packages", "iniconfig", "--env", "GREETING=hello", "--git-credentials", CREDENTIALS)
    os.kill(stack.pids()["agent"], signal.SIGKILL)  # on a machine of one's own nothing but a change starts it again
    added = workers(stack, "add", NAME, *options)
    (stack.folder / "stack.toml").unlink()
    assert added.status == 0, added.output
    assert "stack.toml would undo it" in added.stdout and f'git_credentials = "{CREDENTIALS}"' in added.stdout
    deployment = gated.deploy(client, NAME, {"prefect.deployments.steps.git_clone": {"repository": repository}})

    first = Gated(client, deployment, gated.folder_of(stack, NAME))
    assert first.said == "iniconfig: True, GREETING: hello"
    before = stack.pids()[f"worker-{NAME}"]
    scaled = workers(stack, "scale", NAME, "3")
    assert scaled.status == 0, scaled.output
    assert client.read_work_pool(NAME).concurrency_limit == 3
    assert stack.pids()[f"worker-{NAME}"] == before, "what runs would have had to end"
    first.open()

    second = Gated(client, deployment, gated.folder_of(stack, NAME))
    refused = workers(stack, "remove", NAME, "--wait", "0")
    assert refused.status == 1 and f"worker-{NAME} goes on as before, it runs" in refused.stderr, refused.output
    found = listed(stack)[NAME]
    assert (found["concurrency"], found["state"], found["pool_paused"], found["pool_runs"]) == (3, "ready", False, 1)
    assert found["packages"] == ["iniconfig"] and found["git_credentials"] == CREDENTIALS

    removing = begin(stack, client, "remove", NAME)
    second.open()
    removed = end(stack, removing)
    assert removed.status == 0, removed.output
    assert sorted(listed(stack)) == ["default", "maintenance"]
    assert stack.plan() == []
    assert not client.read_work_pool(NAME).is_paused
    assert not [each for each in stack.processes().values() if f"--name {NAME}" in each]
    folders = [stack.home / each for each in ("etc", "run", "state", "agent", "logs")]
    files = [each for folder in folders for each in folder.rglob("*") if each.is_file()]
    assert not [each for each in files if token.encode() in each.read_bytes()], "the token lies on the disk"
    client.delete_deployment(deployment)
    client.delete_work_pool(NAME)


def test_a_token_of_no_host_is_refused_and_another_host_is_not_told_it(
    stack: Stack, client: SyncPrefectClient, token: str, repository: str, tmp_path: Path
) -> None:
    before = stack.wanted_file.read_bytes()
    refused = workers(stack, "add", NAME, "--git-credentials", "secret/git")
    assert refused.status == 1 and "nothing says which host the login in secret/git is for" in refused.stderr
    assert "secret/git@git.example.org" in refused.stderr
    assert stack.wanted_file.read_bytes() == before
    helper = f"!{shlex.quote(sys.executable)} -P -m blocks.git_credentials"
    server = {"PREFECT_API_URL": stack.door.api_url, "PREFECT_API_AUTH_STRING": stack.secret("auth-string")}
    own = {"PREFECT_HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "GIT_TERMINAL_PROMPT": "0"}
    for host, status in (("127.0.0.1", 0), ("localhost", 128)):
        options = ["-c", "credential.helper=", "-c", f"credential.helper={helper} secret/git@{host}"]
        clone = ["git", *options, "clone", "-q", repository, str(tmp_path / host)]
        done = subprocess.run(clone, env={**os.environ, **server, **own}, capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stderr
    assert "the login is for localhost, it is not sent to 127.0.0.1:" in done.stderr and token not in done.stderr


def test_what_cannot_be_is_refused_and_nothing_is_changed(stack: Stack) -> None:
    before = stack.wanted_file.read_bytes()
    unknown = workers(stack, "add", NAME, "--packages", "no-such-package-of-anybody")
    assert unknown.status == 1 and "no-such-package-of-anybody" in unknown.stderr, unknown.output
    missing = workers(stack, "remove", "nobody")
    assert missing.status == 2 and "there is no worker 'nobody'" in missing.stderr
    assert stack.wanted_file.read_bytes() == before
    assert stack.plan() == []


def test_a_person_in_the_ui_finds_the_workers_as_a_table(stack: Stack, client: SyncPrefectClient) -> None:
    run = run_deployment(client, "workers/workers")
    assert run.state is not None and run.state.is_completed(), run.state
    table = json.loads(artifacts(client, run)["workers"])
    assert [(each["name"], each["state"]) for each in table] == [("maintenance", "ready"), ("default", "ready")]
