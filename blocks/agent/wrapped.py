"""Services as the exec wrapper runs them: what both service managers have in common.

Every unit or watcher runs the wrapper, which obeys a definition file. So a service is started, held, restarted or
changed by writing that file and signalling one process; the service manager itself is spoken to only when a service
or a socket is added or removed.
"""

from __future__ import annotations

import signal
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from . import processes
from .config import AgentConfig, Layout
from .definitions import Wanted, service_definition
from .planning import ServiceProcess
from .program import WAKE_SIGNAL
from .records import read_data, write_data
from .service_manager import stop_levels
from .spec import Service

_LOG_TAIL = 600


class WrappedServices(ABC):
    """The part of a `ServiceManager` that deals with definitions and processes alone."""

    def __init__(self, config: AgentConfig, layout: Layout) -> None:
        self._config = config
        self._layout = layout

    def known(self) -> dict[str, dict[str, Any]]:
        return {path.stem: read_data(str(path)) for path in sorted(self._layout.services.glob("*.json"))}

    def process(self, name: str) -> ServiceProcess | None:
        data = read_data(str(self._layout.record(name)))
        record = processes.from_data(data)
        if record is None or not processes.is_alive(record):
            return None
        reloaded = read_data(str(self._layout.services / f"{name}.reloaded"))
        has_reloaded = processes.from_data(reloaded) == record
        return ServiceProcess(
            record=record,
            digest=str(data.get("digest", "")),
            files_digest=str(reloaded["files_digest"] if has_reloaded else data.get("files_digest", "")),
            held=bool(data.get("held")),
            failures=int(data.get("failures", 0)),
            started=float(data.get("started", 0.0)),
        )

    def start(self, wanted: Wanted) -> None:
        definition = {**service_definition(wanted, self._config), **supervision(wanted.service)}
        if self._define(wanted.service.name, definition):
            self._wake(wanted.service.name)

    def keep_down(self, service: Service) -> None:
        if not self._definition(service.name).get("stopping"):
            self._define(service.name, {**supervision(service), "go": False})

    def stop(self, name: str) -> None:
        process = self.process(name)
        definition = self._definition(name)
        if process is None or process.held:
            self._define(name, {**definition, "go": False, "stopping": None})
            return
        stopping = definition.get("stopping") or {}
        if processes.from_data(stopping) != process.record:
            stopping = {**process.record._asdict(), "since": time.time()}
            self._define(name, {**definition, "go": False, "stopping": stopping})
            processes.send(process.record, signal.Signals[definition.get("stop_signal", "SIGTERM")])
        elif time.time() - stopping["since"] > definition.get("stop_timeout", 30.0):
            processes.send(process.record, signal.SIGKILL)

    def is_stopping(self, name: str) -> bool:
        return processes.is_alive(processes.from_data(self._definition(name).get("stopping") or {}))

    def reload(self, wanted: Wanted, process: ServiceProcess) -> None:
        processes.send(process.record, signal.Signals[wanted.service.reload_signal])
        noted = {**process.record._asdict(), "files_digest": wanted.files_digest}
        write_data(str(self._layout.services / f"{wanted.service.name}.reloaded"), noted)
        self.start(wanted)

    def forget(self, name: str) -> None:
        for path in (
            self._layout.definition(name),
            self._layout.record(name),
            self._layout.services / f"{name}.reloaded",
        ):
            path.unlink(missing_ok=True)

    def stop_all(self) -> None:
        known = self.known()
        for name, definition in known.items():
            if definition.get("go", True):
                self._define(name, {**definition, "go": False})
        self._end_services(known)
        self._end_manager()
        for name in known:
            process = self.process(name)
            if process is not None:
                processes.end(process.record, signal.SIGKILL)
            self.forget(name)

    @abstractmethod
    def _end_manager(self) -> None:
        """End what is the manager's own: sockets, and the wrappers it runs. Waits. All services have ended before."""

    def last_words(self, name: str) -> str:
        return last_lines(self._layout.log(name))

    def _definition(self, name: str) -> dict[str, Any]:
        return read_data(str(self._layout.definition(name)))

    def _define(self, name: str, definition: dict[str, Any]) -> bool:
        if self._definition(name) == definition:
            return False
        write_data(str(self._layout.definition(name)), definition)
        return True

    def _wake(self, name: str) -> None:
        process = self.process(name)
        if process is not None and process.held:
            processes.send(process.record, WAKE_SIGNAL)

    def _end_services(self, known: dict[str, dict[str, Any]]) -> None:
        """End services level by level. Waits for each level."""
        for level in stop_levels(known):
            self._end_level({name: known[name] for name in level})

    def _end_level(self, level: dict[str, dict[str, Any]]) -> None:
        left = {name: process.record for name in level if (process := self.process(name)) is not None}
        for name, record in left.items():
            processes.send(record, signal.Signals[level[name].get("stop_signal", "SIGTERM")])
        began = time.monotonic()
        for name, record in left.items():
            patience = level[name].get("stop_timeout", 30.0) - (time.monotonic() - began)
            if not processes.wait_gone(record, max(0.0, patience)):
                processes.send(record, signal.SIGKILL)
                processes.wait_gone(record, 5.0)
            processes.end_session(record)


def supervision(service: Service) -> dict[str, Any]:
    """What is needed to end a service once the spec no longer has it."""
    return {
        "stop_signal": service.stop_signal,
        "stop_timeout": service.stop_timeout,
        "stop_level": service.stop_level,
    }


def last_lines(path: Path) -> str:
    """The last lines of a log, as one line."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _LOG_TAIL))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return as_one_line(text)


def as_one_line(text: str) -> str:
    """The last three lines of what was logged."""
    return " | ".join(text.strip().splitlines()[-3:])
