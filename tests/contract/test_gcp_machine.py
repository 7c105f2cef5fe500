"""A machine at Google as it is asked from elsewhere: what is waited for, how long, and what is said meanwhile."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from blocks.agent.inbox import STATUS
from blocks.agent.mark import Bucket
from blocks.agent.spec import HostStatus
from blocks.errors import Blocked, Conflict, NotReady, WrongCall
from blocks.gcp import machine as gcp_machine
from blocks.gcp.machine import GcpMachine
from blocks.gcp.object_store import GcsObjectStore
from blocks.gcp.startup import digests
from blocks.gcp_spec import Gcp
from blocks.ledger import Ledger
from blocks.local.machine import LocalMachine
from blocks.requests import Requests
from blocks.resource import Apply, converge, plan, visit_to_delete
from blocks.waiting import wait_until
from tests import google

STATUS_NOW = HostStatus(1)
Host = Callable[[Callable[[Requests], None]], threading.Thread]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> GcpMachine:
    """A machine that was made, with nobody on it."""
    project = google.project()
    seen, bucket = project.seen_by(), Bucket(f"{project.id}-objects", project.id, google.REGION)
    store = GcsObjectStore(seen, "trial", bucket.name, bucket.region)
    there, gcp = LocalMachine(tmp_path_factory.mktemp("there"), "trial"), Gcp(project=project.id, region=google.REGION)
    described = GcpMachine(seen, "trial", gcp, bucket, store, there, every=0.01)
    assert "machine" in [each.resource for each in plan([*store.outside(), *described.outside()])]
    converge(store.outside())
    Ledger(store).ensure_identity("trial")
    converge([*store.outside(), *described.outside()])
    return described


@pytest.fixture
def machine(made: GcpMachine) -> Iterator[GcpMachine]:
    """The same, whose bucket knows nothing of a host."""
    for prefix in ("boot/", "ledger/inbox", "ledger/answers", "ledger/status", "ledger/logs"):
        for key in made.objects.listing(prefix):
            made.objects.remove(key)
    yield made
    made.instance.start()


@pytest.fixture
def host(machine: GcpMachine) -> Iterator[Host]:
    """Has something done as the machine's host, meanwhile."""
    begun: list[threading.Thread] = []

    def begin(act: Callable[[Requests], None]) -> threading.Thread:
        thread = threading.Thread(target=act, args=(Requests(machine.objects),), daemon=True)
        begun.append(thread)
        thread.start()
        return thread

    yield begin
    for each in begun:
        each.join(60)
        assert not each.is_alive()


def answering(answer: Any, *log: str) -> Callable[[Requests], None]:
    """A host that reports, and answers the next request, having logged this meanwhile."""

    def act(requests: Requests) -> None:
        requests.write_status(STATUS_NOW)
        request = _wait_for(lambda: requests.take(Ledger(requests._objects).id))
        for number, text in enumerate(log):
            requests._objects.write(f"ledger/logs/{request.id}/{number:012d}", text.encode(), if_generation=0)
        requests.answer(request, answer)

    return act


def boot(machine: GcpMachine, stage: str, said: str = "") -> None:
    there = machine.objects.read(f"boot/{stage}")
    text = json.dumps({"stage": stage, "at": "2026-11-30T00:00:00Z", "boot": "x", "said": said})
    machine.objects.write(f"boot/{stage}", text.encode(), if_generation=there.generation if there else 0)


def test_all_that_is_outside_is_made_and_then_as_wanted(machine: GcpMachine) -> None:
    assert plan([*machine.objects.outside(), *machine.outside()]) == []
    (script,) = (v for k, v in machine.instance.want()["metadata"].items() if k == "startup-script")  # type: ignore[attr-defined]
    for each in (f"identity={Ledger(machine.objects).id}", f"agent={digests()['agent']}", f"uv={digests()['uv']}"):
        assert each in script


