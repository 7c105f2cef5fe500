"""What the types of a HostSpec cannot say: names are unique, references exist, nothing waits for itself."""

from __future__ import annotations

import re
import signal
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from .spec import HostSpec, InvalidSpec, Job, Release, Service, from_json

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_RELEASE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,127}")
_RESERVED = frozenset({"circusd", "circus", "agent"})


def read_spec(text: str) -> HostSpec:
    """Read a HostSpec that can be carried out.

    Raises:
        InvalidSpec: it cannot; the message starts with the path of what is wrong.
    """
    spec = from_json(HostSpec, text)
    for fault in faults(spec):
        raise InvalidSpec(fault)
    return spec


def faults(spec: HostSpec) -> Iterator[str]:
    """Everything wrong with a spec, as `path: what`."""
    yield from _unique("$.services", (each.name for each in spec.services))
    yield from _unique("$.jobs", (each.name for each in spec.jobs))
    yield from _unique("$.sockets", (each.name for each in spec.sockets))
    yield from _unique("$.files", (each.path for each in spec.files))
    yield from _unique("$.folders", (each.path for each in spec.folders))
    yield from _unique("$.releases", (each.id for each in spec.releases))
    for index, release in enumerate(spec.releases):
        yield from _release_faults(release, f"$.releases[{index}]")
    for index, socket in enumerate(spec.sockets):
        yield from _port_faults(socket.name, socket.port, f"$.sockets[{index}]")
    yield from _relative("$.folders", (each.path for each in spec.folders))
    yield from _relative("$.files", (each.path for each in spec.files))
    for index, service in enumerate(spec.services):
        yield from _service_faults(service, spec, f"$.services[{index}]")
    for index, job in enumerate(spec.jobs):
        yield from _program_faults(job, spec, f"$.jobs[{index}]")
    yield from _cycle(spec)


def _relative(place: str, paths: Iterable[str]) -> Iterator[str]:
    for index, path in enumerate(paths):
        if not path.startswith("/"):
            yield f"{place}[{index}].path: expected an absolute path, found {path!r}"


def _unique(path: str, names: Iterable[str]) -> Iterator[str]:
    for name, count in Counter(names).items():
        if count > 1:
            yield f"{path}: {name!r} is there {count} times"


def _release_faults(release: Release, path: str) -> Iterator[str]:
    if not _RELEASE_ID.fullmatch(release.id):
        yield f"{path}.id: {release.id!r} cannot name a folder"
    for artifact in (release.lock, *release.wheels):
        if not _SHA256.fullmatch(artifact.sha256):
            yield f"{path}: sha256 of {artifact.name!r} is not 64 hexadecimal digits"
        if "/" in artifact.name or artifact.name in ("", ".", ".."):
            yield f"{path}: {artifact.name!r} cannot name a file"


def _port_faults(name: str, port: int, path: str) -> Iterator[str]:
    if not _NAME.fullmatch(name):
        yield f"{path}.name: {name!r} is not a name (lower-case letters, digits, `-`, `_`, `.`)"
    if not 1 <= port <= 65535:
        yield f"{path}.port: {port} is not between 1 and 65535"


def _service_faults(service: Service, spec: HostSpec, path: str) -> Iterator[str]:
    yield from _program_faults(service, spec, path)
    yield from _unknown(service.sockets, {each.name for each in spec.sockets}, f"{path}.sockets", "socket")
    yield from _unknown(service.files, {each.path for each in spec.files}, f"{path}.files", "file")
    for key, name in (("stop_signal", service.stop_signal), ("reload_signal", service.reload_signal)):
        if name not in signal.Signals.__members__ and (name or key == "stop_signal"):
            yield f"{path}.{key}: {name!r} is not a signal such as SIGTERM"
    if service.name in _RESERVED:
        yield f"{path}.name: {service.name!r} is the agent's own"


def _program_faults(program: Service | Job, spec: HostSpec, path: str) -> Iterator[str]:
    if not _NAME.fullmatch(program.name):
        yield f"{path}.name: {program.name!r} is not a name (lower-case letters, digits, `-`, `_`, `.`)"
    if not program.argv:
        yield f"{path}.argv: empty"
    for variable, secret in program.secrets.items():
        if "/" in secret or secret in ("", ".", ".."):
            yield f"{path}.secrets.{variable}: {secret!r} cannot name a secret"
    yield from _unknown(program.after, {each.name for each in spec.services}, f"{path}.after", "service")


def _unknown(names: Iterable[str], known: set[str], path: str, kind: str) -> Iterator[str]:
    for name in names:
        if name not in known:
            yield f"{path}: there is no {kind} {name!r}"


def _cycle(spec: HostSpec) -> Iterator[str]:
    if sum(map(len, levels_of({each.name: each.after for each in spec.services}))) < len(spec.services):
        yield "$.services: some wait for each other (`after` goes in a circle)"


def levels_of(after: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """Names in the order they can start: each level needs only levels before it.

    `after` has what each name needs; needs that are no names are taken as met. Names in a circle, or behind
    one, are left out.
    """
    waiting = dict(after)
    levels: list[list[str]] = []
    while level := [name for name, needs in waiting.items() if not set(needs) & waiting.keys()]:
        levels.append(level)
        for name in level:
            del waiting[name]
    return levels
