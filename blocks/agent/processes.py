"""Processes known by pid *and* start time, so that a reused pid is never taken for ours.

Imports little: the exec wrapper of every service loads it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

POLL_INTERVAL = 0.02
"""Seconds between two looks at a process which is being ended."""


class ProcessRecord(NamedTuple):
    """One process of one boot of one machine."""

    pid: int
    start_time: int
    """Field 22 of /proc/PID/stat: clock ticks since boot."""
    boot_id: str = ""
    """/proc/sys/kernel/random/boot_id: after a reboot pids and start times begin again."""


class _Stat(NamedTuple):
    pid: int
    state: str
    parent: int
    session: int
    start_time: int


_boot_id: str | None = None


def boot_id() -> str:
    """Identity of the running boot; empty where the kernel does not tell."""
    global _boot_id
    if _boot_id is None:
        _boot_id = _read_boot_id()
    return _boot_id


def _read_boot_id() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:  # noqa: PTH123 - imports pathlib
            return file.read().strip()
    except OSError:
        return ""


def current() -> ProcessRecord:
    """The record of the calling process."""
    return record_of(os.getpid())


def record_of(pid: int) -> ProcessRecord:
    """The record of a process which is there.

    Raises:
        ProcessLookupError: no such process.
    """
    stat = _stat(pid)
    if stat is None:
        raise ProcessLookupError(f"no process {pid}")
    return ProcessRecord(pid, stat.start_time, boot_id())


def from_data(data: dict[str, Any]) -> ProcessRecord | None:
    """Read a record from parsed JSON; None if it is none (a damaged file is no process)."""
    try:
        return ProcessRecord(int(data["pid"]), int(data["start_time"]), str(data.get("boot_id", "")))
    except (KeyError, TypeError, ValueError):
        return None


def is_alive(record: ProcessRecord | None) -> bool:
    """Whether exactly this process runs. A zombie does not: it only waits to be reaped."""
    if record is None:
        return False
    stat = _stat(record.pid)
    if stat is None or stat.state in "ZX" or stat.start_time != record.start_time:
        return False
    return not record.boot_id or record.boot_id == boot_id()


def seems_alive(record: ProcessRecord) -> bool:
    """Whether some process has this pid: a look that costs next to nothing, for between the thorough ones."""
    try:
        os.kill(record.pid, 0)
    except ProcessLookupError:
        return False
    return True


def send(record: ProcessRecord, signum: int) -> bool:
    """Signal exactly this process. False if it is gone."""
    if not is_alive(record):
        return False
    try:
        os.kill(record.pid, signum)
    except ProcessLookupError:
        return False
    return True


def wait_gone(record: ProcessRecord, timeout: float) -> bool:
    """Wait at most `timeout` seconds until the process is gone; False if it still runs."""
    deadline = time.monotonic() + timeout
    while is_alive(record):
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_INTERVAL)
    return True


def end(record: ProcessRecord, signum: int = signal.SIGTERM, timeout: float = 10.0) -> bool:
    """End a process: `signum`, after `timeout` seconds SIGKILL, then what is left of its session.

    Returns whether it was running. Idempotent.
    """
    was_running = send(record, signum)
    if was_running and not wait_gone(record, timeout):
        send(record, signal.SIGKILL)
        wait_gone(record, 5.0)
    end_session(record)
    return was_running


def end_session(leader: ProcessRecord, timeout: float = 2.0) -> int:
    """End the processes of a session whose leader is dead: SIGTERM, after `timeout` seconds SIGKILL.

    A killed nginx leaves workers which hold its port. The kernel gives no new process the number of a
    session that has members, so the number is safe to go by, unless another process has it: then nothing was
    left, and the session of that number is a stranger's. Returns how many processes there were.
    """
    if is_alive(leader) or _is_taken_by_another(leader) or (leader.boot_id and leader.boot_id != boot_id()):
        return 0
    members = session_members(leader.pid)
    for member in members:
        send(member, signal.SIGTERM)
    deadline = time.monotonic() + timeout
    for member in members:
        if not wait_gone(member, max(0.0, deadline - time.monotonic())):
            send(member, signal.SIGKILL)
            wait_gone(member, 1.0)
    return len(members)


def _is_taken_by_another(record: ProcessRecord) -> bool:
    stat = _stat(record.pid)
    return stat is not None and stat.start_time != record.start_time


def session_members(session: int) -> list[ProcessRecord]:
    """Living processes of a session, its leader excluded."""
    boot = boot_id()
    return [
        ProcessRecord(stat.pid, stat.start_time, boot)
        for stat in _all_stats()
        if stat.session == session and stat.pid != session and stat.state not in "ZX"
    ]


def has_children(pid: int) -> bool:
    """Whether the process has a living child process."""
    return any(stat.parent == pid and stat.state not in "ZX" for stat in _all_stats())


def descendants(pid: int) -> list[ProcessRecord]:
    """Living processes which the process has started, and which those have started, as far as parents still live."""
    boot, known, found = boot_id(), {pid}, []
    stats = [each for each in _all_stats() if each.state not in "ZX"]
    while new := [each for each in stats if each.parent in known and each.pid not in known]:
        known |= {each.pid for each in new}
        found += [ProcessRecord(each.pid, each.start_time, boot) for each in new]
    return found


def _all_stats() -> Iterator[_Stat]:
    for name in os.listdir("/proc"):  # noqa: PTH208 - imports pathlib
        if name.isdigit():
            stat = _stat(int(name))
            if stat is not None:
                yield stat


def _stat(pid: int) -> _Stat | None:
    """/proc/PID/stat; the command name in it may hold spaces and parentheses, so count from the last `)`."""
    if pid <= 0:
        return None
    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123
        fields = file.read().rpartition(b")")[2].split()
        return _Stat(pid, fields[0].decode(), int(fields[1]), int(fields[3]), int(fields[19]))
    return None
