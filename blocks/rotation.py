"""What a server accepts while its auth string is rotated, and afterwards. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

from blocks.server.grace import Further

SHORTEST_SECONDS = 60.0
"""The old string is accepted at least so long: the run which rotates it, and its worker, still end with it."""


def while_rotating(further: Iterable[Further], current: str, following: str) -> tuple[Further, ...]:
    """Both strings, without an end; others as they were. So whichever is a server's own, every client is let in."""
    others = [each for each in further if each.auth_string not in (current, following)]
    return (*others, Further(current, math.inf), Further(following, math.inf))


def afterwards(further: Iterable[Further], current: str, now: float, until: float) -> tuple[Further, ...]:
    """All but the current one end at `until`, if not before; those that have ended are dropped. Unix times."""
    others = [replace(each, until=min(each.until, until)) for each in further if each.auth_string != current]
    return tuple(each for each in others if each.until > now)


def deadline(now: float, grace_minutes: int) -> float:
    """When the old string is refused; unix time."""
    return now + max(grace_minutes * 60.0, SHORTEST_SECONDS)
