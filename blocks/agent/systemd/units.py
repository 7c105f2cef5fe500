"""The units of a stack as text. Pure.

Each runs the exec wrapper, which is root until it becomes the service's user (`!` in ExecStart leaves the change to
it): definitions, secrets and records are root's alone. All else that a unit restricts holds for the wrapper, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..config import AgentConfig
from ..spec import Service, Socket

FOLDER = "/etc/systemd/system"

ANCHOR = ".anchor.service"
"""How the names of anchors of sockets end."""

Unit = dict[str, list[tuple[str, str]]]
"""Settings by section; a setting may be there more than once."""

WORKER_MEMORY = "60%"
"""Of the machine's memory, for all flows of users together: the server and PostgreSQL keep the rest."""

_RESTART = [("Restart", "always"), ("RestartSec", "250ms")]
"""At once: a service that keeps ending is held back by the wrapper, which counts."""

Settings = list[tuple[str, str]]

_HARMLESS: Settings = [
    ("LockPersonality", "true"),
    ("ProtectClock", "true"),
    ("ProtectHostname", "true"),
    ("ProtectKernelLogs", "true"),
    ("ProtectKernelModules", "true"),
    ("RestrictRealtime", "true"),
    ("SystemCallArchitectures", "native"),
]
"""All that is taken from the maintenance worker: it changes the stack, makes users, units and releases, and starts
PostgreSQL and temporary servers as other users, so it stays root with all that root may."""

_CONFINED: Settings = [
    *_HARMLESS,
    ("NoNewPrivileges", "true"),
    ("RestrictSUIDSGID", "true"),
    ("RestrictNamespaces", "true"),
    ("RestrictAddressFamilies", "AF_UNIX AF_INET AF_INET6 AF_NETLINK"),  # netlink: names and addresses are asked by it
    ("PrivateDevices", "true"),
    ("ProtectControlGroups", "true"),
    ("ProtectKernelTunables", "true"),
    ("SystemCallErrorNumber", "EPERM"),
]

_KNOWN: Settings = [
    *_CONFINED,
    ("ProtectSystem", "strict"),
    ("MemoryDenyWriteExecute", "true"),
    ("SystemCallFilter", "@system-service"),
    ("SystemCallFilter", "~@obsolete @resources"),
]
"""For programs that are known: server, nginx and PostgreSQL."""

_WRAPPER = "CAP_SETUID CAP_SETGID"
"""For the wrapper alone: gone with its change of user."""

_OF_USERS: Settings = [
    *_CONFINED,
    ("CapabilityBoundingSet", _WRAPPER),
    ("ProtectProc", "invisible"),
    ("ProtectSystem", "full"),  # not strict: where a flow may write is for its user's rights to say
    ("SystemCallFilter", "~@clock @cpu-emulation @module @mount @obsolete @raw-io @reboot @swap"),
    # A flow that takes too much memory ends, and not its worker with all the others.
    ("OOMPolicy", "continue"),
]
"""Workers for users' flows: what those may need (just-in-time code, any system call that is no administrator's) is
left to them."""

_STAYS_ROOT = "CAP_SETUID CAP_SETGID CAP_CHOWN CAP_KILL CAP_DAC_OVERRIDE CAP_NET_BIND_SERVICE"
"""nginx: its master opens ports and logs, and starts, signals and gives folders to processes of another user."""

_AGENT = "CAP_SETUID CAP_SETGID CAP_CHOWN CAP_KILL CAP_DAC_OVERRIDE CAP_FOWNER"
"""The host agent: it gives files away, signals all services, and tries releases as nobody; on a VM it also keeps users
of services from the metadata server, by a rule of routing."""

_OWN_TMP = ("PrivateTmp", "true")
_FOLDERS = {
    _OWN_TMP: ("/tmp/", "/var/tmp/"),
    ("ProtectHome", "true"): ("/home/", "/root/", "/run/user/"),
}
"""What closes which folders to a service."""


def render_agent(config: AgentConfig, wrapper: Sequence[str]) -> str:
    """The host agent's own unit: the one that is enabled, and starts all others."""
    return _text(
        config,
        {
            "Unit": [("Description", f"Host agent of {config.home}"), ("StartLimitIntervalSec", "0")],
            "Service": [
                ("Type", "exec"),
                ("ExecStart", _command([*wrapper, "run", "--home", config.home])),
                ("User", "root"),  # said, so that it has a HOME, where uv keeps its cache
                *_RESTART,
                ("UMask", "0077"),
                *_CONFINED,
                ("CapabilityBoundingSet", f"{_AGENT} CAP_NET_ADMIN" if config.bucket else _AGENT),
                ("ProtectSystem", "full"),  # not strict: files of a spec may lie anywhere, and uv's cache in its HOME
                *(each for each in _apart(config, wrapper[0]) if each == _OWN_TMP),
                ("ReadWritePaths", FOLDER),
                ("SystemCallFilter", "@system-service"),
            ],
            "Install": [("WantedBy", "multi-user.target")],
        },
    )


