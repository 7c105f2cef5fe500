"""Circus as the service manager. It holds the sockets, respawns what dies and keeps the logs, no more.

Every watcher runs the exec wrapper, which obeys a definition file. So a service is started, held, restarted or
changed by writing that file and signalling one process; Circus is spoken to only when a service or a socket is
added or removed. (A call of its control client costs 0.4 s of CPU, and a reload of its configuration waits for
each service it stops, one after the other.)
"""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import processes
from ..config import AgentConfig, Layout
from ..definitions import Wanted, base_environment, service_definition
from ..execution import QUICK_EXIT
from ..files import open_log, write_atomically
from ..planning import ServiceProcess
from ..processes import ProcessRecord
from ..program import WAKE_SIGNAL
from ..records import read_data, write_data
from ..service_manager import ServiceManagerFailed, stop_levels
from ..spec import Service, Socket
from . import ini

DAEMON = "circusd"
CONTROL_TIMEOUT = 15.0
RELOAD_ATTEMPTS = 40
CHECK_PAUSE = 0.1
"""Between two attempts while circusd is busy with another command; 4 s in total."""

_CONTROL_CLIENT = """
import json, sys, zmq
control = zmq.Context().socket(zmq.DEALER)
control.linger = 0
control.connect(sys.argv[1])
control.send(json.dumps({"id": "1", "command": "reloadconfig", "properties": {"waiting": True}}).encode())
print(control.recv().decode() if control.poll(int(sys.argv[2])) else '{"status": "error", "reason": "no answer"}')
"""
"""Speaks to circusd without importing circus: 0.07 s instead of 0.4."""


