"""A network namespace of this machine for one SQL instance: what runs in it is reached at its private address alone.

The address has a route of its own here; who else may take it is said by the firewall of the lab's networks.
"""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.postgres import SYSTEM_USER


@dataclass(frozen=True)
class Namespace:
    """By its name. Making one needs root."""

    name: str

    @property
    def link(self) -> str:
        """This machine's end of the cable; the kernel takes 15 characters."""
        return f"sql{hashlib.sha256(self.name.encode()).hexdigest()[:10]}"

    def make(self) -> None:
        _ip("netns", "add", self.name)
        _ip("link", "add", self.link, "type", "veth", "peer", "name", "eth0", "netns", self.name)
        for link in ("lo", "eth0"):
            _ip("-netns", self.name, "link", "set", link, "up")
        _ip("link", "set", self.link, "up")
        # What is sent from inside is meant for a neighbour; this machine answers for those whom it has a way to.
        Path(f"/proc/sys/net/ipv4/conf/{self.link}/proxy_arp").write_text("1")

    def attach(self, address: str) -> None:
        """Take this address, which nothing else on this machine may have."""
        _ip("-netns", self.name, "address", "add", f"{address}/32", "dev", "eth0")
        _ip("-netns", self.name, "route", "add", "default", "dev", "eth0")
        _ip("route", "add", f"{address}/32", "dev", self.link)

    def inside(self, *argv: str | Path) -> list[str]:
        """The command line that runs a command in it, as a user who is not root."""
        return ["ip", "netns", "exec", self.name, *unprivileged(*argv)]

    def remove(self) -> None:
        """End what runs in it and take it away, with its route; idempotent."""
        if self.name not in namespaces(self.name):
            return
        for pid in _ip("netns", "pids", self.name).split():
            with suppress(ProcessLookupError):  # gone meanwhile
                os.kill(int(pid), signal.SIGKILL)
        if Path(f"/sys/class/net/{self.link}").exists():
            _ip("link", "delete", self.link)
        _ip("netns", "delete", self.name)


def unprivileged(*argv: str | Path) -> list[str]:
    """The command line that runs a command as PostgreSQL's user.

    Not by `subprocess`: that forks then instead of calling vfork, and gRPC's handlers of forks crash in the child.
    """
    return ["setpriv", f"--reuid={SYSTEM_USER}", "--regid=nogroup", "--clear-groups", "--", *map(str, argv)]


def namespaces(prefix: str) -> list[str]:
    """Names of all that begin so."""
    listed = (line.split()[0] for line in _ip("netns", "list").splitlines() if line)
    return [name for name in listed if name.startswith(prefix)]


def _ip(*arguments: str) -> str:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr}"
    return done.stdout
