"""The agent's one process: wakes when the spec changes, steps until the host matches, keeps the status file."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import hashlib
import json
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import health, processes
from .circus.manager import CircusManager
from .config import AgentConfig, Layout
from .convergence import Convergence
from .files import ensure_file, write_atomically
from .jobs import Jobs
from .reporting import Findings, build_status, failing_status, is_settled
from .service_manager import ServiceManager
from .spec import HostStatus, InvalidSpec, to_json
from .systemd.manager import SystemdManager
from .validation import read_spec

if TYPE_CHECKING:
    from .google.cloud import Cloud
    from .google.errands import Errand

BUSY_TICK = 0.05
"""Seconds between steps while something is under way."""

IDLE_TICK = 0.2
"""Seconds between looks at the spec file."""

LIVENESS_INTERVAL = 0.5
FULL_STEP_INTERVAL = 10.0
BUSY_FOR = 30.0
"""Seconds without any change after which even an unfinished converge is looked at less often."""

STATUS_INTERVAL = 25.0


class AlreadyRunning(Exception):
    """Another agent has this home. The message says which process."""


def lock_home(layout: Layout, patience: float = 0.0) -> int:
    """Take the home for this process: two agents at once are impossible. Returns the descriptor to keep.

    Raises:
        AlreadyRunning: another has it, and still had after `patience` seconds.
    """
    descriptor = os.open(layout.pid, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except OSError as error:
            if error.errno != errno.EWOULDBLOCK or time.monotonic() >= deadline:
                os.close(descriptor)
                raise AlreadyRunning(f"another agent runs for {layout.home}") from error
        time.sleep(0.05)


def write_identity(descriptor: int, sha256: str) -> None:
    """Say who holds the lock, in the locked file itself (a renamed one would not be locked)."""
    data = json.dumps({**processes.current()._asdict(), "sha256": sha256}).encode()
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, data, 0)


def sha256_of(path: Path) -> str:
    """Digest of the agent's archive; empty where it runs from a folder."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def make_service_manager(config: AgentConfig, layout: Layout, wrapper: Sequence[str]) -> ServiceManager:
    """The service manager which the config names."""
    kind = CircusManager if config.manager == "circus" else SystemdManager
    return kind(config, layout, wrapper)


