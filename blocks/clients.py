"""Which Prefects may call a stack's server, and who has called it that should not have."""

from __future__ import annotations

from collections.abc import Mapping

from blocks.host.agent.spec import Condition, HostStatus
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
    """Whether every client that has called is of a version which this server serves wholly. Pure.

    Args:
        called: See `callers`.
        server: The server's version.
        now: Unix time.
    """
    recent = {version: now - at for version, at in called.items() if now - at < REMEMBERED_SECONDS}
    faults = [said for version, age in recent.items() if (said := _fault(version, age, server))]
    if faults:
        faults.append(f"where they run: pip install '{requirement(server)}'")
        return Condition("ClientsFit", False, "VersionsOutside", "; ".join(faults), now)
    return Condition(
        "ClientsFit", True, "AllInside", f"clients that called in a day: {', '.join(recent) or 'none'}", now
    )


def _fault(version: str, age: float, server: str) -> str:
    """What is wrong with a client of that version; empty where nothing is."""
    said = f"a client with Prefect {version} called {age / 60:.0f} minutes ago"
    if numbers(version) < numbers(OLDEST):
        return f"{said}: below {OLDEST} its task runs are not stored"
    if numbers(version) > numbers(server):
        return f"{said}: newer than the server, which refuses it (422)"
    return ""
