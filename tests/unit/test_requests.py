"""What is asked of a host from elsewhere, and what it answers, as objects of one store."""

from __future__ import annotations

from pathlib import Path

import pytest

from blocks.agent.spec import HostStatus, ServiceStatus
from blocks.errors import Blocked, Conflict, NotReady, SelfhostError, WrongCall
from blocks.local.object_store import LocalObjectStore
from blocks.requests import INBOX, STATUS, Requests


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


@pytest.mark.parametrize("kind", [Blocked, Conflict, NotReady, WrongCall, SelfhostError])
def test_what_kept_the_host_from_it_is_raised_as_the_same_kind(
    kind: type[SelfhostError], outside: Requests, host: Requests
) -> None:
    asked = outside.ask("bring", {}, number=1)
    host.answer(asked, kind("the disk is full", "make room"))
    with pytest.raises(SelfhostError) as caught:
        outside.answer_to(asked)
    assert (type(caught.value), caught.value.what, caught.value.hint) == (kind, "the disk is full", "make room")


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
