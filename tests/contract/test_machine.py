"""Every machine behaves the same, its host being this process or another; written from the port's docstrings."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from blocks.agent.spec import Health, HostSpec, Service
from blocks.errors import NotReady, WrongCall
from blocks.gcp.machine import GcpMachine
from blocks.host.host import Host
from blocks.local.machine import LocalMachine
from blocks.local.object_store import LocalObjectStore
from blocks.machine import Machine
from blocks.resource import Apply, Resource, in_order, plan, visit, visit_to_delete
from tests import bucket_host
from tests.two_folders import TwoFolders

WORKS = ("/bin/sh", "-c", "echo one; echo two; exec sleep 1000000")
SERVICES = ("server-blue", "worker-default")


def local_machine(home: Path) -> LocalMachine:
    return LocalMachine(stack="trial", root=home, circus_python=sys.executable, release_python=sys.executable)


def two_folders(home: Path) -> TwoFolders:
    shared = home.parent / "shared"
    return TwoFolders(local_machine(home), shared, LocalObjectStore(shared / "store"))


def at_google(home: Path) -> Machine:
    return bucket_host.machine(local_machine(home))


ADAPTERS: dict[str, Callable[[Path], Machine]] = {
    "local": local_machine,
    "two folders": two_folders,
    "at google": at_google,
}


@pytest.fixture(scope="module", params=ADAPTERS)
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    """A machine that was made, with its agent, and nothing on it yet."""
    with tempfile.TemporaryDirectory(prefix="sh-") as folder:
        home = Path(folder) / "home"
        made = ADAPTERS[request.param](home)
        for each in in_order(outside(made)):
            visit(each, Apply())
        on_host = [each for each in local_machine(home).on_host() if each.name in ("home", "state folder")]
        for each in on_host:
            visit(each, Apply())
        (home / "store").mkdir(mode=0o711, exist_ok=True)
        agent = next(each for each in local_machine(home).on_host() if each.name == "host agent")
        visit(agent, Apply())
        made.start()
        yield made
        made.stop()
        visit_to_delete(agent, Apply())


def outside(machine: Machine) -> list[Resource]:
    """What stands outside its host, with the bucket that it is asked through."""
    store = machine.objects.outside() if isinstance(machine, GcpMachine) else []
    return [*store, *machine.outside()]


@pytest.fixture
def serving(machine: Machine) -> Machine:
    """The machine with a service that is called like a server, and one that is called like a worker."""
    host = machine.host()
    applied = host.applied()
    if applied is None:
        quick = Health("none", interval=0.1)
        services = tuple(Service(name=each, argv=WORKS, health=quick, stop_timeout=5.0) for each in SERVICES)
        host.apply(HostSpec("trial", 1, services=services))
    machine.run("ready", {"timeout": 60.0})
    return machine


def test_before_the_first_report_nothing_is_observed(machine: Machine) -> None:
    if machine.host().applied() is None:
        seen = machine.observe()
        assert seen is None or not seen.services


def test_nothing_is_missing_once_it_is_made(machine: Machine) -> None:
    assert plan(outside(machine)) == []


def test_a_verb_is_carried_out_and_answers_with_plain_data(serving: Machine) -> None:
    assert serving.run("ready", {"timeout": 60.0}) == {"services": len(SERVICES)}


def test_what_the_host_says_is_observed(serving: Machine) -> None:
    seen = serving.observe()
    assert seen is not None
    assert {each.name: each.state for each in seen.services} == dict.fromkeys(SERVICES, "ready")


def test_what_a_verb_raises_is_raised_here_with_its_hint(serving: Machine) -> None:
    with pytest.raises(WrongCall, match="does not know the verb 'dance'") as caught:
        serving.run("dance", {})
    assert "ready" in caught.value.hint


def test_the_last_lines_of_a_log(serving: Machine) -> None:
    assert serving.log("server-blue", 1) == ["two"]
    assert serving.log("server-blue", 100)[-2:] == ["one", "two"]
    assert set(SERVICES) <= set(serving.run("logs", {})["names"])


def test_a_log_is_followed_from_its_last_lines_on(serving: Machine) -> None:
    following = serving.follow("server-blue", 1, every=0.01)
    assert next(following) == "two"
    with serving.host().logs().file("server-blue").open("a", encoding="utf-8") as log:
        log.write("three\nfour\n")
    assert [next(following), next(following)] == ["three", "four"]


def test_a_log_that_is_not_there_is_refused_and_those_there_are_named(serving: Machine) -> None:
    with pytest.raises(WrongCall, match="no log of 'nobody'") as caught:
        serving.log("nobody", 1)
    assert "server-blue" in caught.value.hint


def test_stop_ends_everything_and_start_brings_it_back(serving: Machine) -> None:
    serving.start()  # idempotent
    before = {each.pid for each in serving.host().wait_ready(timeout=60).services}
    serving.stop()
    serving.stop()
    with pytest.raises(NotReady):
        serving.run("ready", {"timeout": 0.0})
    serving.start()
    serving.run("ready", {"timeout": 60.0})
    assert not before & {each.pid for each in Host(serving.host().home).wait_ready(timeout=60).services}