class Daemon:
    """`run()` returns after SIGTERM or SIGINT; services go on without it."""

    def __init__(self, config: AgentConfig, layout: Layout, wrapper: Sequence[str], sha256: str) -> None:
        self._layout = layout
        self._wake_reader, self._wake_writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._manager = make_service_manager(config, layout, wrapper)
        cloud, self._errands = _google(config, layout, wrapper)
        self._convergence = Convergence(
            config,
            layout,
            self._manager,
            Jobs(config, layout, wrapper),
            self._wake,
            cloud,
        )
        self._spec_seen: tuple[int, int, int] | None = None
        self._spec_fault = ""
        self._fault_told = ""
        self._unforeseen_told = ""
        self._must_end = False
        self._must_render = False
        self._status = HostStatus(0, agent_sha256=sha256, agent_pid=os.getpid())
        self._written_at = float("-inf")
        self._changed_at = time.monotonic()
        self._stepped_at = float("-inf")
        self._reports: dict[str, dict[str, Any]] = {}

    def run(self) -> None:
        self._listen_to_signals()
        self._attempt(self._take_last_good)
        while not self._must_end:
            self._attempt(self._round)
            self._sleep()

    def _round(self) -> None:
        for each in self._errands:
            each.ensure()
        self._look_at_spec()
        if self._must_step():
            self._step()

    def _attempt(self, work: Callable[[], None]) -> None:
        """Whatever keeps this from its end is told, and the next round tries again.

        The agent may not end of it: nothing would start it again, or it would end of the same at each start.
        """
        try:
            self._tell_unforeseen_of(work)
        except OSError as error:  # a full disk: the next looks find it still to be done
            self._tell_fault(f"{error.filename or self._layout.home}: {error.strerror}")

    def _tell_unforeseen_of(self, work: Callable[[], None]) -> None:
        try:
            work()
        except OSError:
            raise
        except Exception as error:  # noqa: BLE001 - a fault of the agent's own; log and status say it
            fault = f"{type(error).__name__}: {error}"
            if fault != self._unforeseen_told:
                self._unforeseen_told = fault
                _log("".join(traceback.format_exception(error)).rstrip())
            self._keep(failing_status(self._status, fault, time.time()))

    def _listen_to_signals(self) -> None:
        signal.set_wakeup_fd(self._wake_writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._on_end)
        signal.signal(signal.SIGINT, self._on_end)
        signal.signal(signal.SIGHUP, self._on_hangup)

    def _on_end(self, _signum: int, _frame: object) -> None:
        self._must_end = True

    def _on_hangup(self, _signum: int, _frame: object) -> None:
        self._must_render = True

    def _wake(self) -> None:
        # A full pipe has woken us already.
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake_writer, b"w")

    def _sleep(self) -> None:
        tick = BUSY_TICK if self._is_busy() else IDLE_TICK
        if select.select([self._wake_reader], [], [], tick)[0]:
            os.read(self._wake_reader, 4096)

    def _is_busy(self) -> bool:
        is_recent = time.monotonic() - self._changed_at < BUSY_FOR
        return is_recent and not is_settled(self._status)

    def _take_last_good(self) -> None:
        """Begin with the spec that worked, should the new one be no good."""
        with contextlib.suppress(OSError, InvalidSpec, UnicodeDecodeError):
            self._convergence.take(read_spec(self._layout.last_good.read_text(encoding="utf-8")))

    def _look_at_spec(self) -> None:
        try:
            found = self._layout.spec.stat()
        except FileNotFoundError:
            return
        seen = (found.st_mtime_ns, found.st_ino, found.st_size)
        if seen != self._spec_seen:
            self._take_spec()
            self._spec_seen = seen
            self._note_change()

    def _take_spec(self) -> None:
        try:
            text = self._layout.spec.read_text(encoding="utf-8")
            spec = read_spec(text)
        except (OSError, InvalidSpec, UnicodeDecodeError) as error:
            self._spec_fault = f"{self._layout.spec}: {error}"
            return
        self._spec_fault = ""
        ensure_file(self._layout.last_good, text.encode(), 0o600)
        self._convergence.take(spec)

    def _note_change(self) -> None:
        self._changed_at = time.monotonic()
        self._stepped_at = float("-inf")

    def _must_step(self) -> bool:
        if self._must_render:
            self._must_render = False
            self._convergence.render_files()
            self._note_change()
        age = time.monotonic() - self._stepped_at
        if self._is_busy() or age >= FULL_STEP_INTERVAL:
            return True
        return age >= LIVENESS_INTERVAL and not (is_settled(self._status) and self._convergence.is_quiet())

    def _step(self) -> None:
        self._stepped_at = time.monotonic()
        self._convergence.step()
        self._report(self._convergence.findings())

    def _report(self, findings: Findings) -> None:
        now = time.time()
        status = build_status(
            findings,
            self._spec_fault,
            self._find_reports(findings),
            self._last_lines(findings),
            self._status,
            now,
        )
        self._unforeseen_told = ""
        self._keep(status)

    def _keep(self, status: HostStatus) -> None:
        """Write the status where something of it is new, and now and then to show that the agent lives."""
        changed = dataclasses.replace(status, time=0.0) != dataclasses.replace(self._status, time=0.0)
        if changed:
            self._changed_at = time.monotonic()
            self._written_at = float("-inf")
            self._tell(status)
        self._status = status
        if time.monotonic() - self._written_at >= STATUS_INTERVAL:
            write_atomically(self._layout.status, to_json(status).encode(), 0o600)
            self._written_at = time.monotonic()
            self._fault_told = ""

    def _tell(self, status: HostStatus) -> None:
        """One line in the agent's log for each condition that has turned."""
        before = {each.type: each.reason for each in self._status.conditions}
        for each in status.conditions:
            if before.get(each.type) != each.reason:
                _log(f"generation {status.observed_generation}: {each.type} {each.reason}: {each.message}")

    def _tell_fault(self, fault: str) -> None:
        """Once, until a status could be written again."""
        if fault != self._fault_told:
            self._fault_told = fault
            _log(fault)

    def _find_reports(self, findings: Findings) -> dict[str, dict[str, Any]]:
        """What servers say of themselves; of one that drains, what it said last."""
        for service in findings.spec.services if findings.spec else ():
            process = findings.processes.get(service.name)
            if service.ready_file and process is not None:
                report = health.ready_report(service.ready_file, process.record.pid)
                self._reports[service.name] = report or self._reports.get(service.name, {})
        return dict(self._reports)

    def _last_lines(self, findings: Findings) -> dict[str, str]:
        failed = (name for name, watch in findings.watches.items() if watch.state == "failed")
        return {name: self._manager.last_words(name) for name in failed}


def _google(config: AgentConfig, layout: Layout, wrapper: Sequence[str]) -> tuple[Cloud | None, tuple[Errand, ...]]:
    """What an agent on a VM at Google has beside its home, and to do beside converging. Imported there alone, as TLS
    takes 4 MB of memory."""
    if not config.bucket:
        return None, ()
    from .google.cloud import cloud_of
    from .google.errands import errands

    cloud = cloud_of(config, layout)
    return cloud, errands(config, layout, wrapper, cloud, _log)


def _log(line: str) -> None:
    """To the agent's log, which may be on the disk that is full: then it comes there with the next line."""
    with contextlib.suppress(OSError):
        sys.stderr.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")
        sys.stderr.flush()
