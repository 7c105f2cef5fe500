"""Startup probes, carried out as they are given.

Sources: https://cloud.google.com/run/docs/configuring/healthchecks and the reference of Probe; what a refused
connection means within an attempt's time no document says: here that the container does not listen yet.
"""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Callable
from typing import Any

Body = dict[str, Any]
BETWEEN = 0.05
"""Seconds between two tries of a connection that is refused."""


class NotStarted(Exception):
    """The container does not come up; the text says what the probe has seen."""


def wait_started(probe: Body, address: str, alive: Callable[[], bool]) -> None:
    """Return once an attempt has succeeded; `alive` is whether the container still runs.

    Raises:
        NotStarted: as many attempts as `failureThreshold` have failed, or the container has ended.
    """
    time.sleep(probe.get("initialDelaySeconds", 0))
    said = ""
    for _ in range(probe["failureThreshold"]):
        began = time.monotonic()
        said = _attempt(probe, address, alive)
        if not said:
            return
        if not alive():
            raise NotStarted(f"the container has ended; {said}")
        time.sleep(max(0.0, began + probe["periodSeconds"] - time.monotonic()))
    raise NotStarted(f"{probe['failureThreshold']} attempts of the startup probe failed, the last: {said}")


def _attempt(probe: Body, address: str, alive: Callable[[], bool]) -> str:
    """What was wrong, or ""."""
    if "grpc" in probe:
        raise NotImplementedError("the lab carries out no gRPC probe")
    limit = time.monotonic() + probe["timeoutSeconds"]
    action = probe.get("httpGet") or probe["tcpSocket"]
    while True:
        left = limit - time.monotonic()
        if left <= 0:
            return f"port {action['port']} refuses connections"
        try:
            return _get(action, address, left) if "httpGet" in probe else _connect(action, address, left)
        except ConnectionRefusedError:
            if not alive():
                return f"port {action['port']} refuses connections"
            time.sleep(BETWEEN)
        except (OSError, http.client.HTTPException) as error:
            return f"port {action['port']}: {type(error).__name__}: {error}"


def _connect(action: Body, address: str, seconds: float) -> str:
    socket.create_connection((address, action["port"]), timeout=seconds).close()
    return ""


def _get(action: Body, address: str, seconds: float) -> str:
    """HTTP/1.1 without redirects; a status from 200 to 399 is a success."""
    connection = http.client.HTTPConnection(address, action["port"], timeout=seconds)
    headers = {each["name"]: each.get("value", "") for each in action.get("httpHeaders", [])}
    try:
        connection.request("GET", action["path"], headers={"User-Agent": "GoogleHC/1.0"} | headers)
        status = connection.getresponse().status
    finally:
        connection.close()
    return "" if 200 <= status < 400 else f"GET {action['path']} was answered with {status}"
