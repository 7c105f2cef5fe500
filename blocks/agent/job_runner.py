"""Runs one job to its end and writes down how it ended, whether or not the agent still lives.

Reads HOME/run/jobs/NAME.json (a definition, with `run` and `timeout`), writes NAME.pid before the start and
NAME.result at the end.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import sys
import time
from typing import Any

from . import processes
from .program import CannotStart, become, reset_dispositions
from .records import read_data, write_data

OUTPUT_TAIL = 4096
"""Bytes of output which are reported."""

GRACE = 5.0
"""Seconds from SIGTERM to SIGKILL when a job is over its time, or the stack is stopped."""

_WAITED = (signal.SIGCHLD, signal.SIGTERM)


def run_job(home: str, name: str) -> int:
    """Run the defined job unless this `run` of it has begun before. Returns its exit status (-N: signal N)."""
    base = f"{home}/run/jobs/{name}"
    lock = os.open(f"{base}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return 0
    definition = read_data(f"{base}.json")
    if not definition or read_data(f"{base}.pid").get("run") == definition["run"]:
        return 0
    signal.pthread_sigmask(signal.SIG_BLOCK, _WAITED)
    started = time.time()
    identity = {**processes.current()._asdict(), "run": definition["run"], "started": started}
    write_data(f"{base}.pid", identity)
    if not read_data(f"{base}.json"):
        # The stack is being stopped, and may have looked for our record too early to see it.
        os.unlink(f"{base}.pid")  # noqa: PTH108
        return 0
    log = _open_log(f"{home}/logs/job-{name}.log")
    status, remark = _run(name, definition, log)
    write_data(
        f"{base}.result",
        {
            "run": definition["run"],
            "exit_status": status,
            "output": (_tail(log) + remark)[-OUTPUT_TAIL:],
            "started": started,
            "ended": time.time(),
        },
    )
    return status


def _open_log(path: str) -> int:
    """A fresh log; the one of the run before is kept as `.1`."""
    with contextlib.suppress(FileNotFoundError):
        os.replace(path, f"{path}.1")  # noqa: PTH105
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)


def _run(name: str, definition: dict[str, Any], log: int) -> tuple[int, str]:
    pid = os.fork()
    if pid == 0:
        _become_job(name, definition, log)
    leader = processes.record_of(pid)
    remark = _wait(pid, float(definition["timeout"]))
    if remark:
        _kill_group(pid)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    processes.end_session(leader)
    return status, remark


def _become_job(name: str, definition: dict[str, Any], log: int) -> None:
    os.setsid()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    reset_dispositions()
    try:
        become(definition, {})
    except CannotStart as error:
        sys.stderr.write(f"cannot start {name}: {error}\n")
        sys.stderr.flush()
        os._exit(127)


def _wait(pid: int, timeout: float) -> str:
    """Wait for the end without reaping. Returns why the job must be ended, or nothing."""
    deadline = time.monotonic() + timeout
    while not _has_ended(pid):
        left = deadline - time.monotonic()
        if left <= 0:
            return f"\n(ended: it took longer than {timeout:g} s)"
        received = signal.sigtimedwait(_WAITED, left)
        if received is not None and received.si_signo == signal.SIGTERM:
            return "\n(ended: the stack was stopped)"
    return ""


def _has_ended(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _kill_group(pid: int) -> None:
    for signum, patience in ((signal.SIGTERM, GRACE), (signal.SIGKILL, 0.0)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signum)
        deadline = time.monotonic() + patience
        while not _has_ended(pid) and time.monotonic() < deadline:
            signal.sigtimedwait([signal.SIGCHLD], 0.1)


def _tail(log: int) -> str:
    size = os.fstat(log).st_size
    return os.pread(log, OUTPUT_TAIL, max(0, size - OUTPUT_TAIL)).decode(errors="replace")
