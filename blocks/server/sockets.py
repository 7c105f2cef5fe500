"""The sockets a server slot accepts on: the held one, inherited, and the slot's own, for probes.

The held socket arrives as systemd hands it over (sd_listen_fds(3)): `LISTEN_FDS` descriptors from number 3
on, meant for the process `LISTEN_PID`. On the local target our exec wrapper sets the same two variables.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

FIRST_DESCRIPTOR = 3
LONGEST_UNIX_PATH = 107
"""Bytes in `sockaddr_un.sun_path` without its final zero (unix(7))."""


class SocketMissing(RuntimeError):
    """There is no socket to accept on; the message says why and what to do."""


def inherited_descriptors(environment: Mapping[str, str], pid: int) -> range:
    """Which descriptors were handed to process `pid`.

    Raises:
        SocketMissing: none, or they are meant for another process.
    """
    hint = "start it under systemd's .socket unit or the local target's exec wrapper"
    count, owner = environment.get("LISTEN_FDS", ""), environment.get("LISTEN_PID", "")
    if not count.isdecimal() or int(count) < 1:
        raise SocketMissing(f"no listening socket was handed over (LISTEN_FDS={count!r}); {hint}")
    if owner != str(pid):
        raise SocketMissing(f"the sockets are meant for process {owner!r}, this one is {pid}; {hint}")
    return range(FIRST_DESCRIPTOR, FIRST_DESCRIPTOR + int(count))


def adopt(environment: MutableMapping[str, str]) -> list[socket.socket]:
    """Take over the handed sockets and clear the variables, so that no child believes they are its own.

    Closing one of them closes our descriptor alone: the socket goes on listening for whoever else holds it.

    Raises:
        SocketMissing: see `inherited_descriptors`; or a descriptor is not a listening stream socket.
    """
    sockets = [_listening(each) for each in inherited_descriptors(environment, os.getpid())]
    for name in ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"):
        environment.pop(name, None)
    return sockets


def _listening(descriptor: int) -> socket.socket:
    try:
        handed = socket.socket(fileno=descriptor)
        listens = handed.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise SocketMissing(f"descriptor {descriptor} is no socket: {error.strerror}") from error
    if not listens or handed.type != socket.SOCK_STREAM:
        raise SocketMissing(f"descriptor {descriptor} is not a listening stream socket")
    handed.set_inheritable(False)
    return handed


@dataclass(frozen=True)
class SlotSocket:
    """A unix socket which only one slot accepts on, so that this very server can be probed."""

    path: Path
    bound: socket.socket
    inode: int

    @classmethod
    def bind(cls, path: Path) -> SlotSocket:
        """Bind `path`, mode 0600, replacing a stale one. Connections are refused until it is listened on.

        Raises:
            SocketMissing: the path is too long for a unix socket, or its folder cannot be written.
        """
        if len(os.fsencode(path)) + len(".new") > LONGEST_UNIX_PATH:
            longest = LONGEST_UNIX_PATH - len(".new")
            raise SocketMissing(f"{path} is longer than {longest} bytes; choose a shorter --run-dir")
        fresh = path.with_name(path.name + ".new")
        bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # Bound under another name and then renamed: the slot's name never points at a socket with
            # the wrong mode, and a stale one is replaced without a moment in which there is none.
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fresh.unlink(missing_ok=True)
            bound.bind(os.fspath(fresh))
            fresh.chmod(0o600)
            inode = fresh.stat().st_ino
            fresh.replace(path)
        except OSError as error:
            bound.close()
            raise SocketMissing(f"cannot make the slot's socket {path}: {error.strerror}") from error
        return cls(path, bound, inode)

    def remove(self) -> None:
        """Remove the file, unless a successor in the same slot has put its own there."""
        self.bound.close()
        with suppress(FileNotFoundError):
            if self.path.stat().st_ino == self.inode:
                self.path.unlink()
