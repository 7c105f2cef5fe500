"""Sees whether a service is ready, and tells its story over time (`Watch`)."""

from __future__ import annotations

import json
import re
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .execution import QUICK_EXIT
from .files import read_at_most
from .planning import ServiceProcess
from .processes import ProcessRecord
from .spec import Health, Service, ServiceState

PROBE_TIMEOUT = 3.0
READY_INTERVAL = 10.0
"""Seconds between two rounds of checks of ready services; a death is seen at once, without a check."""

READY_BYTES = 64 * 1024
STATUS_LINE_BYTES = 4096
_VERSION = re.compile(r"[0-9A-Za-z.+!_-]{1,64}")
_CLIENT_VERSION = re.compile(r"[0-9]{1,4}\.[0-9]{1,4}\.[0-9]{1,4}")
_LAST_TIME = 253_402_300_800
"""The year 10000, Unix time: no reader of a status can show a later one."""

MISS_INTERVAL = 1.0
MISSES_UNTIL_UNREADY = 2
FAILURES_UNTIL_FAILED = 3


def probe(service: Service, pid: int) -> str:
    """Check once, within `PROBE_TIMEOUT`. Returns why the service is not ready, or nothing."""
    if service.ready_file and ready_report(service.ready_file, pid) is None:
        return "has not reported ready yet"
    if service.health.kind == "none":
        return ""
    deadline = time.monotonic() + PROBE_TIMEOUT
    try:
        with _connect(service.health) as connection:
            return _http_fault(connection, service.health, deadline) if service.health.kind == "http" else ""
    except OSError as error:
        return f"{_address(service.health)}: {error.strerror or error}"


def ready_report(path: str, pid: int) -> dict[str, Any] | None:
    """`version` and `clients` of what the process wrote into its `ready_file`, as `ServiceStatus` has them.

    None while it has not, or where another process did. The file is an unprivileged user's, and goes into the status,
    which every command must be able to read: what is not of its form is left out.
    """
    try:
        report = json.loads(read_at_most(Path(path), READY_BYTES))
        if report["pid"] != pid:
            return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    version, clients = report.get("version"), report.get("clients")
    return {
        "version": version if isinstance(version, str) and _VERSION.fullmatch(version) else "",
        "clients": {k: v for k, v in clients.items() if _is_call(k, v)} if isinstance(clients, dict) else {},
    }


def _is_call(version: str, at: object) -> bool:
    is_time = isinstance(at, int | float) and not isinstance(at, bool) and 0 <= at < _LAST_TIME
    return is_time and _CLIENT_VERSION.fullmatch(version) is not None


def _connect(health: Health) -> socket.socket:
    if not health.socket:
        return socket.create_connection((health.host, health.port), PROBE_TIMEOUT)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(PROBE_TIMEOUT)
    try:
        connection.connect(health.socket)
    except OSError:
        connection.close()
        raise
    return connection


def _http_fault(connection: socket.socket, health: Health, deadline: float) -> str:
    """Any 2xx is ready. By hand, for http.client takes 8 MB of memory with it."""
    host = "localhost" if health.socket else f"{health.host}:{health.port}"
    request = f"GET {health.path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    connection.sendall(request.encode())
    answer = b""
    while b"\r\n" not in answer and len(answer) < STATUS_LINE_BYTES:
        if (left := deadline - time.monotonic()) <= 0:
            raise TimeoutError("timed out")
        connection.settimeout(left)
        received = connection.recv(STATUS_LINE_BYTES)
        if not received:
            break
        answer += received
    status_line = answer.partition(b"\r\n")[0].decode(errors="replace")
    is_ready = status_line.startswith("HTTP/1.") and status_line[9:10] == "2"
    return "" if is_ready else f"{_address(health)}{health.path}: {status_line or 'closed without an answer'}"


def _address(health: Health) -> str:
    return health.socket or f"{health.host}:{health.port}"


def _can_change(service: Service) -> bool:
    """Whether a later check of a ready service can find something else: without a probe it cannot."""
    return service.health.kind != "none"


def _next_round(now: float) -> float:
    """All services are checked together, so that an idle agent wakes up once for them."""
    return (now // READY_INTERVAL + 1) * READY_INTERVAL


@dataclass
class Watch:
    """What is known of one service's readiness. Times are monotonic seconds but for `since`."""

    record: ProcessRecord | None = None
    state: ServiceState = "pending"
    since: float = 0.0
    """Unix time."""
    message: str = ""
    began: float = 0.0
    next_probe: float = 0.0
    misses: int = 0
    failures: int = 0
    """Quick exits in a row, as last recorded."""
    probing: bool = False

    def enter(self, state: ServiceState, message: str, unix_time: float) -> None:
        if state != self.state or not self.since:
            self.since = unix_time
        self.state, self.message = state, message

    def follow(self, process: ServiceProcess | None, now: float, unix_time: float) -> None:
        """Take note of the process that runs now; another process starts the story again."""
        record = process.record if process is not None and not process.held else None
        if process is not None:
            self.failures = process.failures
        keeps_ending = self.failures >= FAILURES_UNTIL_FAILED
        state: ServiceState = "failed" if keeps_ending else "starting"
        story = f"ended {self.failures} times soon after its start" if keeps_ending else ""
        if record is not None and record != self.record:
            self.began, self.next_probe, self.misses = now, now, 0
            self.enter(state, story, unix_time)
        if record is None and (self.record is not None or keeps_ending):
            # Lives too short to be seen are counted by the wrapper alone.
            self.enter(state, story or "its process has ended and is started again", unix_time)
        self.record = record

    def is_due(self, now: float) -> bool:
        return self.record is not None and not self.probing and now >= self.next_probe

    def judge(self, service: Service, fault: str, now: float, unix_time: float) -> None:
        """Take in the result of a check."""
        age = now - self.began
        if not fault and self._is_settled(service, age):
            self.misses = 0
            self.next_probe = _next_round(now) if _can_change(service) else float("inf")
            self.enter("ready", "", unix_time)
            return
        self.misses += 1
        was_up = self.state in ("ready", "unready")
        self.next_probe = now + (MISS_INTERVAL if was_up else max(0.05, service.health.interval))
        if was_up and self.misses >= MISSES_UNTIL_UNREADY:
            self.enter("unready", fault, unix_time)
        elif not was_up and age > service.health.timeout:
            self.enter("unready", f"not ready after {service.health.timeout:g} s: {fault}", unix_time)
        elif not was_up and self.state != "failed":
            self.enter("starting", fault, unix_time)

    def _is_settled(self, service: Service, age: float) -> bool:
        """Without a check, up for an interval; one that keeps ending quickly must first live for longer."""
        if self.failures >= FAILURES_UNTIL_FAILED and age < QUICK_EXIT:
            return False
        return service.health.kind != "none" or bool(service.ready_file) or age >= service.health.interval
