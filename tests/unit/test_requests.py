"""What is asked of a host from elsewhere, and what it answers, as objects of one store."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from blocks.agent.spec import HostStatus, ServiceStatus
from blocks.errors import Blocked, Conflict, NotReady, SelfhostError, WrongCall
from blocks.local.object_store import LocalObjectStore
from blocks.requests import INBOX, STATUS, TAKE_SECONDS, Request, Requests

YEAR = 365 * 86_400.0
TAKE = """
import sys, time
from pathlib import Path
from blocks.local.object_store import LocalObjectStore
from blocks.requests import Requests

time.sleep(max(0.0, float(sys.argv[2]) - time.time()))
taken = Requests(LocalObjectStore(Path(sys.argv[1]))).take("")
print(taken.verb if taken else "-", flush=True)
sys.stdin.read()
"""
"""A process of the host which takes what waits at a given moment, and is then at it until its input ends."""


@pytest.fixture
def objects(tmp_path: Path) -> LocalObjectStore:
    return LocalObjectStore(tmp_path)


@pytest.fixture
def outside(objects: LocalObjectStore) -> Requests:
    return Requests(objects)


@pytest.fixture
def host(objects: LocalObjectStore) -> Requests:
    return Requests(objects)


def test_a_request_is_found_by_the_host_and_its_answer_by_the_asker(outside: Requests, host: Requests) -> None:
    assert host.inbox() is None
    asked = outside.ask("log", {"service": "nginx", "lines": 2})
    assert outside.answer_to(asked) is None
    assert host.inbox() == asked
    host.answer(asked, {"lines": ["one", "two"]})
    assert outside.answer_to(asked) == {"lines": ["one", "two"]}


def test_a_request_that_has_an_answer_is_never_carried_out_again(outside: Requests, host: Requests) -> None:
    asked = outside.ask("destroy", {}, number=7)
    host.answer(asked, {"left": []})
    assert host.inbox() is None  # nor by a host that was made anew
    host.answer(asked, {"left": ["another"]})
    assert outside.answer_to(asked) == {"left": []}


def written_before(objects: LocalObjectStore, seconds: float) -> None:
    """Have the request lie in the store for so long."""
    then = time.time() - seconds
    os.utime(objects.folder / INBOX, (then, then))


def takers(objects: LocalObjectStore, count: int) -> list[subprocess.Popen[str]]:
    """Processes of the host which look for a request at one moment."""
    argv = [sys.executable, "-c", TAKE, str(objects.folder), str(time.time() + 2)]
    pipe = subprocess.PIPE
    return [subprocess.Popen(argv, stdin=pipe, stdout=pipe, text=True) for _ in range(count)]


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_of_all_processes_of_a_host_one_takes_a_request(objects: LocalObjectStore, outside: Requests) -> None:
    outside.ask("bring", {}, number=1)
    processes = takers(objects, 4)
    try:
        assert sorted(map(said, processes)) == ["-", "-", "-", "bring"]
        assert Requests(objects).take("") is None  # while that one is at it
    finally:
        for each in processes:
            each.communicate()


def test_what_an_interrupted_host_had_taken_is_not_begun_again_and_its_asker_is_told(
    objects: LocalObjectStore, outside: Requests, host: Requests
) -> None:
    asked = outside.ask("receive", {"key": "pivot/dump"}, number=1)
    (process,) = takers(objects, 1)
    assert said(process) == "receive"
    process.kill()
    process.communicate()
    assert host.take("") is None
    with pytest.raises(NotReady, match="interrupted in the midst of receive"):
        outside.answer_to(asked)


def test_a_request_that_lay_there_while_the_host_was_away_is_refused_and_its_asker_is_told(
    objects: LocalObjectStore, outside: Requests, host: Requests
) -> None:
    asked = outside.ask("destroy", {}, number=1)
    written_before(objects, TAKE_SECONDS + 60)
    assert host.take("") is None
    with pytest.raises(NotReady, match="destroy was asked for 120 s ago, and is not begun after 60"):
        outside.answer_to(asked)


def test_a_request_that_is_young_enough_is_taken(objects: LocalObjectStore, outside: Requests, host: Requests) -> None:
    asked = outside.ask("destroy", {}, number=1)
    written_before(objects, TAKE_SECONDS - 30)
    taken = host.take("")
    assert taken is not None
    assert (taken.id, taken.verb) == (asked.id, "destroy")


@pytest.mark.parametrize("wrong", [-YEAR, YEAR])
def test_no_clock_but_the_stores_says_how_old_a_request_is(
    wrong: float, objects: LocalObjectStore, outside: Requests, host: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda real=time.time: real() + wrong)
    asked = outside.ask("bring", {}, number=1)
    assert host.inbox() == asked
    taken = host.take("")
    monkeypatch.undo()
    assert taken is not None
    assert host.answer(taken, {"changes": []})
    assert outside.answer_to(asked) == {"changes": []}


def test_a_request_for_another_stack_is_refused_and_its_asker_is_told(outside: Requests, host: Requests) -> None:
    asked = outside.ask("destroy", {}, number=1, stack="one")
    assert host.take("another") is None
    with pytest.raises(Blocked, match="destroy was asked of the stack one, and this host is of another"):
        outside.answer_to(asked)
    outside.ask("destroy", {}, number=1, stack="one")
    assert host.take("one") is not None


def test_whoever_gives_up_has_it_not_begun_any_more(outside: Requests, host: Requests) -> None:
    asked = outside.ask("bring", {}, number=1)
    with pytest.raises(NotReady, match="has not taken up bring in time"):
        outside.give_up(asked)
    assert host.take("") is None


def test_a_late_answer_is_refused_and_the_host_is_told(outside: Requests, host: Requests) -> None:
    asked = outside.ask("bring", {}, number=1)
    taken = host.take("")
    assert taken is not None
    with pytest.raises(NotReady, match="has not answered bring in time") as caught:
        outside.give_up(asked)
    assert "may still carry it out" in caught.value.hint
    assert not host.answer(taken, {"changes": []})


def test_an_answer_that_comes_as_its_asker_gives_up_counts(outside: Requests, host: Requests) -> None:
    asked = outside.ask("log", {})
    host.answer(asked, {"lines": []})
    assert outside.give_up(asked) == {"lines": []}


def test_a_dead_askers_request_does_not_keep_those_who_look_waiting_for_ever(
    objects: LocalObjectStore, outside: Requests, host: Requests
) -> None:
    outside.ask("log", {}, seconds=30.0)
    assert host.take("") is not None
    written_before(objects, 60)
    again = outside.ask("logs", {})
    assert host.inbox() == again


def test_a_request_of_a_former_selfhost_is_read(objects: LocalObjectStore, host: Requests) -> None:
    text = b'{"id": "1", "verb": "logs", "arguments": {}, "number": 0}'
    objects.write(INBOX, text, if_generation=0)
    assert host.inbox() == Request("1", "logs", {}, 0)


@pytest.mark.parametrize("kind", [Blocked, Conflict, NotReady, WrongCall, SelfhostError])
def test_what_kept_the_host_from_it_is_raised_as_the_same_kind(
    kind: type[SelfhostError], outside: Requests, host: Requests
) -> None:
    asked = outside.ask("bring", {}, number=1)
    host.answer(asked, kind("the disk is full", "make room"))
    with pytest.raises(SelfhostError) as caught:
        outside.answer_to(asked)
    assert (type(caught.value), caught.value.what, caught.value.hint) == (kind, "the disk is full", "make room")


def test_who_asks_for_the_very_same_waits_for_the_same_answer(outside: Requests, host: Requests) -> None:
    """As after a kill: the host would else carry out both, one after the other."""
    asked = outside.ask("log", {"service": "nginx", "lines": 2}, stack="x")
    assert Requests(outside._objects).ask("log", {"service": "nginx", "lines": 2}, stack="x") == asked
    with pytest.raises(Conflict, match="asked to log at this moment"):
        outside.ask("log", {"service": "nginx", "lines": 3}, stack="x")
    assert outside.ask("log", {"service": "nginx", "lines": 2}, number=1, stack="x") != asked


def test_who_only_looks_waits_for_who_changes(outside: Requests, host: Requests) -> None:
    asked = outside.ask("bring", {}, number=1)
    with pytest.raises(Conflict, match="asked to bring at this moment"):
        outside.ask("log", {"service": "nginx", "lines": 2})
    host.answer(asked, {"changes": []})
    assert outside.ask("log", {"service": "nginx", "lines": 2}) == host.inbox()


def test_a_dead_holders_request_gives_way_to_the_next_holders(outside: Requests, host: Requests) -> None:
    outside.ask("bring", {}, number=1)
    newer = outside.ask("destroy", {}, number=2)
    assert host.inbox() == newer


def test_of_two_who_ask_at_the_same_time_one_is_refused(
    objects: LocalObjectStore, outside: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = LocalObjectStore.read

    def read_and_be_overtaken(self: LocalObjectStore, key: str) -> object:
        found = read(self, key)
        if key == INBOX:
            monkeypatch.setattr(LocalObjectStore, "read", read)
            Requests(objects).ask("log", {})
        return found

    monkeypatch.setattr(LocalObjectStore, "read", read_and_be_overtaken)
    with pytest.raises(Conflict):
        outside.ask("plan", {}, number=3)


def test_answers_that_nobody_can_find_any_more_are_removed(
    objects: LocalObjectStore, outside: Requests, host: Requests
) -> None:
    for verb in ("logs", "ready"):
        host.answer(outside.ask(verb, {}), {})
    assert len(objects.listing("ledger/answers/")) == 1


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"verb": "bring"}'])
def test_a_damaged_request_is_nobodys(content: bytes, objects: LocalObjectStore, host: Requests) -> None:
    objects.write(INBOX, content, if_generation=0)
    assert host.inbox() is None
    assert host.ask("logs", {}) == host.inbox()


def test_the_host_reports_and_the_last_report_counts(
    objects: LocalObjectStore, outside: Requests, host: Requests
) -> None:
    assert outside.status() is None
    for generation in (1, 2):
        host.write_status(HostStatus(generation, services=(ServiceStatus("nginx", "ready"),)))
    seen = outside.status()
    assert seen is not None
    assert (seen.observed_generation, seen.services[0].name) == (2, "nginx")
    found = objects.read(STATUS)
    objects.write(STATUS, b"{", if_generation=found.generation if found else 0)
    assert outside.status() is None
