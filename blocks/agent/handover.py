"""How a listening socket is handed to the program that a process is about to become: as systemd does it.

sd_listen_fds(3): the sockets are descriptors 3, 4, …; the environment says how many there are, how each is called,
and which process they are meant for. Imports little: the exec wrapper of every service loads it.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping

FIRST_SOCKET = 3
"""SD_LISTEN_FDS_START of systemd's protocol."""

_DESCRIPTOR_LIMIT = 1 << 20
_SPARE_DESCRIPTOR = 200
"""Where inherited sockets are parked while 3… are filled; above anything a service manager hands over."""


def hand_over(sockets: Mapping[str, int], *others: int) -> dict[str, str]:
    """Move sockets to descriptors 3, 4, … and close all else above standard error.

    Sockets stay non-blocking, and are made so where they are not: the flag belongs to the socket, not to the
    descriptor, and an accept that blocks would hang the event loop of the other process on the same socket.

    Args:
        sockets: descriptors by name, in the order they are announced.
        others: further descriptors, which stay open behind them unannounced.

    Returns:
        What the environment of the program says of them; it holds for the calling process alone.
    """
    parked = [fcntl.fcntl(each, fcntl.F_DUPFD_CLOEXEC, _SPARE_DESCRIPTOR) for each in (*sockets.values(), *others)]
    for index, descriptor in enumerate(parked):
        os.dup2(descriptor, FIRST_SOCKET + index, inheritable=True)
        os.set_blocking(FIRST_SOCKET + index, False)
    os.closerange(FIRST_SOCKET + len(parked), _DESCRIPTOR_LIMIT)
    if not sockets:
        return {}
    return {"LISTEN_FDS": str(len(sockets)), "LISTEN_PID": str(os.getpid()), "LISTEN_FDNAMES": ":".join(sockets)}
