"""The layer alone, round applications that show what reaches them; the real server is in tests/contract."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from blocks.server.grace import Grace, GraceLayer, Message, Receive, Revoked, Scope, Send, read_further
from tests.traffic import headers

OWN, OLD, NEXT = "admin:own-1", "admin:old-2", "admin:next-3"


class Clock:
    """Both clocks of a `Grace`, standing still until they are told to go on."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def grace_of(path: Path, clock: Clock, *entries: tuple[str, float | None]) -> Grace:
    keep(path, *entries)
    return Grace(path, clock=clock, monotonic=clock)


def keep(path: Path, *entries: tuple[str, float | None]) -> None:
    beside = path.with_suffix(".new")
    beside.write_text(json.dumps([{"auth_string": text, "until": until} for text, until in entries]))
    beside.replace(path)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "auth-grace.json"


def test_a_further_string_is_accepted_until_its_deadline(path: Path, clock: Clock) -> None:
    grace = grace_of(path, clock, (OLD, 1010.0), (NEXT, None))
    assert [grace.accepts(each) for each in (OLD, NEXT, OWN, "", "admin:änders")] == [True, True, False, False, False]
    clock.now = 1009.9
    assert grace.accepts(OLD)
    clock.now = 1010.0
    assert not grace.accepts(OLD)
    assert grace.accepts(NEXT)


def test_a_changed_file_counts_within_a_moment(path: Path, clock: Clock) -> None:
    grace = grace_of(path, clock)
    assert not grace.accepts(OLD)
    keep(path, (OLD, None))
    assert not grace.accepts(OLD), "it was looked at in vain a moment ago"
    clock.now += 0.2
    assert grace.accepts(OLD)
    keep(path)
    clock.now += 0.2
    assert not grace.accepts(OLD)


