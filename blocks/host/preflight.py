"""Everything that can be known to be in the way before anything is touched."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import socket
import stat
from collections.abc import Collection, Mapping
from pathlib import Path

from blocks.agent import processes
from blocks.agent.records import read_data
from blocks.agent.spec import HostSpec, InvalidSpec, from_json
from blocks.host import home as home_folder
from blocks.host import interpreter, system_user
from blocks.host.home import Home

FREE_BYTES = 1_500_000_000
"""Free disk a bootstrap wants: a release takes 330 MB, two databases 150 MB, the rest is air to breathe."""


def faults(home: Home, stack: str, ports: Mapping[str, tuple[str, int]], users: Collection[str]) -> list[str]:
    """All faults together, each a sentence with its hint; empty when nothing is in the way. Changes nothing.

    Args:
        ports: What for → (address, TCP port) that the stack will listen on.
        users: System users the services will run as; none where all of it runs as who calls.
    """
    found = home_folder.faults(home, stack)
    if found:
        return found
    ours = _held_ports(home, [port for _, port in ports.values()]) if _is_ours_running(home) else set()
    taken = [_port_fault(what, *address) for what, address in ports.items() if address[1] not in ours]
    return [fault for fault in (*taken, _disk_fault(home), *_user_faults(home, stack, users)) if fault]


def _is_ours_running(home: Home) -> bool:
    """Whether this stack's own services hold its ports."""
    return any(processes.is_alive(processes.from_data(read_data(str(each)))) for each in home.run.glob("*.pid"))


def _held_ports(home: Home, wanted: Collection[int]) -> set[int]:
    """The ports of this stack's own running services: those of the spec they run by.

    Where no spec can be read nobody knows which those are, and the wanted ones pass: a bootstrap mends that spec.
    """
    for name in ("spec.json", "last-good.json"):
        with contextlib.suppress(OSError, UnicodeDecodeError, InvalidSpec):
            spec = from_json(HostSpec, (home.agent / name).read_text("utf-8"))
            checked = [each.health.port for each in spec.services if each.health.kind != "none"]
            return {*checked, *(each.port for each in spec.sockets)}
    return set(wanted)


def _port_fault(what: str, address: str, port: int) -> str:
    try:
        with socket.create_server((address, port)):
            return ""
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return f"port {port} ({what}) is taken by another program: choose another with --port"
        return f"port {port} ({what}) on {address} cannot be used: {error.strerror}"


def _disk_fault(home: Home) -> str:
    existing = next(each for each in (home.root, *home.root.parents) if each.exists())
    free = shutil.disk_usage(existing).free
    if free >= FREE_BYTES or home.is_begun():
        return ""
    return f"{existing} has {free / 1e9:.1f} GB free, {FREE_BYTES / 1e9:.1f} are needed: choose another --home"


def _user_faults(home: Home, stack: str, users: Collection[str]) -> list[str]:
    if not users:
        return []
    found = [system_user.foreign(users, home, stack), interpreter.fault()]
    if shutil.which("useradd") is None and any(system_user.find(each) is None for each in users):
        found.append("a stack of root's needs system users and there is no useradd: run as an ordinary user")
    closed = [str(each) for each in home.root.parents if each.exists() and not _can_be_passed(each)]
    if closed:
        found.append(f"the services' own users cannot pass through {closed[-1]} to {home.root}: choose another --home")
    return found


def _can_be_passed(folder: Path) -> bool:
    return bool(os.stat(folder).st_mode & stat.S_IXOTH)  # noqa: PTH116
