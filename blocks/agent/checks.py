"""Sees, beside everything else, which services are ready."""

from __future__ import annotations

import threading
import time

from . import health
from .arrivals import Arrivals
from .definitions import Wanted
from .health import Watch
from .planning import ServiceProcess
from .spec import Service


class Checks:
    """The watch of each service by name, and the probes that feed them."""

    def __init__(self, arrivals: Arrivals) -> None:
        self._arrivals = arrivals
        self.watches: dict[str, Watch] = {}

    def follow(self, service: Service, process: ServiceProcess | None, now: float) -> None:
        """Take note of the process that runs now."""
        self.watches.setdefault(service.name, Watch()).follow(process, now, time.time())

    def probe_due(self, service: Service, process: ServiceProcess | None, now: float) -> None:
        """Check a service whose turn it is: in a thread of its own, for what hangs must not keep the agent waiting."""
        watch = self.watches[service.name]
        if process is None or not watch.is_due(now):
            return

        def take(fault: str) -> None:
            watch.probing = False
            if watch.record == process.record:
                watch.judge(service, fault, time.monotonic(), time.time())

        def check() -> None:
            fault = _probed(service, process.record.pid)
            self._arrivals.post(lambda: take(fault))

        if service.health.kind == "none":
            take(health.probe(service, process.record.pid))
        else:
            threading.Thread(target=check, daemon=True).start()
            watch.probing = True  # what the thread found is taken in by a later step of this one

    def is_ready(self, wanted: Wanted, process: ServiceProcess | None) -> bool:
        """Whether a service is ready in the form that is wanted now."""
        watch = self.watches.get(wanted.service.name)
        return (
            process is not None
            and process.digest == wanted.digest
            and watch is not None
            and watch.state == "ready"
            and watch.record == process.record
        )

    def is_any_due(self, now: float) -> bool:
        return any(each.is_due(now) for each in self.watches.values())

    def forget(self, name: str) -> None:
        self.watches.pop(name, None)


def _probed(service: Service, pid: int) -> str:
    """What a check found; the check of a thread that dies would be waited for for ever."""
    try:
        return health.probe(service, pid)
    except Exception as error:  # noqa: BLE001 - what is amiss with the service
        return f"cannot be checked: {type(error).__name__}: {error}"
