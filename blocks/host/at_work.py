"""The lock on a home's `lease.json`: whoever changes the stack is at work on this machine.

It is held beside the lease in the ledger, and longer: by what its holder has started, too, such as the end of a restore
whose launcher was killed. The kernel's lock ends with the last process that has the file open, so that nothing of the
dead has to be guessed at. Its text is for people, and for releases of ours which know no ledger yet.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from blocks.agent.files import open_lock
from blocks.agent.processes import end, record_of
from blocks.errors import Blocked, Conflict

INHERITED = "SELFHOST_LEASE_FD"
"""Descriptor of a lock that was taken before this process image replaced the launcher's."""

PATIENCE = 0.5
"""Seconds to try for: whoever looks whether it is free (`is_free`, a status) holds it for that moment."""
RETRY_EVERY = 0.05


def lock(path: Path, claim: Mapping[str, Any], patience: float = 0.0) -> int:
    """A descriptor of the file with the lock on it, or the one this process inherited; its text says who has it.

    Args:
        claim: Who takes it: owner, pid, reason, since.
        patience: Seconds to wait for another holder, beyond the moment of one who only looks.

    Raises:
        Conflict: a living process holds it, and did for that time (the text says who, since when and why), or has
            removed its folder.
        Blocked: it is another user's, or a link.
    """
    descriptor = _inherited(path)
    if descriptor is None:
        descriptor = _locked(path, PATIENCE + patience)
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(claim).encode(), 0)
    return descriptor


def unlock(descriptor: int) -> None:
    """Give it back; the file stays, empty, as the next holder's. What was started with it may still hold it."""
    os.ftruncate(descriptor, 0)
    os.close(descriptor)


def pass_on(descriptor: int) -> dict[str, str]:
    """Environment by which the program this process becomes takes it over."""
    os.set_inheritable(descriptor, True)
    return {INHERITED: str(descriptor)}


def is_free(path: Path) -> bool:
    """Whether nobody holds it."""
    try:
        os.close(_locked(path))
    except Conflict:
        return False
    return True


def claim_in(path: Path) -> dict[str, Any]:
    """Who took it last: owner, pid, reason, since; empty where nobody did, or the text is damaged."""
    try:
        found = json.loads(path.read_text("utf-8") or "{}")
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def described(claim: Mapping[str, Any]) -> str:
    """Who holds it, in words."""
    if not claim:
        return "another process, which has not said who it is"
    owner, pid, since, reason = (claim.get(key) for key in ("owner", "pid", "since", "reason"))
    return f"{owner} (process {pid}) since {since} for: {reason}"


def end_orphans(path: Path) -> list[int]:
    """End what still holds the lock of a holder that is dead, such as a restore it had started. Returns their pids.

    Raises:
        Blocked: the holder lives, so that its lock is not ours to break.
    """
    claim, at_work = claim_in(path), _with_open(path)
    pid = claim.get("pid")
    if isinstance(pid, int) and pid in at_work:
        raise Blocked(f"its holder lives: {described(claim)}", f"wait for it, or end process {pid}")
    orphans = [record_of(each) for each in at_work]
    for each in orphans:
        end(each)
    return [each.pid for each in orphans]


def _inherited(path: Path) -> int | None:
    given = os.environ.pop(INHERITED, None)
    if given is None or not _is_same_file(int(given), path):
        return None
    os.set_inheritable(int(given), False)
    return int(given)


def _locked(path: Path, patience: float = 0.0) -> int:
    """A descriptor of the file that is at `path`, with the kernel's lock on it, tried for that many seconds."""
    try:
        descriptor = open_lock(path)
    except FileNotFoundError as error:
        raise Conflict(f"{path.parent} is gone: it was removed meanwhile", "run the same command again") from error
    except OSError as error:
        raise Blocked(f"{path} cannot be opened: {error.strerror}", "run as the user who made the stack") from error
    try:
        _flock(descriptor, time.monotonic() + patience)
    except BlockingIOError as error:
        os.close(descriptor)
        what = f"the lease is held by {described(claim_in(path))}"
        raise Conflict(what, "wait for it, or end that process") from error
    if _is_same_file(descriptor, path):
        return descriptor
    # Its last holder removed it, with the whole home, between our opening and locking it: it excludes nobody.
    os.close(descriptor)
    return _locked(path, patience)


def _flock(descriptor: int, deadline: float) -> None:
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise
        time.sleep(RETRY_EVERY)


def _with_open(path: Path) -> list[int]:
    """Processes which have the file open, as its holder does and whoever inherited it; ourselves left out."""
    found = []
    for each in Path("/proc").glob("[0-9]*/fd/*"):
        with suppress(OSError):
            if each.samefile(path) and int(each.parts[2]) != os.getpid():
                found.append(int(each.parts[2]))
    return sorted(set(found))


def _is_same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False
