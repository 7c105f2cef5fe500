"""Brings the services to what is wanted of them, through the service manager."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from . import processes
from .checks import Checks
from .definitions import Wanted
from .planning import Decision, ServiceProcess, decide
from .retry import Retry
from .service_manager import ServiceManager, ServiceManagerFailed
from .spec import HostSpec

IDLE_SECONDS = 2.0
"""A worker counts as idle after that time without a child process: Prefect's takes half a second to report how a run
ended whose process died, and nobody else reports it before its heartbeat is missed."""


class Supervision:
    """What runs, what should, and what was decided about the difference; all by the name of the service."""

    def __init__(self, manager: ServiceManager, checks: Checks, obstacle: Callable[[Wanted], str]) -> None:
        """`obstacle` says why a service cannot be started now, as far as others than the service manager know."""
        self._manager = manager
        self._checks = checks
        self._obstacle = obstacle
        self._holding = _Holding(manager)
        self._idleness = _Idleness()
        self.wanted: dict[str, Wanted] = {}
        self.processes: dict[str, ServiceProcess] = {}
        self.decisions: dict[str, Decision] = {}

    @property
    def fault(self) -> str:
        """Why the service manager does not do its part; empty where it does."""
        return self._holding.retry.reason

    def take(self) -> None:
        """Look anew at what the service manager must know: the spec is another one."""
        self._holding.known = None

    def step(self, spec: HostSpec, now: float) -> None:
        known = self._manager.known()
        self._observe(known.keys())
        running = frozenset(name for name, process in self.processes.items() if not process.held)
        if self._holding.ensure(spec, running, now):
            self._observe(known.keys())
        if self.fault:
            return
        for name in known.keys() - self.wanted.keys():
            self._remove(name)
        for wanted in self.wanted.values():
            self._converge(wanted, now)

    def is_ready(self, name: str) -> bool:
        """Whether a service is ready in the form that is wanted now."""
        return self._checks.is_ready(self.wanted[name], self.processes.get(name))

    def is_quiet(self) -> bool:
        """Whether all processes seem to be there."""
        return self._manager.is_running() and all(
            processes.seems_alive(each.record) for each in self.processes.values()
        )

    def _observe(self, known: Iterable[str]) -> None:
        self.processes = {
            name: process for name in {*known, *self.wanted} if (process := self._manager.process(name)) is not None
        }

    def _remove(self, name: str) -> None:
        process = self.processes.get(name)
        if process is None or process.held:
            self.decisions.pop(name, None)
            self._checks.forget(name)
            self._manager.forget(name)
        else:
            self.decisions[name] = decide(None, process, "", self._must_wait(name, process))
            if self.decisions[name].action == "stop":
                self._manager.stop(name)

    def _must_wait(self, name: str, process: ServiceProcess) -> bool:
        """Whether a service that is no longer wanted still has child processes it may not lose."""
        is_worker = self._manager.known().get(name, {}).get("restart") == "when-idle"
        return is_worker and not self._manager.is_stopping(name) and self._idleness.is_busy(name, process)

    def _converge(self, wanted: Wanted, now: float) -> None:
        name = wanted.service.name
        process = self.processes.get(name)
        self._checks.follow(wanted.service, process, now)
        if process is not None and not process.held and self._manager.is_stopping(name):
            self.decisions[name] = Decision("stop", "is being stopped, to start again")
            self._manager.stop(name)
            return
        self.decisions[name] = self._decide(wanted, process)
        self._carry_out(self.decisions[name], wanted, process)
        self._checks.probe_due(wanted.service, process, now)

    def _decide(self, wanted: Wanted, process: ServiceProcess | None) -> Decision:
        name = wanted.service.name
        obstacle = self._manager.obstacles().get(name, "") or self._obstacle(wanted)
        is_worker = process is not None and not process.held and wanted.service.restart == "when-idle"
        changed = process is not None and process.digest != wanted.digest
        if not changed:
            self._idleness.forget(name)
        has_children = process is not None and is_worker and changed and self._idleness.is_busy(name, process)
        return decide(wanted, process, obstacle, has_children)

    def _carry_out(self, decision: Decision, wanted: Wanted, process: ServiceProcess | None) -> None:
        if decision.action == "start" or (decision.action == "keep" and not decision.reason):
            self._manager.start(wanted)
        elif decision.action == "hold":
            self._manager.keep_down(wanted.service)
        elif decision.action == "stop":
            self._manager.stop(wanted.service.name)
        elif decision.action == "reload" and process is not None:
            self._manager.reload(wanted, process)


class _Holding:
    """What the service manager was last made to know."""

    def __init__(self, manager: ServiceManager) -> None:
        self._manager = manager
        self.known: object = None
        self.retry = Retry()

    def ensure(self, spec: HostSpec, running: frozenset[str], now: float) -> bool:
        """Have the service manager know what it must, where that, or itself, is not as before.

        Returns whether something changed by it.
        """
        key = (spec.services, spec.sockets, running)
        is_as_before = key == self.known and self._manager.is_running()
        if (is_as_before and not self._manager.obstacles()) or not self.retry.is_due(now):
            return False
        try:
            changed = self._manager.hold(spec.services, spec.sockets, running)
        except (ServiceManagerFailed, OSError) as error:
            self.retry.failed(str(error), now)
            return False
        self.retry.succeeded()
        self.known = key
        if self._manager.obstacles():
            self.retry.not_before = now + 1.0
        return changed


class _Idleness:
    """Since when each worker has been without a child process."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}

    def is_busy(self, name: str, process: ServiceProcess) -> bool:
        """Whether a process has children, or had one a moment ago and may still have to report how that ended."""
        now = time.monotonic()
        if processes.has_children(process.record.pid):
            self._since.pop(name, None)
            return True
        return now - self._since.setdefault(name, now) < IDLE_SECONDS

    def forget(self, name: str) -> None:
        self._since.pop(name, None)
