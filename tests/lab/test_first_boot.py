"""A bare VM of the lab becomes a host: the startup script fetches the host agent, which settles under systemd."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import PurePosixPath
from typing import Any

import pytest

from blocks.agent import mark
from blocks.agent.spec import Artifact, HostSpec, HostStatus, Release, Service, to_json
from blocks.errors import NotReady
from blocks.gcp.startup import HostPrograms, digests, script
from blocks.requests import Requests
from blocks.resource import Apply, visit
from tests import google, vm
from tests.lab.cloud import Lab
from tests.lab.engine import docker
from tests.lab.instances import Instances

pytestmark = pytest.mark.lab

HOME = f"/var/lib/prefect-selfhost/{vm.STACK}"
SECRETS = f"/run/prefect-selfhost/{vm.STACK}/secrets"
PATIENCE = 120.0


class Host:
    """The VM, and what stands on it."""

    def __init__(self, lab: Lab, made: vm.Vm) -> None:
        self.vm, self.requests = made, Requests(made.store)
        self._instances = Instances(lab)
        self._name = f"projects/{made.project.id}/zones/{vm.ZONE}/instances/host"

    def run(self, *argv: str) -> str:
        return self._instances.run(self._name, *argv)

    def write(self, path: str, content: str) -> None:
        container = self._instances.container(self._name)
        docker("exec", "--interactive", container, "sh", "-c", f"umask 077; cat > {path}", stdin=content.encode())

    def status(self) -> HostStatus:
        return self.requests.status() or HostStatus(-1)

    def service(self) -> tuple[str, int]:
        """State and process of the one service."""
        return next(((each.state, each.pid) for each in self.status().services), ("", 0))

    def reset(self) -> None:
        """Cut its power, and have it boot again."""
        zone = {"project": self.vm.project.id, "zone": vm.ZONE}
        done = self.vm.project.seen_by().compute("Instances").reset_unary(**zone, instance="host")
        self.vm.project.seen_by().compute("ZoneOperations").wait(**zone, operation=done.name)


def eventually(done: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + PATIENCE
    while not (found := done()):
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.2)
    return found


@pytest.fixture(scope="module")
def host(lab: Lab) -> Host:
    lab.cloud.add_project("boot", ("all",))
    made = vm.prepared(google.Project(lab.cloud, lab.address, "boot"))
    visit(HostPrograms(made.store), Apply())
    where = mark.Bucket(made.bucket, "boot", google.REGION)
    began = time.monotonic()
    hosts = f"10.77.{sum(lab.name.encode()) % 256}.0/24"  # not those of this test in another lab
    vm.boot(made, hosts, script(vm.STACK, "id-1", PurePosixPath(HOME), where, digests()))
    found = Host(lab, made)
    eventually(lambda: found.status().agent_pid, "the first report")
    print(f"from the call that makes the VM to its agent's first report: {time.monotonic() - began:.1f} s")
    return found


def test_its_agent_runs_as_a_unit_and_each_stage_was_told(host: Host) -> None:
    assert host.run("systemctl", "is-active", f"selfhost-{vm.STACK}-agent.service") == "active\n"
    eventually(lambda: host.vm.store.read("boot/agent"), "the last stage")
    told = ["boot/agent", "boot/home", "boot/script", "boot/uv"]
    assert host.vm.store.listing("boot/") == told


def test_a_service_gets_its_secret_which_lies_in_memory_for_root_alone(host: Host) -> None:
    host.vm.secrets.ensure("auth-string", lambda: "admin:first")
    service = Service("sleeper", ("/bin/sleep", "infinity"), user="daemon", secrets={"AUTH": "auth-string@1"})
    host.write(f"{HOME}/agent/spec.json", to_json(HostSpec(vm.STACK, 1, services=(service,))))
    pid = eventually(lambda: host.service()[0] == "ready" and host.service()[1], "the service")
    assert "AUTH=admin:first" in host.run("cat", f"/proc/{pid}/environ").split("\0")
    assert host.run("stat", "--format=%a %U %n", SECRETS, f"{SECRETS}/auth-string@1").splitlines() == [
        f"700 root {SECRETS}",
        f"600 root {SECRETS}/auth-string@1",
    ]
    assert host.run("stat", "--file-system", "--format=%T", SECRETS) == "tmpfs\n"


def test_a_request_installs_the_wanted_release_and_runs_as_a_unit_whose_log_can_be_read(host: Host) -> None:
    lock = b"# nothing but the interpreter\n"
    digest = hashlib.sha256(lock).hexdigest()
    host.vm.store.write(f"sha256/{digest}", lock, if_generation=0)
    release = Release("3.11-bare", Artifact("lock.txt", digest), smoke=("json",))
    wanted = {"spec": {}, "releases": {"server": asdict(release)}}
    host.vm.store.write("ledger/wanted", json.dumps(wanted).encode(), if_generation=0)
    began = time.monotonic()
    asked = host.requests.ask("log", {"service": "agent", "lines": 1})

    def refused() -> str:
        try:
            return str(host.requests.answer_to(asked) or "")
        except NotReady as error:
            return error.what

    assert eventually(refused, "an answer") == "the host was interrupted in the midst of log"
    print(f"from a request to its answer, a release of nothing installed: {time.monotonic() - began:.1f} s")
    assert "No module named 'flows'" in host.requests.log(asked)  # a release of nothing has nothing that answers
    assert host.run("ls", f"{HOME}/artifacts/sha256") == ""
    assert f"selfhost-{vm.STACK}-job-request-" in host.run("journalctl", "--output=cat", "_PID=1")


def test_after_its_power_was_cut_all_is_as_it_was(host: Host) -> None:
    (_, before), agent = host.service(), host.status().agent_pid
    began = time.monotonic()
    host.reset()
    eventually(lambda: host.status().agent_pid != agent and host.service()[0] == "ready", "the service")
    print(f"from a reset to all services ready: {time.monotonic() - began:.1f} s")
    pid = host.service()[1]
    assert "AUTH=admin:first" in host.run("cat", f"/proc/{pid}/environ").split("\0") and before
