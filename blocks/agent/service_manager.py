"""The service manager as the agent sees it: it holds sockets and restarts what dies; the agent decides."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from .definitions import Wanted
from .planning import ServiceProcess
from .spec import Service, Socket


class ServiceManagerFailed(Exception):
    """The service manager does not do what it was told. The message says what and gives the hint."""


class ServiceManager(Protocol):
    """Two forms: `CircusManager` and `SystemdManager`. All methods are idempotent; none waits for a service."""

    def hold(self, services: Sequence[Service], sockets: Sequence[Socket], running: frozenset[str]) -> bool:
        """Make it know these services and no others, with their sockets listening from now on.

        Starts none of them. A service in `running` keeps the form it was started in. Returns whether
        something changed.

        Raises:
            ServiceManagerFailed: it does not run and cannot be started, or refuses.
        """

    def is_running(self) -> bool:
        """Whether it runs at all."""

    def obstacles(self) -> dict[str, str]:
        """Why it cannot hold what a service needs, such as a taken port, by service name."""

    def known(self) -> dict[str, dict[str, Any]]:
        """The definitions of all services it knows, by name, those being removed included."""

    def process(self, name: str) -> ServiceProcess | None:
        """What runs of a service now; None where nothing does."""

    def start(self, wanted: Wanted) -> None:
        """Let the service run, and run again whenever it ends. Nothing happens to one that runs."""

    def keep_down(self, service: Service) -> None:
        """Do not let a service that does not run be started."""

    def stop(self, name: str) -> None:
        """Begin to end the service (its stop signal, SIGKILL after its timeout), or go on with that."""

    def is_stopping(self, name: str) -> bool:
        """Whether a process that was told to end is still there."""

    def reload(self, wanted: Wanted, process: ServiceProcess) -> None:
        """Tell the process to read its files again."""

    def forget(self, name: str) -> None:
        """Drop what is left of a removed service, once nothing of it runs."""

    def last_words(self, name: str) -> str:
        """What a service logged last, as one line; empty where it said nothing."""

    def stop_all(self) -> None:
        """End all services, level by level, then the manager's own part. Waits."""


def stop_levels(known: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """Names of services by their `stop_level`, those that are ended first in front."""
    levels: dict[int, list[str]] = {}
    for name, definition in known.items():
        levels.setdefault(definition.get("stop_level", 0), []).append(name)
    return [levels[level] for level in sorted(levels)]


def reason_taken(host: str, port: int) -> str:
    """Why the port cannot be listened on, or nothing."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return f"cannot listen on {host}:{port}: {error.strerror}"
    return ""
