"""What threads beside the agent's own have found out."""

from __future__ import annotations

import queue
from collections.abc import Callable


class Arrivals:
    """Findings of other threads, which the agent's own takes in at its next step: so nothing else needs a lock."""

    def __init__(self, wake: Callable[[], None]) -> None:
        """`wake` is called from other threads when there is something to take in."""
        self._wake = wake
        self._events: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()

    def post(self, event: Callable[[], None]) -> None:
        """From any thread: have this called by the agent's own."""
        self._events.put(event)
        self._wake()

    def take_in(self) -> None:
        while not self._events.empty():
            self._events.get()()

    def is_empty(self) -> bool:
        return self._events.empty()
