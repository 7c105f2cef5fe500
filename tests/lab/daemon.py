"""A program that runs as long as a lab. Its process is written down: the next lab ends it if this one has crashed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

STARTS = 20.0
"""Seconds within which a program answers."""
CHILDREN = 2.0
"""Seconds that its children get to end, of whom some may never be seen off where there is no init."""


class Daemon:
    """A program by its command line, which names a file in the lab's folder: by that it is known again."""

    def __init__(self, folder: Path, name: str, argv: Sequence[str], address: tuple[str, int]) -> None:
        """`address` is one it listens on, TCP."""
        self.log, self.written = folder / f"{name}.log", folder / f"{name}.pid"
        self.argv, self.address = list(argv), address
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers.

        Raises:
            AssertionError: it has ended, or does not answer; the text is what it said.
        """
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.argv, stdin=-3, stdout=log, stderr=log, start_new_session=True)
        self.written.write_text(str(self.process.pid))
        limit = time.monotonic() + STARTS
        while not self._answers():
            ended = self.process.poll() is not None or time.monotonic() > limit
            assert not ended, f"{' '.join(self.argv)}: {self.log.read_text(errors='replace')[-2000:]}"
            time.sleep(0.01)

    def _answers(self) -> bool:
        with suppress(OSError), socket.create_connection(self.address, timeout=1):
            return True
        return False

    def stop(self) -> None:
        """End it; idempotent."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGTERM)
            self.process.wait(STARTS)
            self._wait_alone(self.process.pid)
            self.process = None
        self.written.unlink(missing_ok=True)

    def _wait_alone(self, group: int) -> None:
        """Wait for its children: one that dnsmasq forked for a call holds the port a moment longer."""
        limit = time.monotonic() + CHILDREN
        with suppress(ProcessLookupError):
            while time.monotonic() < limit:
                os.killpg(group, 0)
                time.sleep(0.01)

    def restart(self) -> None:
        self.stop()
        self.start()


def end_left(folder: Path) -> None:
    """End the programs of a lab that crashed: processes that are written down, and whose command names its folder."""
    for written in folder.glob("*.pid"):
        pid = int(written.read_text() or 0)
        if pid and str(folder) in _command(pid):
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)  # with its workers: it began a session of its own


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""
