"""The exclusive right to change a stack, on this machine.

A file in the home: its text says who holds it, why and since when; the right itself is the kernel's lock on
it, which ends with its holder however that dies. So a lease of the dead never has to be guessed at.
"""

from __future__ import annotations

import fcntl
import getpass
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from blocks.agent.files import open_lock, open_log
from blocks.agent.processes import end, record_of
from blocks.errors import Blocked, Conflict

INHERITED = "SELFHOST_LEASE_FD"
"""Descriptor of a lease that was taken before this process image replaced the launcher's."""

PATIENCE = 0.5
"""Seconds to try for: whoever looks whether the lease is free (`is_free`, a status) holds it for that moment."""
RETRY_EVERY = 0.05


class Lease:
    """A held lease; release it, or let the process end."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.descriptor = descriptor

    def release(self) -> None:
        """Give the right back; the file stays, empty, as the next holder's."""
        os.ftruncate(self.descriptor, 0)
        os.close(self.descriptor)

    def keep_over_exec(self) -> dict[str, str]:
        """Environment by which the program this process becomes takes the lease over."""
        os.set_inheritable(self.descriptor, True)
        return {INHERITED: str(self.descriptor)}


def acquire(path: Path, reason: str, patience: float = 0.0) -> Lease:
    """Take the lease at `path`, or the one this process inherited.

    Args:
        patience: Seconds to wait for another holder, beyond that moment.

    Raises:
        Conflict: a living process holds it, and did for that time (the text says who, since when and why), or has
            removed its folder.
        Blocked: it is another user's, or a link.
    """
    inherited = os.environ.pop(INHERITED, None)
    if inherited is not None and _is_same_file(int(inherited), path):
        os.set_inheritable(int(inherited), False)
        return Lease(path, int(inherited))
    descriptor = _locked(path, PATIENCE + patience)
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(_claim(reason)).encode(), 0)
    return Lease(path, descriptor)


@contextmanager
def held(path: Path, reason: str, patience: float = 0.0) -> Iterator[Lease]:
    """The lease as long as the context lasts.

    Raises:
        Conflict: see `acquire`.
    """
    lease = acquire(path, reason, patience)
    try:
        yield lease
    finally:
        lease.release()


def _locked(path: Path, patience: float = 0.0) -> int:
    """A descriptor of the file that is at `path`, with the kernel's lock on it, tried for that many seconds."""
    try:
        descriptor = open_lock(path)
    except FileNotFoundError as error:
        raise Conflict(f"{path.parent} is gone: it was removed meanwhile", "run the same command again") from error
    except OSError as error:
        raise Blocked(f"{path} cannot be opened: {error.strerror}", "run as the user who made the stack") from error
    try:
        _lock(descriptor, time.monotonic() + patience)
    except BlockingIOError as error:
        os.close(descriptor)
        raise Conflict(
            f"the lease is held by {_described(holder(path))}", "wait for it, or end that process"
        ) from error
    if _is_same_file(descriptor, path):
        return descriptor
    # Its last holder removed it, with the whole home, between our opening and locking it: it excludes nobody.
    os.close(descriptor)
    return _locked(path, patience)


def _lock(descriptor: int, deadline: float) -> None:
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise
        time.sleep(RETRY_EVERY)


def holder(path: Path) -> dict[str, Any]:
    """Who wrote the lease last: owner, pid, reason, since; empty where nobody did, or the text is damaged."""
    try:
        found = json.loads(path.read_text("utf-8") or "{}")
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def end_orphans(path: Path) -> list[int]:
    """End what still holds the lease of a holder that is dead, such as a restore it had started. Returns their pids.

    Raises:
        Blocked: the holder lives, so that the lease is not ours to break.
    """
    pid = holder(path).get("pid")
    if isinstance(pid, int) and pid in _with_open(path):
        raise Blocked(f"its holder lives: {_described(holder(path))}", f"wait for it, or end process {pid}")
    orphans = [record_of(each) for each in _with_open(path)]
    for each in orphans:
        end(each)
    return [each.pid for each in orphans]


def break_it(path: Path, reason: str, log: Path) -> list[int]:
    """`end_orphans`, and a line in a log that says when, who did so and why, who had held it, and what was ended.

    Raises:
        Blocked: the holder lives.
    """
    held_by, ended = described(path), end_orphans(path)
    claim = _claim(" ".join(reason.split()))
    line = f"{claim['since']} {claim['owner']} broke the lease for: {claim['reason']}; it was held by {held_by}; "
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open_log(log) as file:
        file.write(f"{line}ended processes: {', '.join(map(str, ended)) or 'none'}\n".encode())
    return ended


def is_free(path: Path) -> bool:
    """Whether nobody holds it."""
    try:
        os.close(_locked(path))
    except Conflict:
        return False
    return True


def described(path: Path) -> str:
    """Who holds it, in words."""
    return _described(holder(path))


def _with_open(path: Path) -> list[int]:
    """Processes which have the lease open, as its holder does and whoever inherited it; ourselves left out."""
    found = []
    for each in Path("/proc").glob("[0-9]*/fd/*"):
        with suppress(OSError):
            if each.samefile(path) and int(each.parts[2]) != os.getpid():
                found.append(int(each.parts[2]))
    return sorted(set(found))


def _claim(reason: str) -> dict[str, Any]:
    owner = f"{getpass.getuser()}@{socket.gethostname()}"
    since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
    return {"owner": owner, "pid": os.getpid(), "reason": reason, "since": since}


def _described(found: dict[str, Any]) -> str:
    if not found:
        return "another process, which has not said who it is"
    return f"{found.get('owner')} (process {found.get('pid')}) since {found.get('since')} for: {found.get('reason')}"


def _is_same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False