def test_the_answer_of_the_host_is_the_callers_with_what_it_logged(
    machine: GcpMachine, host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "blocks.gcp.machine")
    host(answering({}, "one\ntwo\n", "three\n"))
    assert machine.run("ready", {}) == {}
    assert [each.message for each in caplog.records if each.message.startswith("host:")] == [
        "host: one",
        "host: two",
        "host: three",
    ]


@pytest.mark.parametrize("kind", [Blocked, Conflict, NotReady, WrongCall])
def test_what_kept_the_host_from_it_is_raised_as_it_was_there(
    machine: GcpMachine, host: Host, kind: type[Exception]
) -> None:
    host(answering(kind("the disk is full", "make room")))
    with pytest.raises(kind, match="the disk is full") as caught:
        machine.run("ready", {})
    assert (type(caught.value), getattr(caught.value, "hint", "")) == (kind, "make room")


def test_a_machine_that_boots_is_waited_for_and_its_stages_are_told(
    machine: GcpMachine, host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "blocks.gcp.machine")

    def boots(requests: Requests) -> None:
        for stage, said in (("script", "fetches the host agent"), ("uv", "")):
            boot(machine, stage, said)
            google.pass_seconds(2)
            _wait_for(lambda stage=stage: any(stage in each.message for each in caplog.records))
        answering({"services": 1})(requests)

    host(boots)
    assert machine.run("ready", {}) == {"services": 1}
    told = [each.message.partition("machine: ")[2] for each in caplog.records if "waiting" in each.message]
    assert told[-2:] == ["script: fetches the host agent", "uv"]


def test_one_that_does_not_come_up_is_told_with_the_last_that_it_said(
    machine: GcpMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gcp_machine, "BOOT_SECONDS", 0.1)
    with pytest.raises(NotReady, match="booted from persistent-disk-0") as caught:
        machine.run("ready", {})
    assert "get-serial-port-output trial-host" in caught.value.hint
    machine.objects.write("boot/failed", b"no JSON", if_generation=0)
    with pytest.raises(NotReady, match="last seen: 'no JSON'"):
        machine.run("ready", {})


def test_a_host_that_falls_silent_is_given_up_and_what_it_was_asked_not_begun_later(
    machine: GcpMachine, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = Requests(machine.objects)
    requests.write_status(STATUS_NOW)

    def falls_silent(requests: Requests) -> None:
        _wait_for(lambda: requests.inbox() is not None)
        google.pass_seconds(gcp_machine.SILENT_SECONDS + 1)

    host(falls_silent)
    with pytest.raises(NotReady, match="the host has not taken up ready in time"):
        machine.run("ready", {})
    assert requests.take(Ledger(machine.objects).id) is None


def test_what_it_wrote_while_it_booted_is_its_log_until_its_host_reports(machine: GcpMachine, host: Host) -> None:
    assert machine.log("agent", 1) == ["trial-host: booted from persistent-disk-0"]
    host(answering({"lines": ["one"]}))
    _wait_for(lambda: machine.objects.read(STATUS) is not None)
    assert machine.log("agent", 1) == ["one"]


def test_a_stopped_one_and_one_that_is_not_there_are_told_apart_at_once(machine: GcpMachine) -> None:
    machine.stop()
    with pytest.raises(NotReady, match="is stopped") as caught:
        machine.run("ready", {})
    assert caught.value.hint == "selfhost start"
    visit_to_delete(machine.instance, Apply())
    with pytest.raises(NotReady, match="there is no machine trial-host in europe-west1-b yet"):
        machine.run("ready", {})
    assert machine.log("agent", 1) == []
    converge([*machine.objects.outside(), *machine.outside()])


def test_on_the_host_itself_it_is_a_call(machine: GcpMachine, tmp_path: Path) -> None:
    there = replace(machine, is_host=True, there=LocalMachine(tmp_path / "none", "trial"))
    with pytest.raises(WrongCall, match="does not know the verb 'dance'"):
        there.run("dance", {})
    assert Requests(machine.objects).inbox() is None
    assert there.observe() is None


def _wait_for(named: Callable[[], Any]) -> Any:
    return wait_until(named, "what the test waits for", timeout=60, every=0.01)
