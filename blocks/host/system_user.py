"""System users of a stack which root makes: PostgreSQL refuses to run as root, and nothing else should either."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pwd
import subprocess
from collections.abc import Collection
from pathlib import Path

from blocks.errors import Blocked
from blocks.host.home import Home

MARK = "prefect-selfhost stack "
"""Start of the user's comment field: the ownership mark, followed by the stack's name and its home's identity."""
LONGEST = 32
"""Characters of a Linux user's name."""
IN_USE = 8
"""Exit status of userdel where a process runs as that user."""


class InUse(Blocked):
    """A user cannot be removed, as processes run as it."""


def name_for(stack: str, role: str = "") -> str:
    """The user of its own for a part of a stack which root runs. Pure.

    Args:
        role: Such as `server` or `w-reports`; empty for PostgreSQL.
    """
    if not role:
        return f"selfhost-{stack}"[:LONGEST]
    name = f"selfhost-{stack}-{role}"
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 9]}-{digest}"


def mark(home: Home, stack: str) -> str:
    """The comment of a user of this stack: another home with a stack of the same name is another stack."""
    return f"{MARK}{stack} {home.identity() or 'of a new home'}"


def find(name: str) -> str | None:
    """The comment field of a user, None when there is no such user."""
    try:
        return pwd.getpwnam(name).pw_gecos
    except KeyError:
        return None


def owned(home: Home, stack: str) -> set[str]:
    """Names of all users which carry this stack's mark."""
    return {each.pw_name for each in pwd.getpwall() if each.pw_gecos == mark(home, stack)}


def foreign(names: Collection[str], home: Home, stack: str) -> str:
    """Which of these users are there and not this stack's, in a sentence with its hint; empty where none is."""
    theirs = [name for name in names if not _is_ours(find(name), home, stack)]
    if not theirs:
        return ""
    whose = f"of a stack {stack!r} in another home" if (find(theirs[0]) or "").startswith(MARK + stack) else "not ours"
    listed = " ".join(theirs)
    return f"there are system users {whose}: {listed}; choose another --name, or remove them with userdel"


def _is_ours(comment: str | None, home: Home, stack: str) -> bool:
    """Whether there is no such user, or it is this stack's: also by the mark which stacks had at first, and which
    names no home, where the stack of that name is in this home."""
    return comment in (None, mark(home, stack)) or (comment == MARK + stack and home.owner() == stack)


def ensure(name: str, home: Home, stack: str) -> bool:
    """Make the user if it is missing, and mark it as this home's; True if something was changed.

    Raises:
        Blocked: a user of that name is not ours, or cannot be made.
    """
    comment, wanted = find(name), mark(home, stack)
    if comment == wanted:
        return False
    if fault := foreign([name], home, stack):
        raise Blocked(*fault.split("; ", 1))
    if comment is not None:
        _run(["usermod", "--comment", wanted, name])
        return True
    account = ["--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"]
    _run(["useradd", *account, "--shell", "/usr/sbin/nologin", "--comment", wanted, name])
    return True


def remove(names: Collection[str], home: Home, stack: str) -> None:
    """Remove those of these users which are there and ours. What they kept stays, closed to all but us, and their
    configuration goes: another user may be given the same number.

    Raises:
        InUse: some are left, as processes run as them; the hint is what to type once those have ended.
    """
    left = []
    for name in sorted(names):
        if find(name) is not None and _is_ours(find(name), home, stack):
            _close(home, pwd.getpwnam(name).pw_uid)
            try:
                _run(["userdel", name])
            except InUse as error:
                left.append(error)
    if left:
        raise InUse("; ".join(each.what for each in left), "; ".join(each.hint for each in left))


def _close(home: Home, uid: int) -> None:
    """Make what that user owns among the state folders ours alone, and remove its files in `etc`: they have secrets.

    The folders which these lie in are ours, so nobody can put a link in the place of one meanwhile.
    """
    for each in home.state.glob("*"):
        if each.lstat().st_uid == uid:
            os.chown(each, os.geteuid(), os.getegid(), follow_symlinks=False)
            if not each.is_symlink():
                each.chmod(0o700)  # its owner may have opened it to all
    for each in home.etc.glob("*/*"):
        if each.lstat().st_uid == uid:
            each.unlink()


def idle(names: Collection[str]) -> set[str]:
    """Those of these users that no process runs as.

    The owner of a process's folder does not tell: it is root where the process may not be looked into.
    """
    uids = set[int]()
    for status in Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended
            uids.update(_uids(status.read_text("utf-8", errors="replace")))
    return {name for name in names if pwd.getpwnam(name).pw_uid not in uids}


def _uids(status: str) -> set[int]:
    """A process's real, effective, saved and file system user, as its `status` in /proc has them."""
    line = next((each for each in status.splitlines() if each.startswith("Uid:")), "")
    return {int(each) for each in line.split()[1:]}


def _run(argv: list[str]) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    said = done.stderr.strip()
    if argv[0] == "userdel" and done.returncode == IN_USE:
        raise InUse(f"the system user {argv[-1]} is left: {said}", f"userdel {argv[-1]} once that process has ended")
    if done.returncode:
        raise Blocked(f"{argv[0]} {argv[-1]} failed: {said}", "/etc/passwd may be locked or read-only: try again")
