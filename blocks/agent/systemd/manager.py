"""systemd as the service manager, on a VM. Renders units; talks to systemctl as little as it can."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from .. import processes
from ..config import AgentConfig, Layout
from ..definitions import Wanted, service_definition
from ..files import ensure_file
from ..planning import ServiceProcess
from ..records import read_data, write_data
from ..service_manager import ServiceManagerFailed, stop_levels
from ..spec import Service, Socket

UNIT_FOLDER = Path("/etc/systemd/system")
PREFIX = "selfhost-"
"""Start of the name of every unit that is ours; others are never touched."""


def render_socket(socket: Socket, services: Iterable[Service]) -> str:
    """A `.socket` unit. It stays open whether or not a service is there, and starts none by itself alone."""
    host = f"[{socket.host}]" if ":" in socket.host else socket.host
    users = [unit_name(each.name) for each in services if socket.name in each.sockets]
    return _unit(
        {
            "Unit": [("Description", f"Held socket {socket.name}")],
            "Socket": [
                ("ListenStream", f"{host}:{socket.port}"),
                ("Backlog", str(socket.backlog)),
                ("FileDescriptorName", socket.name),
                *(("Service", users[0]) for _ in users[:1]),
            ],
            "Install": [("WantedBy", "sockets.target")],
        }
    )


def render_service(
    service: Service, config: AgentConfig, wrapper: Sequence[str], others: Iterable[Service] = ()
) -> str:
    """A `.service` unit that runs the exec wrapper; no secret is in it.

    It is ordered after those of the `others` that outlive it: a shutdown of the machine ends units in reverse.
    """
    command = [*wrapper, "exec", config.home, "unit", service.name]
    credentials = sorted(set(service.secrets.values()))
    body = [
        ("Type", "exec"),
        ("ExecStart", " ".join(map(_quote, command))),
        ("Restart", "always"),
        ("RestartSec", "250ms"),
        *(each for each in _unprivileged(service.user) if service.user),
        ("WorkingDirectory", service.cwd),
        ("UMask", "0077"),
        ("LoadCredential", f"definition:{config.home}/run/services/{service.name}.json"),
        *(("LoadCredential", f"{name}:{config.secrets}/{name}") for name in credentials),
        *(("Sockets", socket_unit_name(name)) for name in service.sockets),
        # The wrapper leaves sockets non-blocking; see there.
        *(("NonBlocking", "true") for _ in range(bool(service.sockets))),
        ("KillSignal", service.stop_signal),
        ("TimeoutStopSec", f"{service.stop_timeout:g}"),
        ("StandardOutput", f"append:{config.home}/logs/{service.name}.log"),
        ("StandardError", "inherit"),
    ]
    outlived = [each.name for each in others if each.stop_level > service.stop_level]
    needs = sorted({unit_name(each) for each in (*service.after, *outlived)})
    head = [
        ("Description", f"{service.name} {service.version}".strip()),
        *(("After", each) for each in needs),
        ("StartLimitIntervalSec", "0"),
    ]
    return _unit({"Unit": head, "Service": body})


def _unprivileged(user: str) -> list[tuple[str, str]]:
    """What the exec wrapper does where it changes the user itself."""
    return [("User", user), ("NoNewPrivileges", "true"), ("CapabilityBoundingSet", "")]


def unit_name(service: str) -> str:
    return f"{PREFIX}{service}.service"


def socket_unit_name(socket: str) -> str:
    return f"{PREFIX}{socket}.socket"


def _unit(sections: dict[str, list[tuple[str, str]]]) -> str:
    blocks = ["\n".join([f"[{name}]", *(f"{key}={value}" for key, value in body)]) for name, body in sections.items()]
    return "\n\n".join(blocks) + "\n"


def _quote(word: str) -> str:
    """Quote for ExecStart, where `%` and `$` are expanded."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"' if escaped != word or " " in word else word