class CircusManager:
    """`ServiceManager` over one circusd of this home, and the exec wrappers it runs."""

    def __init__(self, config: AgentConfig, layout: Layout, wrapper: Sequence[str]) -> None:
        """`wrapper` is the command that runs this agent, such as `python -I -S agent.pyz`."""
        self._config = config
        self._layout = layout
        self._wrapper = tuple(wrapper)
        self._ini = layout.run / "circus.ini"
        self._loaded = layout.run / "circus.loaded"
        self._daemon_definition = layout.run / f"{DAEMON}.json"
        self._daemon: subprocess.Popen[bytes] | None = None
        self._spawned = 0.0
        self._obstacles: dict[str, str] = {}

    def hold(self, services: Sequence[Service], sockets: Sequence[Socket], running: frozenset[str]) -> bool:
        wanted = ini.render_sections(self._layout, self._wrapper, services, sockets)
        if not self._daemon_runs():
            self._end_orphans()
            wanted, self._obstacles = ini.without_taken_ports(wanted, {}, _reason_taken)
            self._start_daemon(wanted)
            return True
        loaded = self._loaded_sections()
        wanted = ini.keep_running(loaded, wanted, running)
        wanted, self._obstacles = ini.without_taken_ports(wanted, loaded, _reason_taken)
        steps = ini.reload_steps(loaded, wanted) or ([wanted] if self._is_uncertain() else [])
        for step in steps:
            self._load(step)
        return bool(steps)

    def obstacles(self) -> dict[str, str]:
        return self._obstacles

    def is_running(self) -> bool:
        return self._daemon_runs()

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
        supervision = _supervision(wanted.service)
        definition = {**service_definition(wanted, self._config), **supervision}
        if self._define(wanted.service.name, definition):
            self._wake(wanted.service.name)

    def keep_down(self, service: Service) -> None:
        if not self._definition(service.name).get("stopping"):
            self._define(service.name, {**_supervision(service), "go": False})

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
        self._end_daemon()
        for name in known:
            process = self.process(name)
            if process is not None:
                processes.end(process.record, signal.SIGKILL)
            self.forget(name)
        for path in (self._loaded, self._layout.record(DAEMON)):
            path.unlink(missing_ok=True)

    def _end_daemon(self) -> None:
        """End circusd; its services have ended before. A signal that finds it busy is lost, so repeat it."""
        # One that is just being started finds no definition and gives up, or we find its record.
        self._daemon_definition.unlink(missing_ok=True)
        daemon = self._daemon_record()
        deadline = time.monotonic() + CONTROL_TIMEOUT
        while daemon is not None and processes.send(daemon, signal.SIGTERM) and time.monotonic() < deadline:
            processes.wait_gone(daemon, 0.5)
        if daemon is not None:
            processes.end(daemon, signal.SIGKILL)

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

    def _end_orphans(self) -> None:
        """End the services of a killed circusd: their log pipes are broken and they hold the ports."""
        self._end_services(self.known())

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

    def _daemon_record(self) -> ProcessRecord | None:
        return processes.from_data(read_data(str(self._layout.record(DAEMON))))

    def _daemon_runs(self) -> bool:
        """Whether circusd runs, or is just being started."""
        starting = self._daemon is not None and self._daemon.poll() is None
        return starting or processes.is_alive(self._daemon_record())

    def _start_daemon(self, sections: ini.Sections) -> None:
        if self._daemon is not None and time.monotonic() - self._spawned < QUICK_EXIT:
            self._daemon = None
            raise ServiceManagerFailed(f"circusd ended at once: {self._last_line()}")
        self._loaded.unlink(missing_ok=True)
        text = ini.render_ini(sections)
        write_atomically(self._ini, text.encode(), 0o600)
        definition = {
            "argv": [self._config.circus_python, "-m", "circus.circusd", str(self._ini)],
            "cwd": "/",
            "user": "",
            "env": {},
            "base_env": base_environment(self._config.path),
            "secrets": {},
            "sockets": [],
        }
        write_data(str(self._daemon_definition), definition)
        with open_log(self._layout.log(DAEMON)) as log:
            self._daemon = subprocess.Popen(
                [*self._wrapper, "exec", str(self._layout.home), "locked", DAEMON],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._spawned = time.monotonic()
        write_atomically(self._loaded, text.encode(), 0o600)

    def _last_line(self) -> str:
        lines = self._layout.log(DAEMON).read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"

    def _loaded_sections(self) -> ini.Sections:
        """What circusd has loaded, as far as we know: what it was heard to take, else what it was given last."""
        found = (ini.known_sections(_content(each)) for each in (self._loaded, self._ini))
        return next(filter(None, found), {})

    def _is_uncertain(self) -> bool:
        """Whether an agent was killed between writing the configuration and hearing that it was taken."""
        loaded = _content(self._loaded)
        return not loaded or loaded != _content(self._ini)

    def _load(self, sections: ini.Sections) -> None:
        text = ini.render_ini(sections).encode()
        write_atomically(self._ini, text, 0o600)
        reason = self._reload_config()
        if reason:
            raise ServiceManagerFailed(f"circusd did not take its configuration: {reason}")
        write_atomically(self._loaded, text, 0o600)

    def _reload_config(self) -> str:
        """Have circusd read its ini again. Returns why it did not, or nothing."""
        command = [
            self._config.circus_python,
            "-I",
            "-c",
            _CONTROL_CLIENT,
            ini.endpoint(self._layout, "ctl"),
            str(int(CONTROL_TIMEOUT * 1000)),
        ]
        for _ in range(RELOAD_ATTEMPTS):
            done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/", env={})
            answer = json.loads(done.stdout) if done.returncode == 0 else {"reason": done.stderr[-500:]}
            if answer.get("status") == "ok":
                return ""
            if "already running" not in answer.get("reason", ""):
                break
            time.sleep(CHECK_PAUSE)
        return str(answer.get("reason", "")).strip()


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def _supervision(service: Service) -> dict[str, Any]:
    """What is needed to end a service once the spec no longer has it."""
    return {
        "stop_signal": service.stop_signal,
        "stop_timeout": service.stop_timeout,
        "stop_level": service.stop_level,
    }


def _reason_taken(host: str, port: int) -> str:
    """Why the port cannot be listened on, or nothing."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return f"cannot listen on {host}:{port}: {error.strerror}"
    return ""
