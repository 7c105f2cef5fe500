"""Keeps the users of services from the metadata server, which lets whoever asks act as the VM's own account.

Its port 80 alone is closed to them, as the same address is the VM's name server. Root still reaches it: the host agent,
and the flows of the pool `maintenance`. The rules are the kernel's, and gone after a boot.
"""

from __future__ import annotations

import pwd
import subprocess

from ..releases import NOBODY
from .client import METADATA

PREFERENCE = "10"
"""Before the rules by which all else finds its way."""
TCP = "6"
"""By its number: its name is looked up in a file that a small system lacks."""


class Guard:
    """Who is kept from it already, since this agent began."""

    def __init__(self) -> None:
        self._kept: set[int] = set()

    def fault(self, user: str) -> str:
        """Keep a user from it, and the one as whom a worker's own packages are tried; why that is not possible, or
        nothing."""
        try:
            for uid in (NOBODY, pwd.getpwnam(user).pw_uid):
                self._keep(uid)
        except KeyError:
            return f"there is no user {user} on this host"
        except (OSError, subprocess.SubprocessError) as error:
            return f"{user} cannot be kept from the metadata server, and so from the machine's account: {error}"
        return ""

    def _keep(self, uid: int) -> None:
        if uid in self._kept:
            return
        whom = ["uidrange", f"{uid}-{uid}"]
        if f" {' '.join(whom)} " not in _ip("rule", "show", "to", METADATA):
            what = ["to", METADATA, "ipproto", TCP, "dport", "80"]
            _ip("rule", "add", "pref", PREFERENCE, *whom, *what, "prohibit")
        self._kept.add(uid)


def _ip(*words: str) -> str:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, timeout=10, check=False)
    if done.returncode != 0:
        raise OSError(done.returncode, done.stderr.strip())
    return done.stdout
