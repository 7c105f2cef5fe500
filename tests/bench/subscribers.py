"""Subscribers that hold the server's outgoing websockets open, and note how long each was without one."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from websockets.exceptions import WebSocketException
from websockets.sync.client import connect
from websockets.sync.connection import Connection
from websockets.typing import Subprotocol

from tests.stack import eventually

PATHS = ("/api/events/out", "/api/logs/out")
"""The second brings nothing unless log streaming is switched on, which it is not by default: it is only held."""
EACH = 2
"""Subscribers on each path."""
OPEN_SECONDS = 60.0
BACK_SECONDS = 150.0
"""A plain nginx answers 504 after a minute; this is for two such attempts."""
PAUSE_SECONDS = 0.05
"""After a failed attempt, so that a subscriber which is refused does not take the processor from a starting server."""


@dataclass
class Subscriber:
    """One websocket, opened again whenever it is lost."""

    path: str
    gaps: list[float] = field(default_factory=list)
    """Seconds from each loss until the server had taken the subscription again; infinite if it never did."""
    messages: int = 0
    open: threading.Event = field(default_factory=threading.Event)
    stop: threading.Event = field(default_factory=threading.Event)
    lost: float | None = None

    def hold(self, address: str, token: str) -> None:
        """Stay subscribed until told to stop."""
        while not self.stop.is_set():
            with suppress(WebSocketException, OSError, ValueError):
                self._subscribe_and_read(address, token)
            if self.stop.is_set():
                break
            if self.open.is_set():
                self.lost = self.lost or time.monotonic()
            self.stop.wait(PAUSE_SECONDS)
        if self.lost is not None:
            self.gaps.append(math.inf)

    def _subscribe_and_read(self, address: str, token: str) -> None:
        url = address.replace("http", "ws", 1) + self.path
        with connect(url, subprotocols=[Subprotocol("prefect")], open_timeout=OPEN_SECONDS, proxy=None) as socket:
            socket.send(json.dumps({"type": "auth", "token": token}))
            socket.recv(timeout=OPEN_SECONDS)
            socket.send(json.dumps({"type": "filter", "filter": _filter(self.path)}))
            self._is_back()
            self._read(socket)

    def _is_back(self) -> None:
        if self.lost is not None:
            self.gaps.append(time.monotonic() - self.lost)
        self.lost = None
        self.open.set()

    def _read(self, socket: Connection) -> None:
        while not self.stop.is_set():
            with suppress(TimeoutError):
                socket.recv(timeout=1)
                self.messages += 1

    def __str__(self) -> str:
        gaps = ", ".join("not at all" if math.isinf(each) else f"{each:.2f}" for each in self.gaps) or "never lost"
        return f"{self.path}: {self.messages} messages, back after (s): {gaps}"


def _filter(path: str) -> dict[str, Any]:
    """What to subscribe to. Without an end in the future no event is sent but those of the past."""
    now = datetime.now(UTC)
    occurred = {"since": now.isoformat(), "until": (now + timedelta(days=1)).isoformat()}
    return {"occurred": occurred} if "events" in path else {}


def wait_back(subscribers: Sequence[Subscriber]) -> None:
    """Wait until all that were lost are back; who is not in time is told by its gap."""
    with suppress(AssertionError):
        eventually(lambda: all(each.lost is None for each in subscribers), "subscribers", BACK_SECONDS)


@contextmanager
def subscribed(address: str, token: str) -> Iterator[list[Subscriber]]:
    """Some subscribers on each path until the block ends, all open when it begins."""
    subscribers = [Subscriber(path) for path in PATHS for _ in range(EACH)]
    threads = [threading.Thread(target=each.hold, args=(address, token)) for each in subscribers]
    for thread in threads:
        thread.start()
    try:
        for each in subscribers:
            assert each.open.wait(OPEN_SECONDS), f"no websocket on {each.path}"
        yield subscribers
    finally:
        for each in subscribers:
            each.stop.set()
        for thread in threads:
            thread.join()
