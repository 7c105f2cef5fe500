"""Clients without retries that keep calling an API, each on one kept-alive connection, and count what fails."""

from __future__ import annotations

import base64
import http.client
import itertools
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import urlsplit

CALL_SECONDS = 60.0
"""Longer than any switch takes: a call that waits in the backlog is slow, not failed."""

FAULT_SECONDS = 0.05
"""Pause after a failed call, so that refused clients do not take the processor from a starting server."""

UNHURRIED = 0.4
"""Pause between two calls of a client in tests of whole stacks: without one they take half of a small machine."""


@dataclass(frozen=True)
class Call:
    """One call as its client saw it."""

    began: float
    """time.monotonic()."""
    seconds: float
    fault: str
    """Empty where the answer was 2xx."""
    asked_to_close: bool
    """Whether the answer said `Connection: close`."""


@dataclass
class Traffic:
    """What the clients of one run saw so far."""

    calls: list[Call] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def failed(self) -> list[Call]:
        return [each for each in self.calls if each.fault]

    def wait_for(self, count: int, seconds: float = CALL_SECONDS) -> None:
        """Wait until `count` more calls have been answered."""
        goal, deadline = len(self.calls) + count, time.monotonic() + seconds
        while len(self.calls) < goal:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(self.calls)} calls, not {goal}, after {seconds:.0f} s")
            time.sleep(0.02)


def headers(auth: str) -> dict[str, str]:
    """Basic authentication as Prefect's clients send it, and the content type."""
    token = base64.b64encode(auth.encode()).decode()
    return {"Authorization": f"Basic {token}", "Content-Type": "application/json"}


def _log_line() -> str:
    now = datetime.now(UTC).isoformat()
    return json.dumps([{"name": "traffic", "level": 20, "message": "a line", "timestamp": now}])


def mixed_requests() -> Iterator[tuple[str, str, str]]:
    """Method, path and body of a read without the database, a query and a write, for ever."""
    for turn in itertools.count():
        if turn % 3 == 0:
            yield "GET", "/api/health", ""
        elif turn % 3 == 1:
            yield "POST", "/api/flow_runs/filter", json.dumps({"limit": 20})
        else:
            yield "POST", "/api/logs/", _log_line()


def _client(address: str, auth: str, traffic: Traffic, pause: float) -> None:
    where = urlsplit(address)
    connection = http.client.HTTPConnection(where.hostname or "", where.port or 80, timeout=CALL_SECONDS)
    for method, path, body in mixed_requests():
        if traffic.stop.is_set():
            break
        traffic.calls.append(call := _call(connection, method, path, body, headers(auth)))
        traffic.stop.wait(max(pause, FAULT_SECONDS if call.fault else 0.0))
    connection.close()


def _call(
    connection: http.client.HTTPConnection, method: str, path: str, body: str, with_headers: dict[str, str]
) -> Call:
    began, asked_to_close = time.monotonic(), False
    try:
        connection.request(method, path, body=body or None, headers=with_headers)
        answer = connection.getresponse()
        asked_to_close = (answer.getheader("connection") or "").lower() == "close"
        text = answer.read()
        fault = "" if answer.status < 300 else f"{method} {path}: {answer.status} {text[:200]!r}"
    except (OSError, http.client.HTTPException) as error:
        connection.close()  # the next call opens a new one
        fault = f"{method} {path}: {error!r}"
    return Call(began, time.monotonic() - began, fault, asked_to_close)


@contextmanager
def clients(count: int, address: str, auth: str, pause: float = 0.0) -> Iterator[Traffic]:
    """Run `count` clients until the block ends; all have finished their last call afterwards.

    Args:
        pause: Seconds between two calls of each.
    """
    traffic = Traffic()
    threads = [threading.Thread(target=_client, args=(address, auth, traffic, pause)) for _ in range(count)]
    for each in threads:
        each.start()
    try:
        yield traffic
    finally:
        traffic.stop.set()
        for each in threads:
            each.join()
