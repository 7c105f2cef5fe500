"""What a host should run (`HostSpec`) and what it says of itself (`HostStatus`), as frozen data.

The one definition for both sides: flows build a `HostSpec` from it, the host agent reads it back. Plain
dataclasses, because the agent has nothing but the standard library. On the wire both are JSON objects with
exactly these keys; an unknown or missing key is refused with its path.
"""

from __future__ import annotations

import dataclasses
import json
import typing
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar


class InvalidSpec(ValueError):
    """The JSON is not a HostSpec or HostStatus. The message starts with the path of the offending key."""


@dataclass(frozen=True)
class Artifact:
    """Bytes in the stack's object store, addressed by content."""

    name: str
    """File name the bytes get on the host, such as `prefect_selfhost-0.1.0-py3-none-any.whl`."""
    sha256: str
    """64 hexadecimal digits; the store key is `sha256/<digits>`."""


@dataclass(frozen=True)
class Release:
    """One pinned, installable set: becomes the virtual environment `releases/<id>/`."""

    id: str
    """Prefect version and digest of artifacts and platform, such as `3.8.8-1f0c2d3e4a5b`; names the folder."""
    lock: Artifact
    """Requirements with hashes; installed with `--require-hashes`."""
    wheels: tuple[Artifact, ...] = ()
    """Our own wheel and, where the host has no way out, all others; installed with `--no-deps`."""
    smoke: tuple[str, ...] = ()
    """Modules which must import before the release counts as installed."""
    versions: dict[str, str] = field(default_factory=dict)
    """Package → its version, of the programs in it which a status names."""
    untrusted: bool = False
    """Whether there are packages in it which anybody may have chosen: root never executes anything of it."""


@dataclass(frozen=True)
class Socket:
    """A listening TCP socket which the service manager holds; servers come and go on it."""

    name: str
    host: str
    port: int
    backlog: int = 2048


@dataclass(frozen=True)
class File:
    """A file the agent renders. `${secret:NAME}` in the content is replaced by that secret's value."""

    path: str
    """Absolute path."""
    content: str
    mode: int = 0o600
    user: str = ""
    """Owner; empty for the user the agent runs as."""


@dataclass(frozen=True)
class Folder:
    """A folder the agent makes; what is in it belongs to the programs which use it."""

    path: str
    """Absolute path."""
    mode: int = 0o700
    user: str = ""
    """Owner, of all that is in it too when it gets another one; empty for the user the agent runs as."""


@dataclass(frozen=True)
class Health:
    """How to see that a service is ready. Tried every `interval` seconds until `timeout` has passed."""

    kind: Literal["none", "http", "tcp"] = "none"
    """`none`: ready as soon as it has stayed up for one interval."""
    socket: str = ""
    """Unix socket to speak to (a server slot's own); empty for host and port."""
    host: str = "127.0.0.1"
    port: int = 0
    path: str = "/"
    interval: float = 0.25
    timeout: float = 120.0


@dataclass(frozen=True)
class Service:
    """A long-running program under the service manager."""

    name: str
    argv: tuple[str, ...]
    version: str = ""
    """What it runs, for people; a server's own report (`ready_file`) wins over it."""
    cwd: str = "/"
    user: str = ""
    env: dict[str, str] = field(default_factory=dict)
    """The whole environment: nothing is inherited but PATH, HOME, LANG and TZ."""
    secrets: dict[str, str] = field(default_factory=dict)
    """Environment variable → name of the secret it gets, set by the exec wrapper only."""
    sockets: tuple[str, ...] = ()
    """Held sockets it accepts on, handed over as systemd does (LISTEN_FDS, from descriptor 3)."""
    files: tuple[str, ...] = ()
    """Paths of the `File`s it reads: a changed one restarts (or reloads) it."""
    health: Health = Health()
    restart: Literal["always", "when-idle"] = "always"
    """What a changed definition does: restart at once, or once it has no child process (a worker)."""
    reload_signal: str = ""
    """Signal which makes it read changed files without a restart, such as SIGHUP for nginx; or empty."""
    stop_signal: str = "SIGTERM"
    stop_timeout: float = 30.0
    """Seconds from the stop signal to SIGKILL."""
    ready_file: str = ""
    """JSON file it writes once ready, keys `pid` and `version`; or empty."""
    after: tuple[str, ...] = ()
    """Services that must be ready before it starts."""
    stop_level: int = 0
    """When all are stopped, those of a level are ended at once, and only then those of the next higher one."""


@dataclass(frozen=True)
class Job:
    """A one-shot program, run once for each value of `run`; its exit status and output's tail are reported."""

    name: str
    argv: tuple[str, ...]
    run: str
    """Identity of the run: the same value is never run twice, a new value runs again."""
    cwd: str = "/"
    user: str = ""
    env: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    after: tuple[str, ...] = ()
    """Services that must be ready before it runs."""
    timeout: float = 600.0


