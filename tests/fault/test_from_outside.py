"""A stack whose launcher and whose host are two folders, which share the store and the secrets alone."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from blocks.agent import processes
from blocks.host.home import Home
from blocks.host.host import Host
from tests.stack import Stack, caller_environment, free_block
from tests.two_folders import HOST, NAME, SHARED, join

pytestmark = pytest.mark.fault
LAUNCHER = (sys.executable, "-P", str(Path(__file__).parents[1] / "two_folders.py"))


@pytest.fixture(scope="module")
def outside() -> Iterator[Stack]:
    """The launcher's folder, and a command line which reaches the host through the port alone."""
    with tempfile.TemporaryDirectory(prefix="two-", dir="/tmp", ignore_cleanup_errors=True) as name:
        folder, port = Path(name), free_block()
        folder.chmod(0o711)
        stack = f"two-{folder.name[-8:].lower().replace('_', 'x')}"
        join(folder / "h", folder / "shared", stack)
        (folder / "stack.toml").write_text(f'[local]\nstore = "{folder / "shared/store"}"\n')
        own = {HOST: str(folder / "m"), SHARED: str(folder / "shared"), NAME: stack}
        made = Stack(folder / "h", stack, port, command=LAUNCHER, environment=caller_environment(**own))
        try:
            yield made
        finally:
            with suppress(Exception):
                Host(Home(folder / "m")).stop()
            made.remove_by_force()
            shutil.rmtree(folder / "m", ignore_errors=True)


@pytest.fixture
def host(outside: Stack) -> Home:
    return Home(Path(outside.environment[HOST]))


def test_a_stack_is_made_from_outside_and_stands_on_its_host_alone(outside: Stack, host: Home) -> None:
    planned = {each["resource"]: each["action"] for each in outside.plan()}
    assert planned["machine"] == planned["host services"] == "create"
    assert not os.path.lexists(host.root)
    outside.bootstrap()
    spec = Host(host).applied()
    assert spec is not None
    assert {each.name for each in spec.services} >= {"postgres", "server-blue", "nginx", "worker-maintenance"}
    assert not any(path.exists() for path in (outside.paths.agent, outside.paths.etc, outside.paths.postgres))
    assert not outside.paths.bootstrap.exists()


def test_it_has_the_launchers_record(outside: Stack) -> None:
    with outside.client() as client:
        assert [each.state_name for each in client.read_flow_runs() if each.name and each.parameters.get("spec")] == [
            "Completed"
        ]


def test_nothing_is_left_to_do_and_all_is_well(outside: Stack, host: Home) -> None:
    assert outside.plan() == []
    found = outside.status()
    applied = Host(host).applied()
    assert found["generation"] == found["observed_generation"] == (applied.generation if applied else 0)
    assert [each["type"] for each in found["conditions"] if not each["status"]] in ([], ["BackupRecent"])


def test_its_logs_are_read_from_outside(outside: Stack, host: Home) -> None:
    assert set(outside.run("logs").stdout.split()) == set(Host(host).logs().names())
    last = outside.run("logs", "agent", "-n", "3").stdout.splitlines()
    assert last == Host(host).logs().file("agent").read_text().splitlines()[-3:]


def test_a_second_bootstrap_changes_nothing(outside: Stack, host: Home) -> None:
    before = Host(host).observe()
    outside.bootstrap()
    after = Host(host).observe()
    assert before is not None and after is not None
    assert {each.name: each.pid for each in after.services} == {each.name: each.pid for each in before.services}


def test_a_log_is_followed_from_outside(outside: Stack, host: Home) -> None:
    following = outside.start("logs", *outside.where, "agent", "-f", "-n", "0")
    try:
        log = Host(host).logs().file("agent")
        assert following.stdout is not None
        stop = threading.Event()

        def write() -> None:
            while not stop.wait(0.5):
                with log.open("a", encoding="utf-8") as file:
                    file.write("a line of the test\n")

        writer = threading.Thread(target=write)
        writer.start()
        try:
            assert "a line of the test\n" in iter(following.stdout.readline, "")
        finally:
            stop.set()
            writer.join()
    finally:
        following.kill()
        following.communicate()


def test_workers_and_lease_are_looked_at_from_outside(outside: Stack) -> None:
    found = json.loads(outside.call("workers", "list", *outside.where, "--json").stdout)["workers"]
    assert {each["name"]: each["state"] for each in found} == {"default": "ready", "maintenance": "ready"}
    assert outside.run("lease").stdout == "nobody holds the lease\n"


def test_a_profile_is_written_from_outside(outside: Stack) -> None:
    own = replace(outside, environment={**outside.environment, "PREFECT_HOME": str(outside.folder / "own")})
    said = own.run("connect").stdout
    assert f"PREFECT_API_URL={outside.url}/api" in said
    assert outside.secret("auth-string") in (outside.folder / "own/profiles.toml").read_text()


def test_a_backup_is_made_and_listed_from_outside(outside: Stack) -> None:
    made = json.loads(outside.run("backup", "--json").stdout)["backups"]
    assert [each["verified"] for each in made] == [True]


def test_the_auth_string_is_rotated_from_outside(outside: Stack) -> None:
    before = outside.secret("auth-string")
    outside.run("rotate", "auth", "--grace-minutes", "0")
    assert outside.secret("auth-string") != before
    with outside.client() as client:
        assert client.api_healthcheck() is None


def test_it_is_stopped_and_started_from_outside(outside: Stack, host: Home) -> None:
    outside.run("stop")
    assert not processes.is_alive(Host(host).daemon())
    outside.run("start")
    assert outside.plan() == []


def test_it_is_removed_from_outside(outside: Stack, host: Home) -> None:
    outside.destroy()
    assert not os.path.lexists(host.root)
    assert not os.path.lexists(outside.home)
    assert outside.processes() == {}
