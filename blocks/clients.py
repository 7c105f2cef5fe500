"""Which Prefects may call a stack's server, and who has called it that should not have."""

from __future__ import annotations

from collections.abc import Mapping

from blocks.agent.spec import Condition, HostStatus
from blocks.spec import numbers

OLDEST = "3.6.14"
"""The first whose clients say the auth string when they open the websocket of their events. The server refuses those
before (403), and says so nowhere: their flow runs end Completed, and none of their task runs is ever stored."""
REMEMBERED_SECONDS = 86_400.0
"""A client that does not fit is named for so long after its last call: a day, as many jobs run each night."""


def requirement(server: str) -> str:
    """What others install to call a server of that version, for pip."""
    return f"prefect>={OLDEST},<={server}"


def callers(status: HostStatus | None) -> dict[str, float]:
    """Prefect version → when a client of it last called a server that runs now, Unix time; the oldest version first."""
    latest: dict[str, float] = {}
    for service in status.services if status else ():
        for version, at in service.clients.items():
            latest[version] = max(at, latest.get(version, 0.0))
    return dict(sorted(latest.items(), key=lambda each: numbers(each[0])))


def fit(called: Mapping[str, float], server: str, now: float) -> Condition:
    """Whether no client has called whose task runs are lost. A newer one is named and no fault: it is refused, and
    says so where it runs. Pure.

    Args:
        called: See `callers`.
        server: The server's version.
        now: Unix time.
    """
    ages = {version: f"{(now - at) / 60:.0f}" for version, at in called.items() if now - at < REMEMBERED_SECONDS}
    old = [each for each in ages if numbers(each) < numbers(OLDEST)]
    new = [each for each in ages if numbers(each) > numbers(server)]
    said = [f"Prefect {each} called {ages[each]} min ago: below {OLDEST} its task runs are not stored" for each in old]
    said += [f"Prefect {each} called {ages[each]} min ago: newer than the server, it is refused (422)" for each in new]
    if said:
        said.append(f"where it runs: pip install '{requirement(server)}'")
    else:
        said.append(f"clients that have called, by version: {', '.join(ages) or 'none'}")
    reason = "TooOld" if old else "TooNew" if new else "AllInside"
    return Condition("ClientsFit", not old, reason, "; ".join(said), now)
