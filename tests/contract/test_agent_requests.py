"""Requests to the host agent of a VM: taken, carried out as a job, answered; on the emulator, without systemd.

What a job runs is a stand-in for `selfhost carry-out`: the test takes and answers as that would.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from blocks.agent import processes
from blocks.agent.config import Layout
from blocks.agent.files import write_atomically
from blocks.agent.google.artifacts import Artifacts
from blocks.agent.google.carrier import Carrier
from blocks.agent.google.cloud import Cloud
from blocks.agent.google.errands import Errand
from blocks.agent.google.reporter import Reporter
from blocks.agent.releases import MARKER, Tools
from blocks.agent.spec import Artifact, Condition, HostStatus, Release, to_json
from blocks.errors import NotReady
from blocks.host.bundle import build_agent
from blocks.host.interpreter import base_python, uv_binary
from blocks.requests import INBOX, Request, Requests
from tests import vm

RELEASE = Release("1.0-abc", Artifact("lock.txt", hashlib.sha256(b"").hexdigest()))
PROGRAM = """#!/bin/sh
echo "carried out by $0 $*"
touch "{home}/begun"
until [ -e "{home}/end" ]; do sleep 0.02; done
echo over
"""


class Host:
    """The VM's home, with an agent's part that looks at requests, and what it has installed."""

    def __init__(self, made: vm.Vm, home: Path) -> None:
        self.vm, self.home, self.layout = made, home, Layout(home)
        self.layout.make()
        write_atomically(self.layout.archive, build_agent())
        self.requests = Requests(made.store)
        self.carrier = self.agent()

    def agent(self) -> Carrier:
        """Another life of the agent."""
        store = self.home / "artifacts"
        artifacts = Artifacts(self.vm.objects, store, Tools(base_python(), uv_binary()))
        cloud = Cloud(self.vm.objects, artifacts, self.vm.secret_manager)
        config = self.vm.config(home=str(self.home), store=str(store), secrets=str(self.home / "secrets"))
        wrapper = (sys.executable, "-I", "-S", str(self.layout.archive))
        return Carrier(config, self.layout, wrapper, cloud, lambda _: time.sleep(0.02))

    def install(self, program: str = PROGRAM) -> None:
        """Have the wanted release, whose interpreter is this program."""
        folder = self.layout.releases / RELEASE.id
        (folder / "bin").mkdir(parents=True)
        (folder / "bin/python").write_text(program.format(home=self.home))
        (folder / "bin/python").chmod(0o755)
        (folder / MARKER).write_text(json.dumps({"lock": RELEASE.lock.sha256, "wheels": []}))

    def looks(self, carrier: Carrier | None = None) -> threading.Thread:
        thread = threading.Thread(target=(carrier or self.carrier).look, daemon=True)
        thread.start()
        return thread

    def end(self) -> None:
        (self.home / "end").touch()

    def begun(self) -> bool:
        return (self.home / "begun").exists()


def eventually(done: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture(scope="module")
def made() -> vm.Vm:
    found = vm.vm()
    wanted = {"spec": {}, "releases": {"server": asdict(RELEASE)}}
    found.store.write("ledger/wanted", json.dumps(wanted).encode(), if_generation=0)
    return found


@pytest.fixture
def host(made: vm.Vm, tmp_path: Path) -> Iterator[Host]:
    found = Host(made, tmp_path)
    yield found
    found.end()
    made.store.remove(INBOX)


def test_a_request_is_taken_carried_out_by_the_wanted_release_and_its_log_sent(host: Host) -> None:
    host.install()
    asked = host.requests.ask("log", {"service": "server", "lines": 1})
    looking = host.looks()
    eventually(host.begun)
    waiting = host.requests.inbox()
    assert waiting is not None and waiting.taken["pid"] == processes.current().pid and not waiting.is_begun
    taken = host.requests.take("")
    assert taken is not None and taken.id == asked.id
    assert host.requests.take("") is None  # it is begun now
    assert host.requests.answer(taken, {"lines": ["x"]})
    eventually(lambda: "carried out by" in host.requests.log(asked))  # while it is at it
    host.end()
    looking.join(20)
    assert host.requests.answer_to(asked) == {"lines": ["x"]}
    python = host.layout.releases / RELEASE.id / "bin/python"
    command = f"carried out by {python} -P -m flows.cli carry-out --home {host.home}"
    assert host.requests.log(asked).splitlines() == [command, "over"]


def test_one_that_is_over_is_not_looked_at_again(host: Host) -> None:
    host.install("#!/bin/sh\necho once >> {home}/runs\n")
    host.requests.ask("log", {})
    host.carrier.look()
    host.carrier.look()
    host.agent().look()
    assert (host.home / "runs").read_text() == "once\n"


def test_a_process_that_ends_without_an_answer_is_told(host: Host) -> None:
    host.install("#!/bin/sh\necho no such module >&2; exit 1\n")
    asked = host.requests.ask("bring", {}, number=7)
    host.carrier.look()
    with pytest.raises(
        NotReady, match=r"the host was interrupted in the midst of bring \(run the same command again\)"
    ):
        host.requests.answer_to(asked)
    assert host.requests.log(asked) == "no such module\n"


def test_a_release_that_cannot_be_installed_is_told(host: Host) -> None:
    asked = host.requests.ask("bring", {}, number=7)
    host.carrier.look()
    with pytest.raises(NotReady, match=r"^bring was not begun: release 1.0-abc: lock.txt: fetching sha256/.*: 404 "):
        host.requests.answer_to(asked)


OUTSIDE = json.dumps({"releases": {"server": asdict(dataclasses.replace(RELEASE, id="../etc"))}}).encode()


@pytest.mark.parametrize("content", [b"", b"[]", b'{"releases": {}}', OUTSIDE])
def test_a_stack_of_which_nothing_is_wanted_is_told(host: Host, made: vm.Vm, content: bytes) -> None:
    kept = made.store.read("ledger/wanted")
    assert kept is not None
    made.objects.write("ledger/wanted", content)
    asked = host.requests.ask("bring", {}, number=7)
    host.carrier.look()
    made.objects.write("ledger/wanted", kept.content)
    with pytest.raises(NotReady, match="bring was not begun: ledger/wanted is damaged"):
        host.requests.answer_to(asked)


def begun_by(host: Host, request: Request, **taken: object) -> None:
    """Have the request be another VM's, which was lost."""
    found = host.vm.store.read(INBOX)
    assert found is not None
    gone = {"pid": 4_000_000, "start_time": 1, "boot_id": "another", **taken}
    content = json.dumps(asdict(request) | {"taken": gone}).encode()
    host.vm.store.write(INBOX, content, if_generation=found.generation)


