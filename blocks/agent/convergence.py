"""Makes the host match its spec, one short step after the other; nothing here waits.

Order: files → releases → services → jobs, but each thing only waits for what it needs itself. What fails is
tried again with a backoff and stops nothing else.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from . import health, processes, releases, secret_value
from .config import AgentConfig, Layout
from .definitions import Wanted, releases_needed, wanted_services
from .files import Trace, ensure_folder, ensure_rendered, folder_trace, trace
from .health import Watch
from .jobs import Jobs
from .planning import Decision, ServiceProcess, decide
from .reporting import Findings
from .retry import Retry
from .secret_value import UnusableSecret
from .service_manager import ServiceManager, ServiceManagerFailed
from .spec import File, Folder, HostSpec, Job, Release, Service

IDLE_SECONDS = 2.0
"""A worker counts as idle after that time without a child process: Prefect's takes half a second to report how a run
ended whose process died, and nobody else reports it before its heartbeat is missed."""


class Convergence:
    """One spec at a time, converged by repeated `step()`s from one thread."""

    def __init__(
        self,
        config: AgentConfig,
        layout: Layout,
        service_manager: ServiceManager,
        jobs: Jobs,
        wake: Callable[[], None],
    ) -> None:
        """`wake` is called from other threads when there is something to take in."""
        self._config = config
        self._layout = layout
        self._service_manager = service_manager
        self._jobs = jobs
        self._wake = wake
        self._arrived: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._spec: HostSpec | None = None
        self._contents: dict[str, bytes] = {}
        self._traces: dict[str, Trace | None] = {}
        self._folder_traces: dict[str, Trace | None] = {}
        self._file_faults: dict[str, str] = {}
        self._wanted: dict[str, Wanted] = {}
        self._watches: dict[str, Watch] = {}
        self._decisions: dict[str, Decision] = {}
        self._processes: dict[str, ServiceProcess] = {}
        self._idle_since: dict[str, float] = {}
        self._installed: set[str] = set()
        self._installing = False
        self._release_retry: dict[str, Retry] = {}
        self._files_retry = Retry()
        self._manager_retry = Retry()
        self._held: object = None

    def take(self, spec: HostSpec) -> None:
        """Converge to this spec from now on."""
        self._spec = spec
        self._release_retry = {each.id: Retry() for each in spec.releases}
        self._installed = {each.id for each in spec.releases if releases.is_whole(each, self._layout.releases)}
        self._held = None
        self.render_files()

    def render_files(self) -> None:
        """Render all files, and see which services want something else because of it."""
        if self._spec is None:
            return
        self._contents, self._file_faults = {}, {}
        for folder in self._spec.folders:
            self._attempt(folder, partial(ensure_folder, folder))
        for file in self._spec.files:
            self._attempt(file, partial(self._render, file))
        self._traces = {path: trace(Path(path)) for path in self._contents}
        self._folder_traces = {each.path: folder_trace(Path(each.path)) for each in self._spec.folders}
        self._wanted = wanted_services(self._spec, self._contents)
        if self._file_faults:
            self._files_retry.failed("; ".join(self._file_faults.values()), time.monotonic())
        else:
            self._files_retry.succeeded()

    def _render(self, file: File) -> None:
        _, self._contents[file.path] = ensure_rendered(file, Path(self._config.secrets))

    def _attempt(self, part: File | Folder, make: Callable[[], None]) -> None:
        """Make it so; why it cannot be is told as its fault."""
        try:
            make()
        except UnusableSecret as error:
            self._file_faults[part.path] = f"{part.path}: {error}"
        except KeyError:
            self._file_faults[part.path] = f"{part.path}: there is no user {part.user} on this host"
        except OSError as error:
            self._file_faults[part.path] = f"{part.path}: {error.strerror}"
        except Exception as error:  # noqa: BLE001 - what lies there is its user's making: the other parts go on
            self._file_faults[part.path] = f"{part.path}: {type(error).__name__}: {error}"

    def step(self) -> None:
        """Do all that can be done now."""
        if self._spec is None:
            return
        while not self._arrived.empty():
            self._arrived.get()()
        now = time.monotonic()
        if self._files_retry.is_due(now) and (self._file_faults or self._is_a_file_touched()):
            self.render_files()
        self._install_releases(self._spec, now)
        self._converge_services(self._spec, now)
        self._converge_jobs(self._spec)

    def _is_a_file_touched(self) -> bool:
        """Whether somebody removed or changed a file or folder we made: its service would not start again."""
        return any(trace(Path(path)) != left for path, left in self._traces.items()) or any(
            folder_trace(Path(path)) != left for path, left in self._folder_traces.items()
        )

    def is_quiet(self) -> bool:
        """Whether a step would find nothing new, at a cheap look: all processes are there, no check is due."""
        now = time.monotonic()
        return (
            self._arrived.empty()
            and self._service_manager.is_running()
            and all(processes.seems_alive(each.record) for each in self._processes.values())
            and not any(each.is_due(now) for each in self._watches.values())
        )

    def findings(self) -> Findings:
        """What there is to report."""
        spec = self._spec
        return Findings(
            spec=spec,
            installed=tuple(sorted(self._installed)),
            release_faults=tuple(each.reason for each in self._release_retry.values() if each.reason),
            file_faults=tuple(self._file_faults.values()),
            manager_fault=self._manager_retry.reason,
            watches=self._watches,
            processes=self._processes,
            decisions=self._decisions,
            jobs=tuple(self._jobs.status(each) for each in spec.jobs) if spec else (),
        )

    def _install_releases(self, spec: HostSpec, now: float) -> None:
        due = [
            each
            for each in spec.releases
            if each.id not in self._installed and self._release_retry[each.id].is_due(now)
        ]
        if due and not self._installing:
            threading.Thread(target=self._install, args=(due[0],), daemon=True).start()
            self._installing = True  # only now: where no thread can be started, a later step tries again

    def _install(self, release: Release) -> None:
        """In a thread of its own: takes seconds to minutes."""
        reason = ""
        try:
            releases.install(release, self._layout.releases, Path(self._config.store))
        except (releases.ReleaseFailed, OSError) as error:
            reason = str(error)
        except Exception as error:  # noqa: BLE001 - told as the release's fault; a dead thread would say nothing
            reason = f"release {release.id}: {type(error).__name__}: {error}"
        self._arrive(lambda: self._take_installed(release, reason))

    def _take_installed(self, release: Release, reason: str) -> None:
        self._installing = False
        retry = self._release_retry.get(release.id, Retry())
        if reason:
            retry.failed(reason, time.monotonic())
        else:
            retry.succeeded()
            self._installed.add(release.id)

    def _arrive(self, event: Callable[[], None]) -> None:
        self._arrived.put(event)
        self._wake()

    def _converge_services(self, spec: HostSpec, now: float) -> None:
        known = self._service_manager.known()
        self._observe(known.keys())
        if self._hold(spec, now):
            self._observe(known.keys())
        if not self._manager_retry.reason:
            for name in known.keys() - self._wanted.keys():
                self._remove(name)
            for wanted in self._wanted.values():
                self._converge_service(wanted, now)

    def _observe(self, known: Iterable[str]) -> None:
        self._processes = {
            name: process
            for name in {*known, *self._wanted}
            if (process := self._service_manager.process(name)) is not None
        }

    def _hold(self, spec: HostSpec, now: float) -> bool:
        """Have the service manager know what it must, where that, or itself, is not as before.

        Returns whether something changed by it.
        """
        running = frozenset(name for name, process in self._processes.items() if not process.held)
        key = (spec.services, spec.sockets, running)
        is_as_before = key == self._held and self._service_manager.is_running()
        if (is_as_before and not self._service_manager.obstacles()) or not self._manager_retry.is_due(now):
            return False
        try:
            changed = self._service_manager.hold(spec.services, spec.sockets, running)
        except (ServiceManagerFailed, OSError) as error:
            self._manager_retry.failed(str(error), now)
            return False
        self._manager_retry.succeeded()
        self._held = key
        if self._service_manager.obstacles():
            self._manager_retry.not_before = now + 1.0
        return changed

    def _remove(self, name: str) -> None:
        process = self._processes.get(name)
        if process is None or process.held:
            self._decisions.pop(name, None)
            self._watches.pop(name, None)
            self._service_manager.forget(name)
        else:
            self._decisions[name] = decide(None, process, "", self._must_wait(name, process))
            if self._decisions[name].action == "stop":
                self._service_manager.stop(name)

    def _must_wait(self, name: str, process: ServiceProcess) -> bool:
        """Whether a service that is no longer wanted still has child processes it may not lose."""
        is_worker = self._service_manager.known().get(name, {}).get("restart") == "when-idle"
        return is_worker and not self._service_manager.is_stopping(name) and self._is_busy(name, process)

    def _is_busy(self, name: str, process: ServiceProcess) -> bool:
        """Whether a process has children, or had one a moment ago and may still have to report how that ended."""
        now = time.monotonic()
        if processes.has_children(process.record.pid):
            self._idle_since.pop(name, None)
            return True
        return now - self._idle_since.setdefault(name, now) < IDLE_SECONDS

    def _converge_service(self, wanted: Wanted, now: float) -> None:
        service, name = wanted.service, wanted.service.name
        process = self._processes.get(name)
        watch = self._watches.setdefault(name, Watch())
        watch.follow(process, now, time.time())
        if process is not None and not process.held and self._service_manager.is_stopping(name):
            self._decisions[name] = Decision("stop", "is being stopped, to start again")
            self._service_manager.stop(name)
            return
        decision = self._decide(wanted, process)
        self._decisions[name] = decision
        self._carry_out(decision, wanted, process)
        if watch.is_due(now):
            self._probe(service, process, watch)

    def _decide(self, wanted: Wanted, process: ServiceProcess | None) -> Decision:
        obstacle = self._obstacle(wanted.service)
        is_worker = process is not None and not process.held and wanted.service.restart == "when-idle"
        changed = process is not None and process.digest != wanted.digest
        if not changed:
            self._idle_since.pop(wanted.service.name, None)
        has_children = process is not None and is_worker and changed and self._is_busy(wanted.service.name, process)
        return decide(wanted, process, obstacle, has_children)

    def _carry_out(self, decision: Decision, wanted: Wanted, process: ServiceProcess | None) -> None:
        name = wanted.service.name
        if decision.action == "start" or (decision.action == "keep" and not decision.reason):
            self._service_manager.start(wanted)
        elif decision.action == "hold":
            self._service_manager.keep_down(wanted.service)
        elif decision.action == "stop":
            self._service_manager.stop(name)
        elif decision.action == "reload" and process is not None:
            self._service_manager.reload(wanted, process)

    def _obstacle(self, service: Service) -> str:
        """Why the service cannot be started as it is wanted now; empty where it can."""
        for path in service.files:
            if path in self._file_faults:
                return self._file_faults[path]
        obstacles = self._service_manager.obstacles()
        return self._unusable_secret(service) or obstacles.get(service.name, "") or self._unmet(service)

    def _unusable_secret(self, service: Service) -> str:
        try:
            for secret in service.secrets.values():
                secret_value.read(f"{self._config.secrets}/{secret}")
        except UnusableSecret as error:
            return str(error)
        return ""

    def _unmet(self, program: Service | Job) -> str:
        """What a service or job still waits for."""
        ids = tuple(self._release_retry)
        for release in releases_needed(program.argv, str(self._layout.releases), ids):
            if release not in self._installed:
                return f"waits for release {release}"
        for name in program.after:
            if not self._is_ready(name):
                return f"waits for {name}"
        return ""

    def _is_ready(self, name: str) -> bool:
        """Whether a service is ready in the form that is wanted now."""
        process, wanted = self._processes.get(name), self._wanted[name]
        watch = self._watches.get(name)
        return (
            process is not None
            and process.digest == wanted.digest
            and watch is not None
            and watch.state == "ready"
            and watch.record == process.record
        )

    def _probe(self, service: Service, process: ServiceProcess | None, watch: Watch) -> None:
        """Check in a thread of its own, for what hangs must not keep the agent from anything."""
        if process is None:
            return

        def take(fault: str) -> None:
            watch.probing = False
            if watch.record == process.record:
                watch.judge(service, fault, time.monotonic(), time.time())

        def check() -> None:
            fault = _probed(service, process.record.pid)
            self._arrive(lambda: take(fault))

        if service.health.kind == "none":
            take(health.probe(service, process.record.pid))
        else:
            threading.Thread(target=check, daemon=True).start()
            watch.probing = True  # what the thread found is taken in by a later step of this one

    def _converge_jobs(self, spec: HostSpec) -> None:
        for job in spec.jobs:
            self._jobs.collect(job)
            if self._jobs.status(job) is None and not self._unmet(job):
                self._jobs.start(job)


def _probed(service: Service, pid: int) -> str:
    """What a check found; the check of a thread that dies would be waited for for ever."""
    try:
        return health.probe(service, pid)
    except Exception as error:  # noqa: BLE001 - told as what is amiss with the service
        return f"cannot be checked: {type(error).__name__}: {error}"
