"""How the host agent of a VM comes to what its home has not: artifacts of releases, secrets; on the emulator."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from blocks.agent.circus.manager import CircusManager
from blocks.agent.config import AgentConfig, Layout
from blocks.agent.convergence import Convergence
from blocks.agent.google.artifacts import Artifacts
from blocks.agent.google.cloud import Cloud
from blocks.agent.jobs import Jobs
from blocks.agent.records import write_data
from blocks.agent.releases import ReleaseFailed, Tools, is_whole
from blocks.agent.spec import Artifact, File, HostSpec, Job, Release
from blocks.host.interpreter import base_python, uv_binary
from tests import vm

TOOLS = Tools(base_python(), uv_binary())


@pytest.fixture(scope="module")
def host() -> vm.Vm:
    return vm.vm()


@pytest.fixture
def release(host: vm.Vm) -> Release:
    """One of nothing but an interpreter, whose lock is in the bucket."""
    content = b"# nothing is locked\n"
    lock = Artifact("lock.txt", hashlib.sha256(content).hexdigest())
    if host.store.read(f"sha256/{lock.sha256}") is None:
        host.store.write(f"sha256/{lock.sha256}", content, if_generation=0)
    return Release("1.0-abc", lock, smoke=("json",))


def test_what_a_release_is_made_of_is_fetched_and_dropped_once_it_is_installed(
    host: vm.Vm, release: Release, tmp_path: Path
) -> None:
    root, cache = tmp_path / "releases", tmp_path / "artifacts"
    artifacts = Artifacts(host.objects, cache, TOOLS)
    assert artifacts.install(release, root)
    assert is_whole(release, root)
    assert list((cache / "sha256").iterdir()) == []
    asked = host.project.cloud.faults.add({"kind": "slow", "service": "storage"})
    assert not artifacts.install(release, root) and asked.seen == 0  # nothing is fetched for one that is there


def test_what_was_fetched_and_is_damaged_is_fetched_again(host: vm.Vm, release: Release, tmp_path: Path) -> None:
    cached = tmp_path / "artifacts/sha256" / release.lock.sha256
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"cut")
    assert Artifacts(host.objects, tmp_path / "artifacts", TOOLS).install(release, tmp_path / "releases")


def test_a_release_that_is_not_in_the_bucket_is_named(host: vm.Vm, release: Release, tmp_path: Path) -> None:
    lacking = replace(release, wheels=(Artifact("prefect_selfhost-0.2.0-py3-none-any.whl", "0" * 64),))
    with pytest.raises(ReleaseFailed, match=r"^release 1.0-abc: prefect_selfhost-0.2.0-py3-none-any.whl: .* 404 "):
        Artifacts(host.objects, tmp_path / "artifacts", TOOLS).install(lacking, tmp_path / "releases")


class Agent:
    """The converging part of an agent on the VM, stepped by the test."""

    def __init__(self, host: vm.Vm, home: Path) -> None:
        self.layout, self.secrets = Layout(home), home / "memory/secrets"
        self.layout.make()
        config = AgentConfig(str(home), "circus", secrets=str(self.secrets), store=str(home / "artifacts"))
        cloud = Cloud(host.objects, Artifacts(host.objects, home / "artifacts", TOOLS), host.secret_manager)
        manager, jobs = CircusManager(config, self.layout, ()), Jobs(config, self.layout, ("/bin/true",))
        self.converging = Convergence(config, self.layout, manager, jobs, lambda: None, cloud)
        self.file = home / "etc/server.conf"

    def want(self, *names: str, **more: object) -> None:
        """Have a file in which these secrets stand."""
        content = " ".join(f"${{secret:{each}}}" for each in names)
        self.converging.take(HostSpec(vm.STACK, 1, files=(File(str(self.file), content),), **more))  # type: ignore[arg-type]

    def until(self, done: Callable[[], object]) -> None:
        deadline = time.monotonic() + 20
        while not done():
            assert time.monotonic() < deadline, self.converging.findings()
            self.converging.step()
            time.sleep(0.01)

    def there(self) -> list[str]:
        return sorted(each.name for each in self.secrets.iterdir()) if self.secrets.exists() else []

    def faults(self) -> tuple[str, ...]:
        return self.converging.findings().secret_faults


@pytest.fixture
def agent(host: vm.Vm, tmp_path: Path) -> Agent:
    host.secrets.ensure("auth-string", lambda: "first")
    if len(host.secrets.versions("auth-string")) == 1:
        host.secrets.add_version("auth-string", "second")
    return Agent(host, tmp_path)


def test_secrets_are_fetched_before_what_they_stand_in_is_made_also_after_a_boot(agent: Agent) -> None:
    agent.want("auth-string@1")
    agent.until(agent.file.exists)
    assert agent.file.read_text() == "first"
    assert agent.secrets.stat().st_mode & 0o777 == 0o700
    assert (agent.secrets / "auth-string@1").stat().st_mode & 0o777 == 0o600
    agent.file.unlink()
    (agent.secrets / "auth-string@1").unlink()  # memory is empty after a boot
    agent.until(agent.file.exists)


def test_a_secret_that_nobody_refers_to_any_more_is_removed_once_the_next_is_there(agent: Agent) -> None:
    agent.want("auth-string@1")
    agent.until(agent.file.exists)
    write_data(str(agent.layout.definition("server")), {"secrets": {"A": f"{agent.secrets}/auth-string@1"}})
    agent.want("auth-string@2")
    agent.until(lambda: agent.file.read_text() == "second")
    assert agent.there() == ["auth-string@1", "auth-string@2"]  # a service would start again with the first
    agent.layout.definition("server").unlink()
    agent.until(lambda: agent.there() == ["auth-string@2"])


def test_a_secret_that_cannot_be_read_is_told_and_what_is_there_stays(agent: Agent, host: vm.Vm) -> None:
    agent.want("auth-string@1")
    agent.until(agent.file.exists)
    agent.want("auth-string@1", "auth-string@9")
    assert agent.faults() == ("the secret auth-string@9 is being fetched",)
    agent.until(lambda: agent.faults() != ("the secret auth-string@9 is being fetched",))
    (fault,) = agent.faults()
    assert fault.startswith("reading the secret auth-string@9: 404 ") and "\n" not in fault
    assert agent.file.read_text() == "first" and agent.there() == ["auth-string@1"]
    for number in range(3, 10):
        host.secrets.add_version("auth-string", f"number {number}")
    agent.until(lambda: not agent.faults())  # it is tried again
    agent.until(lambda: agent.file.read_text() == "first number 9")


def test_jobs_wait_for_all_secrets_as_one_may_stand_in_a_file_they_read(agent: Agent) -> None:
    agent.want("none@2", jobs=(Job("migrate", ("/bin/true",), "1"),))
    agent.until(lambda: any("404" in each for each in agent.faults()))
    assert agent.converging.findings().jobs == (None,)
    assert not (agent.layout.job_runs / "migrate.json").exists()
