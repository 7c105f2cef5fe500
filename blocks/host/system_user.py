"""The system user PostgreSQL runs as when root starts the stack, since it refuses to run as root."""

from __future__ import annotations

import os
import pwd
import subprocess

from blocks.errors import Blocked

MARK = "prefect-selfhost stack "
"""Start of the user's comment field: the ownership mark, followed by the stack's name."""


def name_for(stack: str) -> str:
    """The user for a stack's PostgreSQL: one of its own for root, else the user who runs us (empty)."""
    return f"selfhost-{stack}"[:32] if os.geteuid() == 0 else ""


def find(name: str) -> str | None:
    """The comment field of a user, None when there is no such user."""
    try:
        return pwd.getpwnam(name).pw_gecos
    except KeyError:
        return None


def ensure(name: str, stack: str) -> bool:
    """Make the user if it is missing; True if it was.

    Raises:
        Blocked: a user of that name is not ours, or cannot be made.
    """
    comment = find(name)
    if comment == MARK + stack:
        return False
    if comment is not None:
        raise Blocked(f"the system user {name!r} is not ours", "choose another --name, or remove that user")
    account = ["--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"]
    _run(["useradd", *account, "--shell", "/usr/sbin/nologin", "--comment", MARK + stack, name])
    return True


def remove(name: str, stack: str) -> None:
    """Remove the user, if it is there and ours."""
    if find(name) == MARK + stack:
        _run(["userdel", name])


def _run(argv: list[str]) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Blocked(f"{argv[0]} failed: {done.stderr.strip()}", "run as root, or as an ordinary user without root")
