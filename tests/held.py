"""The simplest holder of a listening socket: this process binds and listens, server slots come and go."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.postgres import base_environment

READY_SECONDS = 60.0
HAND_OVER = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.set_inheritable(3, True); "
    "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1'); os.execv(sys.argv[2], sys.argv[2:])"
)
"""What systemd does between fork and exec, for a program that cannot do it itself."""


def server_environment(home: Path, database_url: str, **more: str) -> dict[str, str]:
    """Environment of a server slot as our stacks set it, without the UI (2 s less to start)."""
    return base_environment(home) | {
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": database_url,
        "PREFECT_SERVER_DATABASE_MIGRATE_ON_START": "false",
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        "PREFECT_SERVER_UI_ENABLED": "false",
        **more,
    }


@dataclass
class Slot:
    """One running `serve` process."""

    name: str
    run_dir: Path
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def ready_file(self) -> Path:
        return self.run_dir / f"server-{self.name}.json"

    def wait(self, until: Callable[[], bool], what: str, seconds: float = READY_SECONDS) -> None:
        deadline = time.monotonic() + seconds
        while not until():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.name}: not {what} after {seconds:.0f} s:\n{self.output()[-3000:]}")
            time.sleep(0.02)

    def wait_ready(self) -> dict[str, Any]:
        """Wait for the ready file of this very process; returns its content."""
        self.wait(self._is_ready, "ready")
        return dict(json.loads(self.ready_file.read_text()))

    def _is_ready(self) -> bool:
        if self.process.poll() is not None:
            raise RuntimeError(f"exit status {self.process.returncode}:\n{self.output()[-3000:]}")
        try:
            return bool(json.loads(self.ready_file.read_text())["pid"] == self.process.pid)
        except FileNotFoundError:
            return False

    def probe(self) -> httpx.Client:
        """A client of this very slot, through its own socket."""
        path = str(self.run_dir / f"server-{self.name}.sock")
        return httpx.Client(transport=httpx.HTTPTransport(uds=path), base_url="http://slot", timeout=10)

    def output(self) -> str:
        return self.log.read_text()

    def stop(self, sig: signal.Signals = signal.SIGTERM, seconds: float = 30.0) -> int:
        """Send a signal and wait for the end; returns the exit status."""
        self.process.send_signal(sig)
        return self.process.wait(timeout=seconds)


@dataclass
class Holder:
    """Holds a socket on loopback and starts slots on it."""

    run_dir: Path
    environment: Mapping[str, str]
    listening: socket.socket
    slots: list[Slot] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.listening.getsockname()[1]}"

    def start(self, name: str, *options: str, **more: str) -> Slot:
        """Start `serve` in a slot with the held socket as descriptor 3; does not wait."""
        descriptor = self.listening.fileno()
        hand_over = [sys.executable, "-I", "-S", "-c", HAND_OVER, str(descriptor)]
        serve = [sys.executable, "-m", "blocks.server.serve", "--slot", name, "--run-dir", str(self.run_dir)]
        log = self.run_dir / f"{name}-{len(self.slots)}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*hand_over, *serve, *options],
                env={**self.environment, **more},
                cwd=self.run_dir,
                pass_fds=(descriptor,),
                stdout=output,
                stderr=output,
            )
        self.slots.append(Slot(name, self.run_dir, process, log))
        return self.slots[-1]


@contextmanager
def holding(run_dir: Path, environment: Mapping[str, str]) -> Iterator[Holder]:
    """Listen on a free port; end every slot that still runs afterwards."""
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as listening:
        listening.setblocking(False)  # as Circus hands them over
        holder = Holder(run_dir, environment, listening)
        try:
            yield holder
        finally:
            for slot in holder.slots:
                if slot.process.poll() is None:
                    slot.stop(signal.SIGKILL)
