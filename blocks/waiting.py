"""The one way to wait."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from blocks.errors import NotReady

Seen = TypeVar("Seen")


def wait_until(
    probe: Callable[[], Seen],
    what: str,
    *,
    timeout: float,
    every: float,
    hint: str = "",
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Seen:
    """Call `probe` until it answers something true, and return that.

    Args:
        probe: Returns a true value when done. Raising NotReady counts as "not yet"; its text is kept.
        what: What is waited for, for the error's text.
        timeout: Seconds in all, on a monotonic clock. The probe is always tried at least once.
        every: Seconds between two tries.

    Raises:
        NotReady: the time is over; the text carries the last observation.
    """
    deadline = clock() + timeout
    while True:
        seen: Seen | None = None
        try:
            seen = probe()
        except NotReady as error:
            last: object = error.what
        else:
            if seen:
                return seen
            last = seen
        if clock() + every > deadline:
            raise NotReady(f"{what} did not happen within {timeout:.0f} s; last seen: {last!r}", hint)
        sleep(every)
