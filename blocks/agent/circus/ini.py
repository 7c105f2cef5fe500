"""The configuration of circusd as data: rendered, compared, changed in steps. Pure."""

from __future__ import annotations

import configparser
import io
import os
import shlex
from collections.abc import Callable, Mapping, Sequence

from ..config import UNIX_PATH_LIMIT, Layout
from ..service_manager import ServiceManagerFailed
from ..spec import Service, Socket

CHECK_DELAY = 0.5
"""Seconds between two looks of circusd for dead processes; it does not listen to SIGCHLD. A look reads ten files."""

LOG_BYTES = 10_000_000
LOG_BACKUPS = 3

Sections = dict[str, dict[str, str]]
"""An ini file: options by section."""


def endpoint(layout: Layout, name: str) -> str:
    """The `ipc://` address of a control socket.

    Raises:
        ServiceManagerFailed: the home's path is too long for a unix socket.
    """
    path = layout.run / f"circus.{name}"
    if len(os.fsencode(path)) > UNIX_PATH_LIMIT:
        raise ServiceManagerFailed(
            f"{path} is longer than the {UNIX_PATH_LIMIT} characters a unix socket can have: use a shorter home"
        )
    return f"ipc://{path}"


def render_sections(
    layout: Layout, wrapper: Sequence[str], services: Sequence[Service], listening: Sequence[Socket]
) -> Sections:
    """The configuration of circusd. All keys are always there: its reload sees only changes of value."""
    sections: Sections = {
        "circus": {
            "endpoint": endpoint(layout, "ctl"),
            "pubsub_endpoint": endpoint(layout, "pub"),
            "check_delay": str(CHECK_DELAY),
            "umask": "077",
            "loglevel": "warning",
        }
    }
    for each in listening:
        sections[f"socket:{each.name}"] = {
            "host": each.host,
            "port": str(each.port),
            "family": "AF_INET6" if ":" in each.host else "AF_INET",
            "backlog": str(each.backlog),
        }
    for service in services:
        sections[f"watcher:{service.name}"] = _watcher(layout, wrapper, service)
    return sections


def _watcher(layout: Layout, wrapper: Sequence[str], service: Service) -> dict[str, str]:
    command = [*wrapper, "exec", str(layout.home), "service", service.name]
    handed = [f"{name}=$(circus.sockets.{name})" for name in service.sockets]
    return {
        "cmd": " ".join([shlex.join(command), *handed]),
        "working_dir": "/",
        "numprocesses": "1",
        "copy_env": "false",
        "use_sockets": str(bool(service.sockets)).lower(),
        "max_retry": "-1",
        "stop_signal": service.stop_signal,
        "graceful_timeout": f"{service.stop_timeout:g}",
        "stdout_stream.class": "FileStream",
        "stdout_stream.filename": str(layout.log(service.name)),
        "stdout_stream.max_bytes": str(LOG_BYTES),
        "stdout_stream.backup_count": str(LOG_BACKUPS),
    }


def render_ini(sections: Sections) -> str:
    parser = _parser()
    parser.read_dict(sections)
    text = io.StringIO()
    parser.write(text)
    return text.getvalue()


def parse_ini(text: str) -> Sections:
    parser = _parser()
    parser.read_string(text)
    return {name: dict(parser[name]) for name in parser.sections()}


def known_sections(content: bytes) -> Sections:
    """The sections of what we once rendered; none where it is damaged, so that all is loaded anew."""
    try:
        found = parse_ini(content.decode())
    except (configparser.Error, UnicodeDecodeError):
        return {}
    return found if all(map(_is_whole, found, found.values())) else {}


def _is_whole(name: str, section: Mapping[str, str]) -> bool:
    needed = {"socket": {"host", "port"}, "watcher": {"cmd"}}.get(name.partition(":")[0], set())
    return needed <= section.keys()


def _parser() -> configparser.RawConfigParser:
    return configparser.RawConfigParser(delimiters=("=",), comment_prefixes=("#",))


def keep_running(loaded: Sections, wanted: Sections, running: frozenset[str]) -> Sections:
    """`wanted`, but running services keep their section, and the sockets they accept on, as loaded.

    So does circusd itself, which ends all of them where its own section changes: it takes that up at its next start.
    """
    kept = {
        name: section
        for name, section in loaded.items()
        if name.startswith("watcher:") and name.partition(":")[2] in running
    }
    sockets_kept = {
        name: section for name, section in loaded.items() if any(_uses(watcher, name) for watcher in kept.values())
    }
    circusd = {name: section for name, section in loaded.items() if name == "circus" and kept}
    return {**wanted, **circusd, **sockets_kept, **kept}


def reload_steps(loaded: Sections, wanted: Sections) -> list[Sections]:
    """The configurations to load one after the other to get from `loaded` to `wanted`.

    circusd fails half-way when a socket that is removed or changed is named by any watcher it has, so those
    watchers go first.
    """
    if loaded == wanted:
        return []
    gone = [name for name in loaded if name.startswith("socket:") and loaded[name] != wanted.get(name)]
    affected = [name for name in loaded if any(_uses(loaded[name], each) for each in gone)]
    first = {name: section for name, section in loaded.items() if name not in affected}
    return [first, wanted] if affected and first != wanted else [wanted]


def _uses(watcher: Mapping[str, str], section: str) -> bool:
    kind, _, name = section.partition(":")
    return kind == "socket" and f"$(circus.sockets.{name})" in watcher.get("cmd", "")


def without_taken_ports(
    wanted: Sections, loaded: Sections, taken: Callable[[str, int], str]
) -> tuple[Sections, dict[str, str]]:
    """`wanted` without the sockets that cannot be bound and the watchers that need them.

    circusd exits, or stops half-way, over one taken port. `taken(host, port)` says why a port cannot be had,
    or nothing; sockets of `loaded` are held already. Also returns the reason by service name.
    """
    reasons = {
        name: taken(section["host"], int(section["port"]))
        for name, section in wanted.items()
        if name.startswith("socket:") and loaded.get(name) != section
    }
    obstacles = {
        watcher: reason
        for watcher in wanted
        for name, reason in reasons.items()
        if reason and _uses(wanted[watcher], name)
    }
    left_out = {name for name, reason in reasons.items() if reason} | obstacles.keys()
    return (
        {name: section for name, section in wanted.items() if name not in left_out},
        {name.partition(":")[2]: reason for name, reason in obstacles.items()},
    )
