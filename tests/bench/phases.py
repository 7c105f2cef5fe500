"""What clients without retries and subscribers saw while something was done, and a table of it."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.table import Table

from tests.bench.subscribers import Subscriber, subscribed, wait_back
from tests.traffic import Call, Traffic, clients


@dataclass(frozen=True)
class Load:
    """The same for every phase that is compared."""

    address: str
    auth: str
    count: int
    """Clients."""

    def during(self, name: str, work: Callable[[Traffic], object]) -> Phase:
        """Do something under it."""
        with (
            subscribed(self.address, self.auth) as subscribers,
            clients(self.count, self.address, self.auth) as traffic,
        ):
            work(traffic)
            wait_back(subscribers)
        return Phase(name, list(traffic.calls), subscribers)


@dataclass(frozen=True)
class Phase:
    """What was seen during one thing."""

    name: str
    calls: list[Call]
    subscribers: list[Subscriber]

    @property
    def slowest(self) -> float:
        return max(each.seconds for each in self.calls)

    def row(self, quiet: float) -> tuple[str, ...]:
        cuts = statistics.quantiles([each.seconds for each in self.calls], n=100)
        failed = sum(1 for each in self.calls if each.fault)
        milliseconds = (f"{1000 * each:.0f}" for each in (cuts[49], cuts[98], self.slowest))
        return (self.name, f"{len(self.calls):,}", f"{failed:,}", *milliseconds, f"{self.slowest / quiet:.2f}")

    def websockets(self) -> str:
        """The subscribers, a line each."""
        return "\n".join(f"websocket, {self.name}, {each}" for each in self.subscribers)


def table(title: str, phases: Sequence[Phase]) -> Table:
    """A row for each; the first is the quiet one."""
    made = Table(title=title)
    for column in ("", "calls", "failed", "p50 ms", "p99 ms", "slowest ms", "slowest ÷ quiet"):
        made.add_column(column, justify="left" if not column else "right")
    for each in phases:
        made.add_row(*each.row(phases[0].slowest))
    return made
