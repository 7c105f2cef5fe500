"""Becomes a program that a process of ours starts itself, without a service manager.

`python -m blocks.server.child PARENT [--bound] [--socket DESCRIPTOR] [--record PATH JSON] -- ARGV …`

It hands over a listening socket, notes which process this is before anybody could miss it, and may be bound to the
process that started it, so that no SIGKILL leaves it behind.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from blocks.agent import processes
from blocks.agent.handover import hand_over

PR_SET_PDEATHSIG = 1
"""prctl(2): the signal the kernel sends when the parent dies; an exec keeps it."""


def command(
    argv: Sequence[str],
    socket: int | None = None,
    bound: bool = False,
    record: tuple[Path, Mapping[str, int]] | None = None,
) -> list[str]:
    """The command line by which this process starts such a program.

    Args:
        socket: descriptor of a listening socket the program gets; to be passed on by whoever starts it.
        bound: whether the kernel kills the program when this process dies.
        record: file which says what process it is (`pid`, `start_time`, `boot_id`), and what it says besides.
    """
    options = ["--bound"] if bound else []
    options += ["--socket", str(socket)] if socket is not None else []
    options += ["--record", str(record[0]), json.dumps(record[1])] if record else []
    return [sys.executable, "-P", "-m", "blocks.server.child", str(os.getpid()), *options, "--", *argv]


def become(parent: int, options: argparse.Namespace) -> NoReturn:
    """Replace this process by the program, unless whoever started it is gone already."""
    if options.bound:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if options.record:
        _write_beside(options.record[0], {**processes.current()._asdict(), **json.loads(options.record[1])})
    if os.getppid() != parent:
        sys.exit("whoever started this is gone")
    if options.record:
        os.replace(f"{options.record[0]}.new", options.record[0])  # noqa: PTH105
    sockets = {} if options.socket is None else {"server": options.socket}
    os.execve(options.argv[0], options.argv, {**os.environ, **hand_over(sockets)})


def _write_beside(path: str, record: Mapping[str, object]) -> None:
    descriptor = os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(record, file)
        file.flush()
        os.fsync(file.fileno())


def main() -> NoReturn:
    parser = argparse.ArgumentParser(prog="python -m blocks.server.child", description=__doc__)
    parser.add_argument("parent", type=int, help="process that starts this")
    parser.add_argument("--bound", action="store_true", help="die with it")
    parser.add_argument("--socket", type=int, help="descriptor to hand over")
    parser.add_argument("--record", nargs=2, metavar=("PATH", "JSON"), help="file to note this process in")
    parser.add_argument("argv", nargs="+", help="the program, and what it is given")
    options = parser.parse_args()
    become(options.parent, options)


if __name__ == "__main__":
    main()