class SystemdManager:
    """`ServiceManager` over the systemd of this host. Its own view of a unit is the truth about processes."""

    def __init__(self, config: AgentConfig, layout: Layout, wrapper: Sequence[str]) -> None:
        self._config = config
        self._layout = layout
        self._wrapper = tuple(wrapper)

    def hold(self, services: Sequence[Service], sockets: Sequence[Socket], running: frozenset[str]) -> bool:
        del running  # systemd leaves a running unit as it is until it is started again.
        units = {socket_unit_name(each.name): render_socket(each, services) for each in sockets}
        units |= {
            unit_name(each.name): render_service(each, self._config, self._wrapper, services) for each in services
        }
        unwanted = [path for path in UNIT_FOLDER.glob(f"{PREFIX}*.socket") if path.name not in units]
        changed = [ensure_file(UNIT_FOLDER / name, text.encode(), 0o644) for name, text in units.items()]
        if unwanted:
            _systemctl("stop", *(path.name for path in unwanted))
            for path in unwanted:
                path.unlink()
        if any(changed) or unwanted:
            _systemctl("daemon-reload")
        if sockets:
            _systemctl("start", *(socket_unit_name(each.name) for each in sockets))
        return any(changed) or bool(unwanted)

    def is_running(self) -> bool:
        return True

    def obstacles(self) -> dict[str, str]:
        return {}

    def known(self) -> dict[str, dict[str, Any]]:
        return {path.stem: read_data(str(path)) for path in sorted(self._layout.services.glob("*.json"))}

    def process(self, name: str) -> ServiceProcess | None:
        shown = _systemctl("show", "--property=MainPID,NRestarts", unit_name(name))
        values = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
        try:
            record = processes.record_of(int(values.get("MainPID", "0")))
        except ProcessLookupError:
            return None
        started = read_data(str(self._layout.record(name)))
        return ServiceProcess(
            record=record,
            digest=str(started.get("digest", "")),
            files_digest=str(started.get("files_digest", "")),
            held=False,
            failures=int(values.get("NRestarts", "0")),
            started=float(started.get("started", 0.0)),
        )

    def start(self, wanted: Wanted) -> None:
        name = wanted.service.name
        level = {"stop_level": wanted.service.stop_level}
        write_data(str(self._layout.definition(name)), {**service_definition(wanted, self._config), **level})
        if self.process(name) is None:
            self._note_started(wanted)
            _systemctl("start", "--no-block", unit_name(name))

    def keep_down(self, service: Service) -> None:
        definition = {**self._definition(service.name), "go": False, "stop_level": service.stop_level}
        write_data(str(self._layout.definition(service.name)), definition)

    def stop(self, name: str) -> None:
        if self._definition(name).get("go", True) or not self.is_stopping(name):
            write_data(str(self._layout.definition(name)), {**self._definition(name), "go": False})
            _systemctl("stop", "--no-block", unit_name(name))

    def is_stopping(self, name: str) -> bool:
        return "deactivating" in _systemctl("show", "--property=ActiveState", unit_name(name))

    def reload(self, wanted: Wanted, process: ServiceProcess) -> None:
        processes.send(process.record, signal.Signals[wanted.service.reload_signal])
        self._note_started(wanted)

    def forget(self, name: str) -> None:
        for path in (UNIT_FOLDER / unit_name(name), self._layout.definition(name), self._layout.record(name)):
            path.unlink(missing_ok=True)
        _systemctl("daemon-reload")

    def stop_all(self) -> None:
        known = self.known()
        for level in stop_levels(known):
            _systemctl("stop", *map(unit_name, level))
        held = [path.name for path in UNIT_FOLDER.glob(f"{PREFIX}*.socket")]
        if held:
            _systemctl("stop", *held)

    def _definition(self, name: str) -> dict[str, Any]:
        return read_data(str(self._layout.definition(name)))

    def _note_started(self, wanted: Wanted) -> None:
        noted = {"digest": wanted.digest, "files_digest": wanted.files_digest, "started": time.time()}
        write_data(str(self._layout.record(wanted.service.name)), noted)


def _systemctl(*arguments: str) -> str:
    """Run systemctl; returns what it prints.

    Raises:
        ServiceManagerFailed: it is not there, or says no.
    """
    try:
        done = subprocess.run(["systemctl", *arguments], capture_output=True, text=True, check=False, timeout=90)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ServiceManagerFailed(f"systemctl {arguments[0]}: {error}") from error
    if done.returncode != 0:
        raise ServiceManagerFailed(f"systemctl {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout
