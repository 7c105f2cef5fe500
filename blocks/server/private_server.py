"""A server on a private listening socket, alone on a copy of a database and without background services.

Whatever ends the process that started it ends the server as well, SIGKILL included.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blocks.errors import Blocked
from blocks.server import child
from blocks.waiting import wait_until

START_SECONDS = 180.0
"""A start takes 6 to 14 s; this is for a machine that is busy with the real server."""
STOP_SECONDS = 10.0
LONGEST_REASON = 300


@dataclass(frozen=True)
class Booted:
    """A server that is ready, and how many seconds that took."""

    url: str
    ready_seconds: float


def environment(inherited: Mapping[str, str], run_dir: Path) -> dict[str, str]:
    """What such a server runs with: the settings of the real one, and nothing that the two would share."""
    own = {
        "PREFECT_HOME": str(run_dir / "prefect-home"),
        "PREFECT_SERVER_DATABASE_MIGRATE_ON_START": "false",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_ENABLED": "false",
        "PREFECT_SERVER_DOCKET_URL": "memory://",
        "PREFECT_SERVER_EVENTS_MESSAGING_BROKER": "prefect.server.utilities.messaging.memory",
        "PREFECT_SERVER_EVENTS_MESSAGING_CACHE": "prefect.server.utilities.messaging.memory",
    }
    names = ("LISTEN_FDS", "LISTEN_PID", "PREFECT_MESSAGING_BROKER", "PREFECT_MESSAGING_CACHE")
    return {key: value for key, value in inherited.items() if key not in names} | own


def reason(output: str) -> str:
    """The line of a program's output which says why it ended: its last exception, else its last line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    raised = [line for line in lines if re.match(r"[\w.]+(Error|Exception|Died|Missing|Call)\b", line)]
    return (raised or lines or ["it printed nothing"])[-1][:LONGEST_REASON]


@contextmanager
def booted(python: str, slot: str, run_dir: Path, variables: Mapping[str, str]) -> Iterator[Booted]:
    """Start a server with a release's Python, wait until it is ready, end it afterwards.

    Args:
        slot: Letters a to z; names its files in `run_dir`.

    Raises:
        Blocked: it ended, or was not ready in time.
    """
    began, log = time.monotonic(), run_dir / f"server-{slot}.log"
    ready_file = run_dir / f"server-{slot}.json"
    ready_file.unlink(missing_ok=True)
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listening:
        process = _spawn(python, slot, run_dir, variables, listening.fileno(), log)
        try:
            _wait_ready(process, ready_file, log)
            yield Booted(f"http://127.0.0.1:{listening.getsockname()[1]}", round(time.monotonic() - began, 2))
        finally:
            end(process)


def _spawn(
    python: str, slot: str, run_dir: Path, variables: Mapping[str, str], descriptor: int, log: Path
) -> subprocess.Popen[bytes]:
    argv = [python, "-P", "-m", "blocks.server.serve", "--slot", slot, "--run-dir", str(run_dir), "--no-services"]
    with os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as output:
        return subprocess.Popen(
            child.command(argv, descriptor, bound=True),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=dict(variables),
            pass_fds=(descriptor,),
        )


def _wait_ready(process: subprocess.Popen[bytes], ready_file: Path, log: Path) -> None:
    def is_ready() -> bool:
        if process.poll() is not None:
            said = reason(log.read_text("utf-8", errors="replace"))
            raise Blocked(f"it ended with exit status {process.returncode}: {said}", f"see {log}")
        return ready_file.exists()

    wait_until(is_ready, "its start", timeout=START_SECONDS, every=0.05, hint=f"see {log}")


def end(process: subprocess.Popen[Any]) -> None:
    """End a process that has no clients left to drain."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
