"""A stack's `HostSpec` while something of it changes: its release, its slot, its secrets, and the rehearsal of that."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from blocks import rollout
from blocks.agent.spec import HostSpec
from blocks.agent.validation import faults
from blocks.host.home import Home
from blocks.services import ServerSecrets
from blocks.spec import SERVER
from blocks.stack import Stack, host_spec, next_spec, server_secrets
from flows.upgrade.steps import rehearsal_job
from flows.upgrade.switch import Transition
from tests.unit.composed import release, rendered, service, stack_of, stack_with_secrets


@pytest.fixture
def stack(home: Home) -> Stack:
    return stack_with_secrets(home)


@pytest.fixture
def spec(stack: Stack) -> HostSpec:
    return host_spec(stack, generation=7)


def test_every_program_is_of_a_release_it_lists(spec: HostSpec) -> None:
    listed = {each.id for each in spec.releases}
    for each in spec.services:
        found = re.search(r"/releases/([^/]+)/", each.argv[0])
        assert found, each.argv[0]
        assert found[1] in listed


def test_slots_share_a_socket_and_nothing_else(stack: Stack) -> None:
    blue, green = (host_spec(stack, 1, slot).services[1] for slot in ("blue", "green"))
    assert blue.sockets == green.sockets == ("server",)
    assert (blue.name, green.name) == ("server-blue", "server-green")
    assert blue.ready_file != green.ready_file
    assert blue.health.socket != green.health.socket
    # One PREFECT_HOME: leases of concurrency limits outlive a switch.
    assert blue.env["PREFECT_HOME"] == green.env["PREFECT_HOME"]
    assert blue.cwd != green.cwd


PROMOTED = ServerSecrets("auth-string@1", "database-login@1", "encryption-key@1")
ROTATING = ServerSecrets("auth-string@2", "database-login@7", "encryption-key@1")


def test_a_server_in_rotation_has_other_secrets_and_workers_have_not(stack: Stack) -> None:
    spec = host_spec(stack, 1, "green", ROTATING)
    toml = rendered(spec, "etc/server-green/prefect.toml")["server"]
    assert toml["api"]["auth_string"] == "${secret:auth-string@2}"
    assert toml["database"]["connection_url"].startswith("postgresql+asyncpg://${secret:database-login@7}@")
    assert rendered(spec, "etc/worker-default/prefect.toml")["api"]["auth_string"] == "${secret:auth-string@1}"


@pytest.mark.parametrize("secrets", [PROMOTED, ROTATING, dataclasses.replace(PROMOTED, auth_string="auth-string@2")])
def test_a_converge_leaves_a_server_the_secrets_it_has(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, secrets: ServerSecrets
) -> None:
    applied = host_spec(stack, 7, "green", secrets)
    assert server_secrets(applied, "green", PROMOTED) == secrets
    assert server_secrets(applied, "blue", PROMOTED) == PROMOTED, "no server is there"
    monkeypatch.setattr(type(stack.host), "applied", lambda _: applied)
    assert next_spec(stack) == dataclasses.replace(applied, generation=8)


@pytest.mark.parametrize(("written", "version"), [("", 5), ("-next", 2)])
def test_a_server_of_a_release_before_versions_keeps_its_secrets(stack: Stack, written: str, version: int) -> None:
    """It referred to a secret by its name; to what was about to take its place, by a name of its own."""
    promoted = dataclasses.replace(PROMOTED, auth_string="auth-string@5")
    applied = host_spec(stack, 7, "green", promoted)
    files = [
        dataclasses.replace(each, content=each.content.replace("auth-string@5", f"auth-string{written}"))
        for each in applied.files
    ]
    before = dataclasses.replace(applied, files=tuple(files))
    assert before != applied
    assert server_secrets(before, "green", promoted).auth_string == f"auth-string@{version}"


def test_what_is_wanted_says_which_versions_are_used(home: Home) -> None:
    stack = dataclasses.replace(stack_of(home), versions={"auth-string": 3, "encryption-key": 2})
    spec = host_spec(stack, 1)
    assert rendered(spec, "etc/server-blue/prefect.toml")["server"]["api"]["auth_string"] == "${secret:auth-string@3}"
    assert rendered(spec, "etc/worker-default/prefect.toml")["api"]["auth_string"] == "${secret:auth-string@3}"
    assert service(spec, "server-blue").secrets == {"PREFECT_SERVER_ENCRYPTION_KEY": "encryption-key@2"}
    home.secrets.mkdir(parents=True)
    (home.secrets / "auth-string@3").write_text("admin:third")
    assert stack.secret("auth-string") == stack.door.auth_string == "admin:third"


def test_a_rehearsal_runs_as_the_server_does_in_a_folder_of_that_user(stack: Stack) -> None:
    newer = dataclasses.replace(stack, releases={**stack.releases, SERVER: release("3.8.9")})
    transition = Transition(stack, newer, "blue", "green", "")
    job, (settings,), (folder,) = rehearsal_job(transition, stack.database)
    server = service(transition.new_spec(), "server-green")
    assert job.argv[0] == server.argv[0]
    assert {job.user, settings.user, folder.user} == {server.user}
    assert job.cwd == str(Path(settings.path).parent)
    assert {job.env["HOME"], job.argv[job.argv.index("--run-dir") + 1]} == {folder.path}
    given = rollout.with_job(transition.old_spec(), job, [settings], [folder])
    assert list(faults(dataclasses.replace(given, jobs=(dataclasses.replace(job, run="1"),)))) == []
    assert (given.files[-1], given.folders[-1]) == (settings, folder)