def test_what_a_lost_vm_had_begun_is_not_begun_again(host: Host) -> None:
    host.install()
    asked = host.requests.ask("receive", {}, number=7)
    begun_by(host, asked)
    host.carrier.look()
    with pytest.raises(NotReady, match="interrupted in the midst of receive"):
        host.requests.answer_to(asked)
    assert not host.begun()


def test_what_a_lost_vm_was_about_to_begin_is_begun(host: Host) -> None:
    host.install("#!/bin/sh\ntouch {home}/begun\n")
    begun_by(host, host.requests.ask("receive", {}, number=7), waits=True)
    host.carrier.look()
    assert host.begun()


def test_an_answered_request_is_not_begun(host: Host) -> None:
    host.install()
    asked = host.requests.ask("destroy", {}, number=7)
    with pytest.raises(NotReady):
        host.requests.give_up(asked)
    host.carrier.look()
    assert not host.begun()


def test_one_that_lay_there_too_long_is_refused(host: Host) -> None:
    host.install()
    asked = host.requests.ask("destroy", {}, number=7)
    host.vm.project.cloud.operations.pass_time(90)
    host.carrier.look()
    with pytest.raises(NotReady, match="destroy was asked for 90 s ago, and is not begun after 60"):
        host.requests.answer_to(asked)
    assert not host.begun()


def test_the_agents_next_life_finds_a_running_job_again(host: Host) -> None:
    host.install()
    asked = host.requests.ask("bring", {}, number=7)
    host.looks()
    eventually(host.begun)
    (host.home / "begun").unlink()
    assert host.requests.take("") is not None
    looking = host.looks(host.agent())  # the first life's thread stands for a dead one: what it sends is the same
    host.requests.answer(asked, {"brought": True})
    host.end()
    looking.join(20)
    assert host.requests.answer_to(asked) == {"brought": True} and not host.begun()
    assert host.requests.log(asked).endswith("over\n")


def test_a_fault_of_the_network_is_told_once_and_the_request_goes_on(host: Host) -> None:
    host.install("#!/bin/sh\necho done; touch {home}/begun\n")
    asked, told = host.requests.ask("bring", {}, number=7), list[str]()
    errand = Errand(host.carrier.look, 0.0, told.append)
    with host.vm.project.fault("error", "storage.objects.insert", times=8):
        errand.attempt()
        errand.attempt()
    assert told == ["writing ledger/inbox: 503 The service is currently unavailable."] and not host.begun()
    with host.vm.project.fault("reset-before", "storage.objects.insert", nth=2, times=4):
        errand.attempt()  # taken, begun, and then it cannot send the log
    assert len(told) == 2 and told[1].startswith(f"writing ledger/logs/{asked.id}/000000000000: Google does not answer")
    errand.attempt()
    assert host.requests.log(asked) == "done\n" and len(told) == 2


def test_a_status_is_sent_when_it_changes_and_as_a_sign_of_life(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    now, reporter = [1000.0], Reporter(host.layout.status, host.vm.objects)
    monkeypatch.setattr("blocks.agent.google.reporter.time.monotonic", lambda: now[0])
    reporter.look()
    assert host.requests.status() is None  # nothing to report yet

    def report(seconds: float, *reasons: str) -> list[str]:
        """What is reported elsewhere after so many seconds, once the agent on the host has said this."""
        now[0] += seconds
        said = tuple(Condition("Converged", False, each, "") for each in reasons)
        write_atomically(host.layout.status, to_json(HostStatus(1, time=now[0], conditions=said)).encode())
        reporter.look()
        seen = host.requests.status()
        assert seen is not None
        return [*(each.reason for each in seen.conditions), f"{seen.time:g}"]

    assert report(0, "Pending") == ["Pending", "1000"]
    assert report(1, "Ready") == ["Pending", "1000"]  # too soon
    assert report(2, "Ready") == ["Ready", "1003"]
    assert report(30, "Ready") == ["Ready", "1003"]  # nothing is new
    assert report(15, "Ready") == ["Ready", "1048"]
