"""A stack whose launcher and whose host are two folders, which share the store and the secrets alone."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

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


def test_it_is_removed_from_outside(outside: Stack, host: Home) -> None:
    outside.destroy()
    assert not os.path.lexists(host.root)
    assert not os.path.lexists(outside.home)
    assert outside.processes() == {}
