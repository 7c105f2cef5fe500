"""What somebody who has not said the password may do with a websocket: little, and not for long.

A websocket brings its password in its first message. Until Prefect has answered that, and it answers nobody else,
little is taken from a client; and the message must come soon, or the websocket is closed. Prefect's own clients send it
at once, and one that is closed before its answer drops its event for good, so nobody is hurried by a server that is
itself too slow to read.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from blocks.server.grace import POLICY_VIOLATION, ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger("blocks.server.serve")

FIRST_BYTES = 8 * 1024
"""The most that is taken from a stranger, in one message and in all."""
MOST_BYTES = 32 * 1024 * 1024
"""Longest message that is read from a known client, as nginx's for calls; a longer one closes the websocket."""
KEPT_CHARACTERS = 2_000_000
"""Longest message that reaches Prefect, whose events stop at 1.5 MB. A longer one is dropped: a client whose websocket
was closed over it would send it again for ever."""

FIRST_SECONDS = 10.0
"""How long the first message may take …"""
CROWDED_SECONDS = 2.0
"""… and how long while more clients than a CROWD have not sent theirs: the cap on them, which takes from those who came
early and not from those who have just come."""
CROWD = 200
LATEST_SECONDS = 60.0
"""… and how long however slow the server is: a client's own pings have failed by then."""
LOOK_SECONDS = 1.0
LAG_SECONDS = 0.5
"""A look that took so much longer than it should does not count: the event loop lagged, and read nothing meanwhile."""

MESSAGE_TOO_BIG = 1009
"""The code a websocket is closed with by uvicorn itself, before the application sees the message."""

Look = Callable[[asyncio.Future[Message]], Awaitable[None]]


async def look(coming: asyncio.Future[Message]) -> None:
    """Wait for a message until it is time to look at the clock."""
    await asyncio.wait({coming}, timeout=LOOK_SECONDS)


def is_over(quiet: float, waited: float, waiting: int) -> bool:
    """Whether a first message is waited for no longer.

    Args:
        quiet: Seconds in which the server would have read it.
        waited: Seconds in all.
        waiting: How many clients have not sent theirs.
    """
    return quiet >= (CROWDED_SECONDS if waiting > CROWD else FIRST_SECONDS) or waited >= LATEST_SECONDS


class StrangersLayer:
    """An ASGI application round another, which gets the first message of a websocket only if it can be read.

    Args:
        clock: Seconds.
        look: Returns when the message is there, or after LOOK_SECONDS.

    Attributes:
        waiting: How many clients have not sent theirs.
    """

    def __init__(self, app: ASGIApp, *, clock: Callable[[], float] = time.monotonic, look: Look = look) -> None:
        self._app, self._clock, self._look = app, clock, look
        self.waiting = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            websocket = _Websocket(self, scope, receive, send)
            receive, send = websocket.receive, websocket.send
        await self._app(scope, receive, send)

    async def in_time(self, receive: Receive) -> Message | None:
        """What comes next; None where it does not come in time."""
        coming = asyncio.ensure_future(receive())
        self.waiting += 1
        try:
            await self._wait_for(coming)
            return coming.result() if coming.done() else None
        finally:
            self.waiting -= 1
            coming.cancel()

    async def _wait_for(self, coming: asyncio.Future[Message]) -> None:
        quiet, began = 0.0, self._clock()
        while not coming.done() and not is_over(quiet, self._clock() - began, self.waiting):
            looked = self._clock()
            await self._look(coming)
            if self._clock() - looked < LOOK_SECONDS + LAG_SECONDS:
                quiet += LOOK_SECONDS
            await asyncio.sleep(0)  # what was read in this very moment is handed over


class _Websocket:
    """One websocket: a stranger's until its first message has reached the application."""

    def __init__(self, layer: StrangersLayer, scope: Scope, receive: Receive, send: Send) -> None:
        self._layer, self._receive, self._send = layer, receive, send
        self._client = (scope.get("client") or ("a client",))[0]
        self._has_begun = self._is_ended = False

    async def receive(self) -> Message:
        if not self._has_begun:
            return await self._first()
        while is_too_long(message := await self._receive()):
            logger.warning("a message of %s was dropped: longer than %d characters", self._client, KEPT_CHARACTERS)
        return message

    async def send(self, message: Message) -> None:
        if not self._is_ended:
            await self._send(message)

    async def _first(self) -> Message:
        message = await self._layer.in_time(self._receive)
        if message is None:
            return await self._end("the first message did not come in time")
        if message["type"] != "websocket.receive":
            if message.get("code") == MESSAGE_TOO_BIG:
                logger.warning("a websocket of %s was closed: the first message is longer than 8 KB", self._client)
            return message
        self._has_begun = True
        fault = fault_of(message)
        return await self._end(fault) if fault else message

    async def _end(self, why: str) -> Message:
        """Close it; what the application is told then."""
        logger.warning("a websocket of %s was closed: %s", self._client, why)
        with suppress(OSError):  # it has gone by itself
            await self._send({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": why})
        self._is_ended = True
        return {"type": "websocket.disconnect", "code": POLICY_VIOLATION}


def is_too_long(message: Message) -> bool:
    return len(message.get("text") or message.get("bytes") or "") > KEPT_CHARACTERS


def fault_of(message: Message) -> str:
    """Why Prefect could not read a first message, which would fill its log with a traceback; empty where it can."""
    text = message.get("text")
    if text is None or len(text) > FIRST_BYTES:
        return "the first message is no text of at most 8 KB"
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return "the first message is not JSON"
    if not isinstance(content, dict):
        return "the first message is no object"
    token = content.get("token")
    if token is not None and not (isinstance(token, str) and token.isascii()):
        return "Invalid token"  # Prefect's own words for a wrong one
    return ""