def test_without_a_file_nothing_further_is_accepted_and_nothing_said(
    path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    assert not Grace(path, clock=clock, monotonic=clock).accepts(OLD)
    assert not caplog.records


DAMAGED = [
    b"",
    b"[",
    b"\xff\xfe\xfd",
    b"{}",
    b'["admin:old-2"]',
    b'[{"auth_string": "admin:old-2"}]',
    b'[{"auth_string": "", "until": null}]',
    b'[{"auth_string": "admin:old-2", "until": "soon"}]',
    b'[{"auth_string": "admin:old-2", "until": true}]',
    b'[{"auth_string": "admin:old-2", "until": null, "more": 1}]',
]


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_file_leaves_the_last_good_one_in_force_and_is_said_once(
    path: Path, clock: Clock, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    grace = grace_of(path, clock, (OLD, 1010.0))
    assert grace.accepts(OLD)
    path.write_bytes(content)
    for _ in range(3):
        clock.now += 1.0
        assert grace.accepts(OLD)
    (record,) = caplog.records
    assert record.levelno == logging.ERROR and str(path) in record.getMessage()
    assert "old-2" not in caplog.text
    clock.now = 1010.0
    assert not grace.accepts(OLD), "a deadline counts all the same"


def test_a_file_that_vanished_leaves_what_it_held(path: Path, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    grace = grace_of(path, clock, (OLD, None))
    assert grace.accepts(OLD)
    path.unlink()
    clock.now += 1.0
    assert grace.accepts(OLD)
    assert len(caplog.records) == 1


def test_no_entry_shows_its_secret() -> None:
    assert "old-2" not in repr(read_further(b'[{"auth_string": "admin:old-2", "until": null}]'))


async def shows_authorization(scope: Scope, receive: Receive, send: Send) -> None:
    found = [value for name, value in scope["headers"] if name.lower() == b"authorization"]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"|".join(found)})


def seen_by_the_application(grace: Grace, given: dict[str, str]) -> str:
    async def call() -> str:
        transport = httpx.ASGITransport(GraceLayer(shows_authorization, OWN, grace))
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            return (await client.get("/api/anything", headers=given)).text

    return asyncio.run(call())


def test_a_calls_header_becomes_the_servers_own(path: Path, clock: Clock) -> None:
    grace, own = grace_of(path, clock, (OLD, 1010.0)), headers(OWN)["Authorization"]
    assert seen_by_the_application(grace, headers(OLD)) == own
    assert seen_by_the_application(grace, headers(OWN)) == own
    clock.now = 1010.0
    assert seen_by_the_application(grace, headers(OLD)) == headers(OLD)["Authorization"]


@pytest.mark.parametrize("value", ["", "Basic", "Basic !!!", "Basic /w==", "Bearer abc", "basic YWRtaW46b2xkLTI="])
def test_any_other_header_is_left_to_prefect(path: Path, clock: Clock, value: str) -> None:
    grace = grace_of(path, clock, (OLD, None))
    assert seen_by_the_application(grace, {"Authorization": value}) == value.strip()
    assert seen_by_the_application(grace, {}) == ""


def test_a_password_that_prefect_could_not_compare_is_taken_away(path: Path, clock: Clock) -> None:
    """Its comparison wants ASCII, and raises for anything else: a 500 and a traceback."""
    assert seen_by_the_application(grace_of(path, clock, (OLD, None)), headers("admin:änders")) == ""


@pytest.mark.parametrize("space", ["\t", "   "])
def test_a_header_is_read_as_prefect_reads_it(path: Path, clock: Clock, space: str) -> None:
    given = {"Authorization": headers(OLD)["Authorization"].replace(" ", space)}
    assert seen_by_the_application(grace_of(path, clock, (OLD, None)), given) == headers(OWN)["Authorization"]


def auth(token: object) -> Message:
    return {"type": "websocket.receive", "text": json.dumps({"type": "auth", "token": token})}


A_MESSAGE: Message = {"type": "websocket.receive", "text": '{"type": "filter"}'}


class Websocket:
    """One raw websocket: what the client brings in turn, what the application got, what was sent to the client."""

    def __init__(self, grace: Grace, brought: Sequence[Message | Callable[[], None]]) -> None:
        self.sent: list[Message] = []
        self.got: list[Message] = []
        self._brought = list(brought)
        self._layer = GraceLayer(self._application, OWN, grace)

    def run(self) -> Websocket:
        asyncio.run(self._layer({"type": "websocket", "headers": []}, self._receive, self._send))
        return self

    async def _receive(self) -> Message:
        while self._brought and callable(step := self._brought[0]):
            step()
            self._brought.pop(0)
        message = self._brought.pop(0) if self._brought else {"type": "websocket.disconnect", "code": 1000}
        assert not callable(message)
        return message

    async def _send(self, message: Message) -> None:
        self.sent.append(message)

    async def _application(self, scope: Scope, receive: Receive, send: Send) -> None:
        while (message := await receive())["type"] != "websocket.disconnect":
            self.got.append(message)
            await send({"type": "websocket.send", "text": "an answer"})
        self.got.append(message)
        await send({"type": "websocket.close", "code": 1000})


CONNECT: Message = {"type": "websocket.connect"}


def token_of(message: Message) -> Any:
    return json.loads(message["text"])["token"]


def test_a_websockets_first_message_becomes_the_servers_own(path: Path, clock: Clock) -> None:
    grace = grace_of(path, clock, (OLD, 1010.0))
    found = Websocket(grace, [CONNECT, auth(OLD), A_MESSAGE, auth(OLD)]).run()
    assert token_of(found.got[1]) == OWN
    assert found.got[2:4] == [A_MESSAGE, auth(OLD)], "only the first message is an auth message"
    assert [each["type"] for each in found.sent] == ["websocket.send"] * 4 + ["websocket.close"]


FIRST_MESSAGES = [
    auth(OWN),
    auth("admin:wrong"),
    auth(None),
    auth(7),
    {"type": "websocket.receive", "text": "no json"},
    {"type": "websocket.receive", "text": '["auth"]'},
    {"type": "websocket.receive", "text": json.dumps({"type": "hello", "token": OLD})},
    {"type": "websocket.receive", "bytes": b"\0"},
]


@pytest.mark.parametrize("first", FIRST_MESSAGES)
def test_any_other_first_message_is_left_to_prefect(path: Path, clock: Clock, first: Message) -> None:
    assert Websocket(grace_of(path, clock, (OLD, None)), [CONNECT, first]).run().got[1] == first


def test_a_websocket_ends_with_what_it_came_in_with(path: Path, clock: Clock) -> None:
    def passes() -> None:
        clock.now = 1010.0

    found = Websocket(grace_of(path, clock, (OLD, 1010.0)), [CONNECT, auth(OLD), A_MESSAGE, passes, A_MESSAGE]).run()
    assert found.got[2:] == [A_MESSAGE, {"type": "websocket.disconnect", "code": 1008}], "nothing more comes in"
    closes = [each for each in found.sent if each["type"] == "websocket.close"]
    assert [each["code"] for each in closes] == [1008], "it is closed once"


def test_nothing_more_is_sent_to_a_refused_websocket(path: Path, clock: Clock) -> None:
    async def streams(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.send", "text": "before"})
        clock.now = 1010.0
        with pytest.raises(Revoked):
            await send({"type": "websocket.send", "text": "after"})
        assert await receive() == {"type": "websocket.disconnect", "code": 1008}

    sent = []

    async def receive() -> Message:
        return auth(OLD)

    async def send(message: Message) -> None:
        sent.append(message.get("text", message["type"]))

    layer = GraceLayer(streams, OWN, grace_of(path, clock, (OLD, 1010.0)))
    asyncio.run(layer({"type": "websocket", "headers": []}, receive, send))
    assert sent == ["before", "websocket.close"]


def test_the_lifespan_passes(path: Path, clock: Clock) -> None:
    reached = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        reached.append((scope, receive, send))

    async def nothing(*_: object) -> Any:
        return None

    scope = {"type": "lifespan"}
    asyncio.run(GraceLayer(application, OWN, grace_of(path, clock))(scope, nothing, nothing))
    assert reached == [(scope, nothing, nothing)]
