"""Time in the emulator: real, or standing still until a test moves it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """What everything that takes time asks."""

    def now(self) -> datetime:
        """The moment it is, in UTC."""

    async def sleep_until(self, moment: datetime) -> None:
        """Return once it is `moment`."""

    def advance(self, seconds: float) -> None:
        """Move on by hand; NotImplementedError where time is real."""


class RealClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    async def sleep_until(self, moment: datetime) -> None:
        while (left := (moment - self.now()).total_seconds()) > 0:
            await asyncio.sleep(left)

    def advance(self, seconds: float) -> None:
        raise NotImplementedError("time is real here: start with --virtual-clock to move it by hand")


@dataclass
class VirtualClock:
    """A clock that moves when it is told to, and by itself just as far as somebody waits for."""

    moment: datetime = field(default_factory=lambda: datetime(2026, 1, 1, tzinfo=UTC))

    def now(self) -> datetime:
        return self.moment

    async def sleep_until(self, moment: datetime) -> None:
        """Jump there: whoever waits on the server's side has nothing else to do."""
        self.moment = max(self.moment, moment)
        await asyncio.sleep(0)

    def advance(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)


def rfc3339(moment: datetime) -> str:
    """`2026-01-01T00:00:00.000000Z`, as the APIs write a timestamp."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
