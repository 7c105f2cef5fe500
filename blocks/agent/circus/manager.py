"""Circus as the service manager. It holds the sockets, respawns what dies and keeps the logs, no more.

It is spoken to only when a service or a socket is added or removed (see `WrappedServices`): a call of its control
client costs 0.4 s of CPU, and a reload of its configuration waits for each service it stops, one after the other.
"""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from .. import processes
from ..config import AgentConfig, Layout
from ..definitions import base_environment
from ..execution import QUICK_EXIT
from ..files import open_log, write_atomically
from ..processes import ProcessRecord
from ..records import read_data, write_data
from ..service_manager import ServiceManagerFailed, reason_taken
from ..spec import Service, Socket
from ..wrapped import WrappedServices
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


class CircusManager(WrappedServices):
    """`ServiceManager` over one circusd of this home, and the exec wrappers it runs."""

    def __init__(self, config: AgentConfig, layout: Layout, wrapper: Sequence[str]) -> None:
        """`wrapper` is the command that runs this agent, such as `python -I -S agent.pyz`."""
        super().__init__(config, layout)
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
            wanted, self._obstacles = ini.without_taken_ports(wanted, {}, reason_taken)
            self._start_daemon(wanted)
            return True
        loaded = self._loaded_sections()
        wanted = ini.keep_running(loaded, wanted, running)
        wanted, self._obstacles = ini.without_taken_ports(wanted, loaded, reason_taken)
        steps = ini.reload_steps(loaded, wanted) or ([wanted] if self._is_uncertain() else [])
        for step in steps:
            self._load(step)
        return bool(steps)

    def obstacles(self) -> dict[str, str]:
        return self._obstacles

    def is_running(self) -> bool:
        return self._daemon_runs()

    def _end_manager(self) -> None:
        self._end_daemon()
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

    def _end_orphans(self) -> None:
        """End the services of a killed circusd: their log pipes are broken and they hold the ports."""
        self._end_services(self.known())

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