def render_socket(socket: Socket, config: AgentConfig) -> str:
    """A held socket. What it would start at a connection is its anchor, and that runs always: so connections wait
    where no service accepts them."""
    return _text(
        config,
        {
            "Unit": [("Description", f"Held socket {socket.name}")],
            "Socket": [
                ("ListenStream", address(socket)),
                ("Backlog", str(socket.backlog)),
                ("FileDescriptorName", socket.name),
                ("Service", anchor_name(config, socket.name)),
            ],
        },
    )


def address(socket: Socket) -> str:
    """Where it listens, as systemd writes it."""
    host = f"[{socket.host}]" if ":" in socket.host else socket.host
    return f"{host}:{socket.port}"


def render_anchor(socket: Socket, config: AgentConfig) -> str:
    """What keeps a socket open while no service lives: systemd closes one whose service is not there."""
    return _text(
        config,
        {
            "Unit": [("Description", f"Keeps the socket {socket.name}"), ("StartLimitIntervalSec", "0")],
            "Service": [
                ("Type", "exec"),
                ("ExecStart", "/bin/sleep infinity"),
                ("Sockets", socket_name(config, socket.name)),
                *_RESTART,
                ("DynamicUser", "true"),
                ("CapabilityBoundingSet", ""),
                *_KNOWN,
            ],
        },
    )


def render_workers_slice(config: AgentConfig) -> str:
    """What workers for users' flows share."""
    return _text(
        config,
        {"Unit": [("Description", "Flows of users")], "Slice": [("MemoryMax", WORKER_MEMORY)]},
    )


def render_service(
    service: Service, config: AgentConfig, wrapper: Sequence[str], others: Iterable[Service] = ()
) -> str:
    """A service, as the exec wrapper runs it; no secret is in it.

    It is ordered after those of the `others` that outlive it, and all before the host agent: a shutdown of the machine
    ends units in reverse.
    """
    outlived = [each.name for each in others if each.stop_level > service.stop_level]
    needs = sorted({service_name(config, name) for name in (*service.after, *outlived)})
    return _text(
        config,
        {
            "Unit": [
                ("Description", f"{service.name} {service.version}".strip()),
                *(("After", each) for each in needs),
                ("Before", agent_name(config)),
                ("StartLimitIntervalSec", "0"),
            ],
            "Service": [
                ("Type", "exec"),
                ("ExecStart", "!" + _command([*wrapper, "exec", config.home, "unit", service.name])),
                *_RESTART,
                *(("User", each) for each in (service.user,) if each),
                ("UMask", "0077"),
                *(("Sockets", socket_name(config, name)) for name in service.sockets),
                # The stop signal is for the service; what it has started is ended with it, once it is gone.
                ("KillMode", "mixed"),
                ("KillSignal", service.stop_signal),
                ("TimeoutStopSec", f"{service.stop_timeout:g}"),
                ("LogRateLimitIntervalSec", "0"),
                *_confinement(service, config, wrapper[0]),
            ],
        },
    )


def _confinement(service: Service, config: AgentConfig, python: str) -> Settings:
    is_worker = service.restart == "when-idle"
    if is_worker and not service.user:
        return _HARMLESS
    apart = _apart(config, python)
    if is_worker:
        return [*_OF_USERS, *apart, ("Slice", slice_name(config))]
    own = [("CapabilityBoundingSet", _WRAPPER), ("ProtectProc", "invisible")]
    stays_root = [("CapabilityBoundingSet", _STAYS_ROOT)]
    return [*_KNOWN, *apart, *(own if service.user else stays_root), ("ReadWritePaths", _quote(config.home))]


def _apart(config: AgentConfig, python: str) -> Settings:
    """What closes folders that neither the home nor the interpreter is in."""
    used = (config.home, python)
    return [setting for setting, folders in _FOLDERS.items() if not any(each.startswith(folders) for each in used)]


def agent_name(config: AgentConfig) -> str:
    return service_name(config, "agent")


def service_name(config: AgentConfig, service: str) -> str:
    return f"{config.units}{service}.service"


def socket_name(config: AgentConfig, socket: str) -> str:
    return f"{config.units}{socket}.socket"


def anchor_name(config: AgentConfig, socket: str) -> str:
    return f"{config.units}{socket}{ANCHOR}"


def slice_name(config: AgentConfig) -> str:
    """Of the workers for users' flows. A dash in it would be a slice within slices, which nobody removes."""
    return f"{config.units.replace('-', '_')}workers.slice"


def mark(config: AgentConfig) -> str:
    """The first line of each unit that is ours; others are never touched."""
    return f"# Written by the host agent of {config.home}"


def _text(config: AgentConfig, unit: Unit) -> str:
    blocks = ["\n".join([f"[{name}]", *(f"{key}={value}" for key, value in body)]) for name, body in unit.items()]
    return f"{mark(config)}\n\n" + "\n\n".join(blocks) + "\n"


def _command(words: Sequence[str]) -> str:
    return " ".join(map(_quote, words))


def _quote(word: str) -> str:
    """Quote for a unit file, where `%` and `$` are expanded."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"' if escaped != word or " " in word else word
