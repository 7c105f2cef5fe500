"""How long a client of the front door had to wait, while something was changed behind it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx

from blocks.front_door import FrontDoor

EVERY = 0.1
"""Seconds between two calls; each asks the database too."""
PATIENCE = 120.0
"""Seconds after which a call that waits counts as failed."""


@dataclass
class Stall:
    """What one client saw: calls, those that failed, the longest wait in seconds."""

    calls: int = 0
    failed: int = 0
    longest: float = 0.0

    def __str__(self) -> str:
        return f"longest stall {self.longest:.1f} s, {self.failed} of {self.calls} calls failed"


@contextmanager
def watched(door: FrontDoor) -> Iterator[Stall]:
    """Call the front door all the time while the context lasts."""
    seen, ended = Stall(), threading.Event()
    watcher = threading.Thread(target=_watch, args=(door, seen, ended), daemon=True)
    watcher.start()
    try:
        yield seen
    finally:
        ended.set()
        watcher.join(PATIENCE)


def _watch(door: FrontDoor, seen: Stall, ended: threading.Event) -> None:
    with httpx.Client(timeout=PATIENCE, trust_env=False) as client:
        while not ended.wait(EVERY):
            began = time.monotonic()
            answers = _answers(client, f"{door.api_url}/ready")
            seen.longest = max(seen.longest, time.monotonic() - began)
            seen.calls += 1
            seen.failed += not answers


def _answers(client: httpx.Client, url: str) -> bool:
    try:
        return client.get(url).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False
