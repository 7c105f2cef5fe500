"""Every host behaves the same: with the shipped agent, and with the one that stands for it in tests of decisions.

Written from its docstrings.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from blocks.agent.spec import Artifact, Health, HostSpec, HostStatus, Release, Service
from blocks.errors import Blocked, Conflict, NotReady
from blocks.host.bundle import build_agent
from blocks.host.host import Host
from blocks.local.machine import LocalMachine
from blocks.resource import Apply, in_order, plan, visit, visit_to_delete
from blocks.waiting import wait_until
from tests import fake_agent

SLEEPER = ("/bin/sleep", "1000000")
QUICK = Health("none", interval=0.1)


def local_machine(home: Path) -> LocalMachine:
    return LocalMachine(stack="trial", root=home, circus_python=sys.executable, release_python=sys.executable)


AGENTS = {"real agent": build_agent, "fake agent": fake_agent.archive}


@pytest.fixture(scope="module", params=AGENTS)
def machine(request: pytest.FixtureRequest) -> Iterator[LocalMachine]:
    """A machine with its agent and no spec; everything of it is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="sh-") as folder, pytest.MonkeyPatch.context() as patch:
        for place in fake_agent.PLACES:
            patch.setattr(place, AGENTS[request.param])
        made = local_machine(Path(folder) / "home")
        home = made.host().home
        resources = [each for each in made.on_host() if set(each.needs) <= {"home"}]
        for each in resources:
            visit(each, Apply())
        home.store.mkdir(mode=0o711)
        agent = next(each for each in made.on_host() if each.name == "host agent")
        visit(agent, Apply())
        yield made
        visit_to_delete(agent, Apply())
        for each in reversed(resources):
            visit_to_delete(each, Apply())
        assert not home.root.exists()


@pytest.fixture
def host(machine: LocalMachine) -> Host:
    return machine.host()


def spec(generation: int, *names: str) -> HostSpec:
    services = tuple(Service(name=name, argv=SLEEPER, health=QUICK, stop_timeout=5.0) for name in names)
    return HostSpec("trial", generation, services=services)


def next_generation(host: Host) -> int:
    applied = host.applied()
    return 1 if applied is None else applied.generation + 1


def settled(host: Host, *names: str) -> HostStatus:
    """Wait until exactly these services are ready."""

    def look() -> HostStatus:
        seen = host.observe()
        states = {each.name: each.state for each in seen.services} if seen else {}
        if states != dict.fromkeys(names, "ready"):
            raise NotReady(f"{states}")
        assert seen is not None
        return seen

    return wait_until(look, f"services {names}", timeout=30, every=0.05)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_before_the_first_spec_there_is_none(host: Host) -> None:
    assert host.applied() is None


def test_its_resources_need_nothing_more_once_visited(machine: LocalMachine) -> None:
    own = [each for each in machine.on_host() if each.name != "state folder"]
    assert [change for each in own for change in [visit(each, Apply())] if change.action != "keep"] == []


def test_a_spec_is_observed_when_apply_returns_and_then_runs(host: Host) -> None:
    wanted = spec(next_generation(host), "one")
    host.apply(wanted)
    seen = host.observe()
    assert seen is not None
    assert seen.observed_generation == wanted.generation
    assert host.applied() == wanted
    (service,) = settled(host, "one").services
    assert is_running(service.pid)


def test_the_next_generation_adds_and_removes_and_leaves_the_rest(host: Host) -> None:
    host.apply(spec(next_generation(host), "one", "two"))
    before = {each.name: each.pid for each in settled(host, "one", "two").services}
    host.apply(spec(next_generation(host), "two", "three"))
    after = {each.name: each.pid for each in settled(host, "two", "three").services}
    assert after["two"] == before["two"]
    wait_until(lambda: not is_running(before["one"]), "the end of what is wanted no more", timeout=20, every=0.05)


@pytest.mark.parametrize("behind", [0, 1])
def test_a_generation_that_is_not_above_is_a_conflict(host: Host, behind: int) -> None:
    host.apply(spec(next_generation(host), "one"))
    applied = host.applied()
    assert applied is not None
    with pytest.raises(Conflict, match="is not above"):
        host.apply(spec(applied.generation - behind, "other"))
    assert host.applied() == applied


def test_a_service_that_is_killed_comes_back(host: Host) -> None:
    host.apply(spec(next_generation(host), "one"))
    pid = settled(host, "one").services[0].pid
    os.kill(pid, signal.SIGKILL)

    def another() -> int:
        seen = settled(host, "one").services[0].pid
        return seen if seen not in (0, pid) else 0

    assert wait_until(another, "another process", timeout=20, every=0.05)


def test_stop_ends_everything_and_start_brings_it_back(host: Host) -> None:
    host.apply(spec(next_generation(host), "one"))
    pid = settled(host, "one").services[0].pid
    host.start()  # idempotent
    assert settled(host, "one").services[0].pid == pid
    host.stop()
    assert not is_running(pid)
    host.stop()
    host.start()
    again = settled(host, "one").services[0].pid
    assert is_running(again)
    assert again != pid


def test_a_release_that_cannot_be_installed_is_blocked_and_what_ran_runs_on(host: Host) -> None:
    host.apply(spec(next_generation(host), "one"))
    pid = settled(host, "one").services[0].pid
    missing = Release("absent-1", Artifact("lock.txt", "0" * 64))
    with pytest.raises(Blocked, match="absent-1"):
        host.apply(dataclasses.replace(spec(next_generation(host), "one"), releases=(missing,)))
    assert is_running(pid)
    host.apply(spec(next_generation(host), "one"))
    assert settled(host, "one").services[0].pid == pid


def test_observing_does_not_need_the_agent(host: Host) -> None:
    host.stop()
    seen = host.observe()
    assert seen is not None
    assert {each.state for each in seen.services} <= {"stopped"}
    host.start()


def test_another_stacks_machine_is_refused(machine: LocalMachine) -> None:
    theirs = replace(local_machine(machine.host().home.root), stack="other")
    with pytest.raises(Blocked, match="belongs to stack 'trial'"):
        plan([each for each in theirs.on_host() if each.name == "home"])


def test_its_resources_have_an_order(machine: LocalMachine) -> None:
    names = [each.name for each in machine.on_host()]
    assert {"home", "host agent"} <= set(names)
    assert "object store" not in names  # another port's
    with pytest.raises(Blocked, match="object store"):
        in_order(machine.on_host())
