"""The layer round an application that shows what reaches it, with a clock that stands still until it is moved."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any

import pytest

from blocks.server.grace import Message, Receive, Scope, Send
from blocks.server.strangers import (
    CROWD,
    CROWDED_SECONDS,
    FIRST_BYTES,
    FIRST_SECONDS,
    KEPT_CHARACTERS,
    LATEST_SECONDS,
    LOOK_SECONDS,
    StrangersLayer,
    is_over,
)

WEBSOCKET: Scope = {"type": "websocket", "client": ("192.0.2.7", 4)}
CONNECT: Message = {"type": "websocket.connect"}
GONE: Message = {"type": "websocket.disconnect", "code": 1005}
REFUSED: Message = {"type": "websocket.disconnect", "code": 1008}


def text(content: str) -> Message:
    return {"type": "websocket.receive", "text": content}


def auth(token: object) -> Message:
    return text(json.dumps({"type": "auth", "token": token}))


class Clock:
    """Seconds; a look takes one of them, and more where the event loop lags."""

    def __init__(self, lag: float = 0.0) -> None:
        self.now, self.lag = 1000.0, lag
        self.after_look: Callable[[], None] = lambda: None

    def __call__(self) -> float:
        return self.now

    async def look(self, coming: asyncio.Future[Message]) -> None:
        await asyncio.sleep(0)
        if not coming.done():
            self.now += LOOK_SECONDS + self.lag
            self.after_look()


class Client:
    """One websocket: what the application got, and what was sent to the client."""

    def __init__(self, *brings: Message) -> None:
        self.queue: asyncio.Queue[Message] = asyncio.Queue()
        self.got: list[Message] = []
        self.sent: list[Message] = []
        for each in (CONNECT, *brings):
            self.queue.put_nowait(each)

    async def application(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] != "websocket.disconnect":
            self.got.append(message)
        self.got.append(message)
        await send({"type": "websocket.close", "code": 1000})

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    async def visit(self, layer: StrangersLayer) -> None:
        await layer(WEBSOCKET, self.queue.get, self.send)

    def run(self, clock: Clock | None = None) -> Client:
        clock = clock or Clock()
        asyncio.run(self.visit(StrangersLayer(self.application, clock=clock, look=clock.look)))
        return self

    def closes(self) -> list[tuple[int, str]]:
        return [(each["code"], each.get("reason", "")) for each in self.sent if each["type"] == "websocket.close"]


def test_a_first_message_in_time_and_what_follows_reach_the_application() -> None:
    messages = [auth("admin:own"), text("any"), {"type": "websocket.receive", "bytes": b"\0"}, GONE]
    assert Client(*messages).run().got == [CONNECT, *messages]


def test_a_client_that_goes_before_its_first_message_is_no_fault(caplog: pytest.LogCaptureFixture) -> None:
    assert Client(GONE).run().got == [CONNECT, GONE]
    assert not caplog.records


def test_a_silent_client_is_closed_once_and_said_so(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    client = Client().run(clock)
    assert clock.now == 1000.0 + FIRST_SECONDS
    assert client.got == [CONNECT, REFUSED]
    assert client.closes() == [(1008, "the first message did not come in time")]
    (record,) = caplog.records
    assert record.levelno == logging.WARNING and "192.0.2.7" in record.getMessage()


def test_what_came_in_the_very_last_moment_counts() -> None:
    client, clock = Client(), Clock()

    def comes_late() -> None:
        if clock.now == 1000.0 + FIRST_SECONDS:
            client.queue.put_nowait(auth("admin:own"))
            client.queue.put_nowait(GONE)

    clock.after_look = comes_late
    assert client.run(clock).got == [CONNECT, auth("admin:own"), GONE]


def test_nobody_is_hurried_by_a_server_that_lags() -> None:
    client, clock = Client(), Clock(lag=2.0)

    def comes_after_the_lag() -> None:
        if clock.now >= 1000.0 + 4 * FIRST_SECONDS:
            client.queue.put_nowait(auth("admin:own"))
            client.queue.put_nowait(GONE)

    clock.after_look = comes_after_the_lag
    assert client.run(clock).got == [CONNECT, auth("admin:own"), GONE]


def test_a_server_that_always_lags_closes_the_silent_all_the_same() -> None:
    clock = Clock(lag=2.0)
    assert Client().run(clock).closes() == [(1008, "the first message did not come in time")]
    assert clock.now - 1000.0 == pytest.approx(LATEST_SECONDS, abs=3.0)


@pytest.mark.parametrize(
    ("quiet", "waited", "waiting", "expected"),
    [
        (CROWDED_SECONDS, CROWDED_SECONDS, CROWD, False),
        (CROWDED_SECONDS, CROWDED_SECONDS, CROWD + 1, True),
        (CROWDED_SECONDS - 1, CROWDED_SECONDS, CROWD + 1, False),
        (FIRST_SECONDS - 1, FIRST_SECONDS, 1, False),
        (FIRST_SECONDS, FIRST_SECONDS, 1, True),
        (0.0, LATEST_SECONDS - 1, CROWD + 1, False),
        (0.0, LATEST_SECONDS, 1, True),
    ],
)
def test_how_long_a_first_message_is_waited_for(quiet: float, waited: float, waiting: int, expected: bool) -> None:
    assert is_over(quiet, waited, waiting) is expected


def test_of_a_crowd_of_silent_clients_the_cap_is_left_and_who_speaks_stays() -> None:
    """The clock of a crowd is moved here, one look for all."""

    async def crowd() -> tuple[int, list[Client], Client]:
        turn, now = asyncio.Condition(), [0.0]

        async def look(coming: asyncio.Future[Message]) -> None:
            async with turn:
                await turn.wait()

        silent, known = [Client() for _ in range(CROWD + 50)], Client(auth("admin:own"))
        layer = StrangersLayer(silent[0].application, clock=lambda: now[0], look=look)
        visits = [asyncio.ensure_future(each.visit(layer)) for each in [*silent, known]]
        for _ in range(int(CROWDED_SECONDS) + 1):
            for _ in range(5):
                await asyncio.sleep(0)
            now[0] += LOOK_SECONDS
            async with turn:
                turn.notify_all()
        for _ in range(5):
            await asyncio.sleep(0)
        waiting = layer.waiting
        for each in visits:
            each.cancel()
        await asyncio.gather(*visits, return_exceptions=True)
        assert layer.waiting == 0
        return waiting, silent, known

    waiting, silent, known = asyncio.run(crowd())
    assert waiting == CROWD
    assert sum(bool(each.closes()) for each in silent) == 50
    assert known.closes() == []


MALFORMED = [
    ({"type": "websocket.receive", "bytes": b"\0"}, "the first message is no text of at most 8 KB"),
    (text("x" * (FIRST_BYTES + 1)), "the first message is no text of at most 8 KB"),
    (text(""), "the first message is not JSON"),
    (text("hello"), "the first message is not JSON"),
    (text("[" * FIRST_BYTES), "the first message is not JSON"),
    (text('["auth"]'), "the first message is no object"),
    (text("7"), "the first message is no object"),
    (auth("admin:pässwörd"), "Invalid token"),
    (text('{"type": "auth", "token": "\\ud800"}'), "Invalid token"),
    (auth(7), "Invalid token"),
    (auth(["admin:own"]), "Invalid token"),
]


@pytest.mark.parametrize(("first", "why"), MALFORMED, ids=range(len(MALFORMED)))
def test_a_first_message_that_prefect_could_not_read_is_a_line_and_a_close(
    first: Message, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    client = Client(first, text("more")).run()
    assert client.got == [CONNECT, REFUSED]
    assert client.closes() == [(1008, why)]
    (record,) = caplog.records
    assert len(record.getMessage()) < 200 and record.exc_info is None


@pytest.mark.parametrize("first", [auth("admin:wrong"), auth(None), text('{"type": "hello"}'), text("{}")])
def test_what_prefect_refuses_in_a_line_is_left_to_it(first: Message) -> None:
    assert Client(first, GONE).run().got == [CONNECT, first, GONE]


def test_a_message_too_long_for_prefect_is_dropped_said_and_the_next_one_comes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    longest = text("x" * KEPT_CHARACTERS)
    too_long = [text("x" * (KEPT_CHARACTERS + 1)), {"type": "websocket.receive", "bytes": bytes(KEPT_CHARACTERS + 1)}]
    client = Client(auth("admin:own"), longest, *too_long, text("next"), GONE).run()
    assert client.got == [CONNECT, auth("admin:own"), longest, text("next"), GONE]
    assert [each.getMessage().startswith("a message of 192.0.2.7 was dropped") for each in caplog.records] == [True] * 2


def test_a_client_that_is_gone_when_it_is_closed_is_no_fault() -> None:
    async def is_gone(message: Message) -> None:
        raise OSError("the client is gone")

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        assert await receive() == REFUSED

    async def brings() -> Message:
        return text("no JSON")

    asyncio.run(StrangersLayer(application)(WEBSOCKET, brings, is_gone))


@pytest.mark.parametrize("kind", ["http", "lifespan"])
def test_everything_else_passes(kind: str) -> None:
    reached: list[tuple[Any, ...]] = []

    async def application(*given: Any) -> None:
        reached.append(given)

    async def nothing(*_: object) -> Any:
        return None

    asyncio.run(StrangersLayer(application)({"type": kind}, nothing, nothing))
    assert reached == [({"type": kind}, nothing, nothing)]
