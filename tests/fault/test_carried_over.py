"""A stack made by the selfhost of November 2026, with all that was kept in another form then, is carried over.

Its ports were blocks on its server, its lease and what is wanted were files in the home, its secrets had no versions,
and its releases named the Python and uv of whoever made them. Clients without retries call through the front door all
the while.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from prefect import flow
from prefect.client.schemas.actions import BlockDocumentCreate

from tests import releases
from tests.fault.runs import nothing_lost
from tests.fault.upgrade_faults import MOST_SECONDS, verification_that_cannot_pass
from tests.stack import COMMAND, SECRETS, Stack, caller_environment, eventually, scratch
from tests.traffic import UNHURRIED, Call, clients

IDLE_SECONDS = 0.05


def was_idle(call: Call) -> bool:
    """Whether a call met a connection that was closed before it: nginx takes another configuration by a reload, which
    closes those on which nobody calls, and the form that is carried over has no `keepalive_min_timeout` against it."""
    is_closed = "RemoteDisconnected" in call.fault or "BrokenPipe" in call.fault or "ConnectionReset" in call.fault
    return is_closed and call.seconds < IDLE_SECONDS


pytestmark = pytest.mark.fault

BEFORE = Path(__file__).with_name("before_december_2026.tar.xz")
"""`git archive 335b842 blocks flows nginx prefect.yaml pyproject.toml`, packed by `xz -9e`: not every clone has it."""
FORMER_BLOCKS = {f"local-{each}" for each in ("database", "machine", "object-store", "proxy", "secret-store")}
TOKEN = "open-sesame"
CLIENTS = 2


@flow
def nightly() -> None:
    """A user's flow; it need not run."""


@pytest.fixture(scope="module")
def former(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A running stack with a user's things on its server and a backup, driven by the selfhost that made it."""
    folder = tmp_path_factory.mktemp("before")
    with tarfile.open(BEFORE) as archive:
        archive.extractall(folder / "checkout", filter="data")
    (folder / "checkout/README.md").touch()  # a wheel's metadata has it
    build = (sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder))
    subprocess.run(build, cwd=folder / "checkout", check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    python = releases.install("3.8.8", folder / "installed", wheel)
    with scratch("flt-") as stack:
        stack.command = (str(python), "-m", "flows.cli")
        stack.bootstrap()
        make_what_a_user_has(stack)
        stack.run("backup", "--reason", "of the former selfhost")
        yield stack
        stack.command = COMMAND  # the one that can remove it now


def make_what_a_user_has(stack: Stack) -> None:
    with stack.client() as client:
        kind = client.read_block_type_by_slug("secret")
        schema = client.get_most_recent_block_schema_for_block_type(kind.id)
        assert schema is not None
        client.create_block_document(
            BlockDocumentCreate(name="git", data={"value": TOKEN}, block_type_id=kind.id, block_schema_id=schema.id)
        )
        client.create_deployment(
            client.create_flow(nightly), "ours", work_pool_name="default", entrypoint="ours.py:nightly", paused=True
        )


@contextmanager
def served(stack: Stack) -> Iterator[None]:
    """Clients meanwhile, none of whose calls fails, and nothing that was recorded is lost but the former blocks."""
    with clients(CLIENTS, stack.url, stack.secret("auth-string"), UNHURRIED) as traffic:
        traffic.wait_for(20)
        yield
        traffic.wait_for(20)
    assert [each for each in traffic.failed() if not was_idle(each)] == []


def belongings(stack: Stack) -> dict[str, Any]:
    """What must be the same afterwards: identity, secrets, a user's block and deployment, the backups that count."""
    with stack.client() as client:
        block = client.read_block_document_by_name("git", "secret")
        deployment = client.read_deployment_by_name("nightly/ours")
    listed = json.loads(stack.run("backup", "--list", "--json").stdout)
    return {
        "identity": json.loads((stack.home / "stack.json").read_text())["id"],
        "secrets": {name: stack.secret(name) for name in SECRETS},
        "block": (block.id, block.data["value"]),
        "deployment": (deployment.id, deployment.work_pool_name),
        "database": stack.query(
            "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = 'prefect-db'"
        ),
        "runs": {row[0] for row in stack.query("SELECT id FROM flow_run WHERE state_type = 'COMPLETED'")},
        "backups": {each["id"] for each in listed["backups"]},
        "unreadable": listed["unreadable"],
    }


def block_types(stack: Stack) -> set[str]:
    with stack.client() as client:
        return {each.slug for each in client.read_block_types()}


def releases_of_the_server(stack: Stack) -> set[str]:
    return {each["argv"][0] for each in stack.host_spec()["services"] if each["name"].startswith("server-")}


@pytest.fixture
def ours(former: Stack) -> Stack:
    """The same stack, driven by the selfhost of this checkout."""
    return dataclasses.replace(former, command=COMMAND, environment=caller_environment(), transcript=[])


@pytest.mark.rare
def test_until_it_is_verified_it_goes_back_to_what_it_was(former: Stack, ours: Stack) -> None:
    before, programs = belongings(former), releases_of_the_server(former)
    with served(former), nothing_lost(former):
        upgrade = ours.start("upgrade", "--self", *former.where)
        with verification_that_cannot_pass(former):
            said, errors = upgrade.communicate(timeout=2 * MOST_SECONDS)
        assert upgrade.returncode == 1 and "SchedulerMoves" in said + errors, said + errors
        eventually(lambda: former.plan() == [], "its former form", 120)
    after = belongings(former)
    assert releases_of_the_server(former) == programs
    assert before["runs"] <= after["runs"] and before["backups"] < after["backups"], "the upgrade had made one"
    assert {**after, "runs": before["runs"], "backups": before["backups"]} == before
    assert block_types(former) >= FORMER_BLOCKS
    assert former.status()["healthy"]


def test_it_is_carried_over_while_it_serves(former: Stack, ours: Stack) -> None:
    before, at_work = belongings(former), former.pids()
    with served(former):
        done = ours.call("upgrade", "--self", *former.where, seconds=2 * MOST_SECONDS)
        assert done.status == 0, done.output
        eventually(lambda: not FORMER_BLOCKS & block_types(former), "the former blocks' end", MOST_SECONDS, every=1)
        eventually(lambda: ours.call("plan", *former.where).stdout == "nothing to change\n", "the rest", 240, every=2)
    assert {name: former.pids()[name] for name in ("nginx", "postgres", "circusd")} == {
        name: at_work[name] for name in ("nginx", "postgres", "circusd")
    }
    after = belongings(ours)
    assert before["runs"] <= after["runs"] and before["backups"] < after["backups"]
    assert {**after, "runs": before["runs"], "backups": before["backups"]} == before
    assert ours.status()["healthy"]
