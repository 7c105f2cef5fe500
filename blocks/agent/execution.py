"""The exec wrapper: what the service manager starts, which then *becomes* the service.

A definition in HOME/run/services says what to become, and whether to start at all. While it says no, the
wrapper waits, so the agent can keep a service down, or start it the moment what it needs is ready, without a
word to the service manager. The pid which the service manager knows is the service's own.

Every service starts through here, so this imports little (no pathlib, no dataclasses): 20 ms, not 60.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import sys
import time
from typing import Any, NoReturn

from . import processes
from .handover import FIRST_SOCKET
from .program import WAKE_SIGNAL, CannotStart, become, reset_dispositions
from .records import read_data, write_data

QUICK_EXIT = 10.0
"""A process that lived for fewer seconds than this has failed to start."""

LONGEST_BACKOFF = 30.0
_HELD_POLL = 5.0


def backoff(failures: int) -> float:
    """Seconds to wait before the next start after so many quick exits in a row: 0, 0.25, 0.5, … 30."""
    return 0.0 if failures <= 1 else min(0.25 * 2.0 ** (failures - 2), LONGEST_BACKOFF)


def failures_in_a_row(previous: dict[str, Any], digest: str, now: float) -> int:
    """How often this definition has now exited quickly, given the record of the process before this one."""
    if not previous or previous.get("digest") != digest:
        return 0
    if previous.get("held"):
        return int(previous["failures"])
    was_quick = now - float(previous["started"]) < QUICK_EXIT + backoff(int(previous["failures"]))
    return int(previous["failures"]) + 1 if was_quick else 0


def run_service(home: str, name: str, sockets: dict[str, int]) -> NoReturn:
    """Wait until the definition of `name` allows a start, then become it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [WAKE_SIGNAL])
    reset_dispositions()
    os.dup2(1, 2)
    _close_others(set(sockets.values()))
    path = f"{home}/run/{name}.pid"
    previous = read_data(path)
    _end_leftovers(previous)
    definition, failures = _wait_for_permission(home, name, path, previous)
    record = _record(definition, failures, held=False)
    write_data(path, record)
    become(definition, sockets)


def run_locked(home: str, name: str) -> NoReturn:
    """Become HOME/run/NAME.json (the service manager's own daemon), unless it runs already.

    The lock lives as long as the program does, for it inherits the descriptor: two are impossible.
    """
    reset_dispositions()
    descriptor = os.open(f"{home}/run/{name}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(0)
    # The record first: who stops everything removes the definition, then looks for a record.
    write_data(f"{home}/run/{name}.pid", _record({}, 0, held=False))
    definition = read_data(f"{home}/run/{name}.json")
    if not definition:
        sys.exit(0)
    become(definition, {}, descriptor)


def sockets_of_unit() -> dict[str, int]:
    """The sockets that systemd has handed over, by name: on 3, 4, … (sd_listen_fds(3))."""
    names = filter(None, os.environ.get("LISTEN_FDNAMES", "").split(":"))
    return {name: FIRST_SOCKET + index for index, name in enumerate(names)}


def _close_others(wanted: set[int]) -> None:
    """Close what circusd passes along unasked: with any socket it passes every descriptor it can inherit."""
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208
        if int(name) >= FIRST_SOCKET and int(name) not in wanted:
            with contextlib.suppress(OSError):
                os.close(int(name))


def _wait_for_permission(home: str, name: str, path: str, previous: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """Wait for a definition that says go, and out its backoff. Returns it and the failures so far.

    The record is written before the definition is read: whoever changes the definition afterwards finds
    whom to wake.
    """
    began = time.monotonic()
    shown = None
    while True:
        definition = read_data(f"{home}/run/services/{name}.json")
        failures = failures_in_a_row(previous, definition.get("digest", ""), time.time())
        held = {**_record(definition, failures, held=True), "started": previous.get("started", 0.0)}
        if held != shown:
            write_data(path, held)
            shown = held
            continue
        left = backoff(failures) - (time.monotonic() - began)
        if definition.get("go") and left <= 0:
            return definition, failures
        signal.sigtimedwait([WAKE_SIGNAL], max(left, 0.01) if definition.get("go") else _HELD_POLL)


def _record(definition: dict[str, Any], failures: int, held: bool) -> dict[str, Any]:
    return {
        **processes.current()._asdict(),
        "digest": definition.get("digest", ""),
        "files_digest": definition.get("files_digest", ""),
        "held": held,
        "failures": failures,
        "started": time.time(),
    }


def _end_leftovers(previous: dict[str, Any]) -> None:
    leader = processes.from_data(previous)
    if leader is not None:
        processes.end_session(leader, timeout=5.0)


def main(arguments: list[str]) -> NoReturn:
    """`exec HOME service NAME [SOCKET=FD …]`, or `exec HOME KIND NAME` with kind `unit`, `locked`, `job`."""
    home, kind, name, *sockets = arguments
    os.umask(0o077)
    try:
        if kind == "service":
            pairs = (each.rpartition("=") for each in sockets)
            run_service(home, name, {socket: int(descriptor) for socket, _, descriptor in pairs})
        if kind == "locked":
            run_locked(home, name)
        if kind == "unit":
            run_service(home, name, sockets_of_unit())
        from .job_runner import run_job

        sys.exit(run_job(home, name))
    except CannotStart as error:
        sys.stderr.write(f"cannot start {name}: {error}\n")
        sys.exit(127)