@dataclass(frozen=True)
class HostSpec:
    """Everything that should be on one host."""

    stack: str
    generation: int
    releases: tuple[Release, ...] = ()
    sockets: tuple[Socket, ...] = ()
    folders: tuple[Folder, ...] = ()
    files: tuple[File, ...] = ()
    services: tuple[Service, ...] = ()
    jobs: tuple[Job, ...] = ()


ServiceState = Literal["pending", "starting", "ready", "unready", "waiting-idle", "failed", "stopped"]


@dataclass(frozen=True)
class ServiceStatus:
    name: str
    state: ServiceState
    version: str = ""
    pid: int = 0
    """0 where no process is running."""
    since: float = 0.0
    """When it entered this state, Unix time."""
    message: str = ""
    """For a person: why it is not ready, or the last lines of its log."""
    clients: dict[str, float] = field(default_factory=dict)
    """What a server's ready file says of its callers: version → when one of it called last, Unix time."""


@dataclass(frozen=True)
class JobStatus:
    name: str
    run: str
    state: Literal["running", "succeeded", "failed"]
    exit_status: int = -1
    output: str = ""
    """The last 4 KiB of what it printed."""
    started: float = 0.0
    ended: float = 0.0


@dataclass(frozen=True)
class Condition:
    """One thing that is or is not so, in the form Kubernetes made the standard."""

    type: str
    """`Converged`, `ReleasesInstalled`, `ServicesReady`, `JobsDone`."""
    status: bool
    reason: str
    """One CamelCase word for programs."""
    message: str
    """A sentence for people, with the hint."""
    since: float = 0.0


@dataclass(frozen=True)
class HostStatus:
    """What is on the host now."""

    observed_generation: int
    """Generation of the last spec taken up; work on it may be under way (see `Converged`)."""
    agent_sha256: str = ""
    agent_pid: int = 0
    time: float = 0.0
    """When this was written, Unix time; renewed every 30 s, so an older one tells of a dead agent."""
    releases: tuple[str, ...] = ()
    """Ids of the releases installed whole."""
    services: tuple[ServiceStatus, ...] = ()
    jobs: tuple[JobStatus, ...] = ()
    conditions: tuple[Condition, ...] = ()


FORMER_KEYS = {"Release": frozenset({"python", "uv"})}
"""Keys that what was written before December 2026 has: paths of whoever had made a release. They are passed over."""
T = TypeVar("T")


def to_json(value: Any) -> str:
    """Serialise a spec or status; keys are sorted, so equal values give equal text."""
    return json.dumps(dataclasses.asdict(value), sort_keys=True, indent=1)


def from_json(kind: type[T], text: str) -> T:
    """Read a `kind` (HostSpec, HostStatus, …) from JSON text.

    Raises:
        InvalidSpec: not JSON, an unknown or missing key, or a wrong type; the message names the path.
    """
    try:
        data = json.loads(text)
    except ValueError as error:
        raise InvalidSpec(f"not JSON: {error}") from error
    value: T = _build(kind, data, "$")
    return value


def _build(kind: Any, data: Any, path: str) -> Any:
    origin = typing.get_origin(kind)
    if dataclasses.is_dataclass(kind):
        return _build_dataclass(kind, data, path)
    if origin is tuple:
        _require(isinstance(data, list), path, "a list", data)
        item = typing.get_args(kind)[0]
        return tuple(_build(item, each, f"{path}[{index}]") for index, each in enumerate(data))
    if origin is dict:
        _require(isinstance(data, dict), path, "an object", data)
        item = typing.get_args(kind)[1]
        return {str(key): _build(item, each, f"{path}.{key}") for key, each in data.items()}
    if origin is Literal:
        _require(data in typing.get_args(kind), path, f"one of {typing.get_args(kind)}", data)
        return data
    accepted = (int, float) if kind is float else kind
    is_bool_for_number = isinstance(data, bool) and kind is not bool
    _require(isinstance(data, accepted) and not is_bool_for_number, path, kind.__name__, data)
    return data


def _build_dataclass(kind: Any, data: Any, path: str) -> Any:
    _require(isinstance(data, dict), path, "an object", data)
    hints = typing.get_type_hints(kind)
    data = {key: each for key, each in data.items() if key not in FORMER_KEYS.get(kind.__name__, ())}
    unknown = sorted(set(data) - set(hints))
    if unknown:
        raise InvalidSpec(f"{path}.{unknown[0]}: unknown key")
    missing = [
        each.name
        for each in dataclasses.fields(kind)
        if each.name not in data and each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise InvalidSpec(f"{path}.{missing[0]}: missing")
    return kind(**{key: _build(hints[key], each, f"{path}.{key}") for key, each in data.items()})


def _require(holds: bool, path: str, expected: str, found: Any) -> None:
    if not holds:
        raise InvalidSpec(f"{path}: expected {expected}, found {type(found).__name__} {found!r:.40}")
