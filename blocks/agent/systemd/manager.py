"""systemd as the service manager: on a server, where it is PID 1 and we are root.

It holds the sockets, starts again what ends, orders a shutdown and keeps the logs. It is spoken to only when a service
or a socket is added, changed or removed, or is not there (see `WrappedServices`).
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence

from ..config import AgentConfig, Layout
from ..service_manager import reason_taken
from ..spec import Service, Socket
from ..wrapped import WrappedServices, as_one_line
from . import control, units

LOOK_AGAIN = 2.0
"""Seconds until a unit without a process is started by us: what ends is started again by systemd, much sooner."""
LAST_WORDS_INTERVAL = 5.0
"""Seconds between two looks into the journal for the same service."""


class SystemdManager(WrappedServices):
    """`ServiceManager` over the units of this home."""

    def __init__(self, config: AgentConfig, layout: Layout, wrapper: Sequence[str]) -> None:
        """`wrapper` is the command that runs this agent, such as `python -I -S agent.pyz`."""
        super().__init__(config, layout)
        self._wrapper = tuple(wrapper)
        self._services: tuple[str, ...] = ()
        self._obstacles: dict[str, str] = {}
        self._looked_at = float("-inf")
        self._last_words: dict[str, tuple[float, str]] = {}

    def hold(self, services: Sequence[Service], sockets: Sequence[Socket], running: frozenset[str]) -> bool:
        wanted = self._rendered(services, sockets)
        moved = {each.name for each in sockets if self._listens_elsewhere(each)}
        changed = set(control.changed(self._config, wanted))
        leaving = {units.service_name(self._config, name) for name in self.known()}
        gone = control.ours(self._config) - wanted.keys() - leaving - {units.agent_name(self._config)}
        if changed:
            control.systemctl("daemon-reload")
        control.remove(each for each in gone if not each.endswith(".slice"))  # with one all that is in it would end
        self._stop_changed(changed, moved, [each for each in services if each.name not in running])
        self._start(services, sockets)
        self._services = tuple(each.name for each in services)
        self._looked_at = time.monotonic()
        return bool(changed or gone)

    def is_running(self) -> bool:
        """Whether every service has a process: who stops a unit by hand has it started again."""
        if time.monotonic() - self._looked_at < LOOK_AGAIN:
            return True
        return all(self.process(each) is not None for each in self._services if each not in self._obstacles)

    def obstacles(self) -> dict[str, str]:
        return self._obstacles

    def forget(self, name: str) -> None:
        control.remove(control.ours(self._config) & {units.service_name(self._config, name)})
        super().forget(name)

    def last_words(self, name: str) -> str:
        at, told = self._last_words.get(name, (float("-inf"), ""))
        if time.monotonic() - at > LAST_WORDS_INTERVAL:
            own = f"_SYSTEMD_UNIT={units.service_name(self._config, name)}"  # without what systemd says of it
            argv = ["journalctl", own, "--lines=3", "--output=cat", "--quiet"]
            done = subprocess.run(argv, capture_output=True, text=True, errors="replace", check=False)
            told = as_one_line(done.stdout)
            self._last_words[name] = (time.monotonic(), told)
        return told

    def _end_manager(self) -> None:
        control.remove(control.ours(self._config) - {units.agent_name(self._config)})

    def _rendered(self, services: Iterable[Service], sockets: Iterable[Socket]) -> Mapping[str, str]:
        config, services = self._config, tuple(services)
        found = {units.slice_name(config): units.render_workers_slice(config)}
        for socket in sockets:
            found[units.socket_name(config, socket.name)] = units.render_socket(socket, config)
            found[units.anchor_name(config, socket.name)] = units.render_anchor(socket, config)
        for service in services:
            found[units.service_name(config, service.name)] = units.render_service(
                service, config, self._wrapper, services
            )
        return found

    def _listens_elsewhere(self, socket: Socket) -> bool:
        """Whether the unit that is there has another address. One that only reads otherwise is left open."""
        path = control.FOLDER / units.socket_name(self._config, socket.name)
        listens = f"ListenStream={units.address(socket)}\n"
        return path.exists() and listens not in path.read_text("utf-8", errors="replace")

    def _stop_changed(self, changed: set[str], moved: set[str], waiting: Iterable[Service]) -> None:
        """Stop what must be started anew to be as it is wanted: sockets that moved, with the wrappers that wait to
        accept on them or read otherwise now. Services that run are restarted by who decides."""
        stopped = [
            units.service_name(self._config, each.name)
            for each in waiting
            if moved.intersection(each.sockets) or units.service_name(self._config, each.name) in changed
        ]
        for name in moved:
            stopped += [units.anchor_name(self._config, name), units.socket_name(self._config, name)]
        if stopped:
            control.systemctl("stop", *stopped)

    def _start(self, services: Iterable[Service], sockets: Sequence[Socket]) -> None:
        """Start sockets, what keeps them, and the wrappers of all services that no taken port stands in the way of."""
        closed = {each.name: each for each in sockets if not self._is_held(each)}
        taken = {name: fault for name, each in closed.items() if (fault := reason_taken(each.host, each.port))}
        held = [each.name for each in sockets if each.name not in taken]
        if held:
            control.systemctl("start", *(units.socket_name(self._config, name) for name in held))
        self._obstacles = {
            service.name: taken[name] for service in services for name in service.sockets if name in taken
        }
        wanted = [units.anchor_name(self._config, name) for name in held]
        wanted += [units.service_name(self._config, each.name) for each in services if each.name not in self._obstacles]
        if wanted:
            control.systemctl("start", "--no-block", *wanted)

    def _is_held(self, socket: Socket) -> bool:
        name = units.socket_name(self._config, socket.name)
        return control.systemctl("is-active", name, may_fail=True).strip() == "active"
