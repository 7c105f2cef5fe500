"""This machine: a home folder converged by the host agent, through Circus or systemd."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from blocks.agent import processes
from blocks.agent.config import AgentConfig, on_vm, unit_names
from blocks.agent.files import make_folders, write_atomically
from blocks.agent.spec import HostStatus, to_json
from blocks.errors import Blocked
from blocks.host import home as home_folder
from blocks.host import service_manager, verbs
from blocks.host.bundle import build_agent
from blocks.host.home import HOME_VARIABLE, Home
from blocks.host.host import Host
from blocks.local.folder import Folder
from blocks.local.users import FormerUsers, Users
from blocks.machine import Machine
from blocks.resource import Attributes, Change, Resource


@dataclass(frozen=True)
class LocalMachine(Machine):
    """The machine this runs on."""

    root: Path
    """The stack's home folder."""
    stack: str = ""
    """Name of the stack; it and the fields below may be left out where nothing is made, only run or asked."""
    circus_python: str = ""
    """Interpreter which has Circus, the service manager."""
    release_python: str = ""
    """Interpreter of the server's release, which has this project."""
    system_user: str = ""
    """System user of our own PostgreSQL; empty for the one who runs us."""
    service_users: Mapping[str, str] = field(default_factory=dict)
    """System user of each service that has one of its own."""

    def host(self) -> Host:
        home = Home(self.root)
        if home.bucket is not None:  # a VM's is written once, as it settles
            return Host(home, service_manager.config(home) or on_vm(self.root, self.stack, home.bucket))
        store = "" if home.store == home.root / "store" else str(home.store)
        return Host(home, AgentConfig(home=str(self.root), store=store, **self._service_manager(home)))

    def _service_manager(self, home: Home) -> dict[str, Any]:
        if service_manager.chosen(home) == "systemd":
            return {"manager": "systemd", "units": unit_names(self.stack)}
        return {"manager": "circus", "circus_python": self.circus_python}

    def on_host(self) -> list[Resource]:
        host = self.host()
        state, command = Folder("state folder", host.home.state, 0o711), Command(host.home, self.release_python)
        return [HomeFolder(host.home, self.stack), *self._user_resources(host.home), state, HostAgent(host), command]

    def _user_resources(self, home: Home) -> list[Resource]:
        if not self.system_user:
            return []
        names, whose = tuple(self.service_users.values()), (home, self.stack)
        return [
            Users("system user", (self.system_user,), *whose, needs=("home",)),
            Users("users of the services", names, *whose, needs=("system user",)),
            FormerUsers((self.system_user, *names), *whose),
        ]

    def users(self) -> Mapping[str, str]:
        return self.service_users

    def run(self, verb: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        return verbs.carry_out(self.root, verb, arguments)

    def observe(self) -> HostStatus | None:
        return self.host().observe()

    def start(self) -> None:
        Host(Home(self.root)).start()

    def stop(self) -> None:
        Host(Home(self.root)).stop()


class HomeFolder(Resource):
    """The home folder with its ownership mark."""

    name = "home"

    def __init__(self, home: Home, stack: str) -> None:
        self._home, self._stack = home, stack

    def find(self) -> Attributes | None:
        owner = self._home.owner()
        return None if owner is None else {"stack": owner}

    def want(self) -> Attributes:
        return {"stack": self._stack}

    def require_ours(self, actual: Attributes) -> None:
        if actual["stack"] != self._stack:
            raise Blocked(f"{self._home.root} belongs to stack {actual['stack']!r}", "choose another --home")

    def apply(self, actual: Attributes | None, change: Change) -> None:
        home_folder.claim(self._home, self._stack)

    def delete(self) -> None:
        home_folder.remove(self._home, self._stack)


class HostAgent(Resource):
    """The host agent's archive and its configuration, and that it runs."""

    name = "host agent"

    def __init__(self, host: Host) -> None:
        self._host = host
        store = () if host.home.bucket else ("object store",)  # a bucket stands elsewhere, and is there before the host
        self.needs = ("home", *store, "state folder")
        self._archive, self._config = host.home.agent / "agent.pyz", host.home.agent / "config.json"

    def find(self) -> Attributes | None:
        if not self._archive.exists() or not self._config.exists():
            return None
        return {
            "uv": (self._host.home.agent / "uv").exists(),
            "archive": _digest(self._archive.read_bytes()),
            "config": self._config.read_text("utf-8", errors="replace"),
            "running": processes.is_alive(self._host.daemon()),
        }

    def want(self) -> Attributes:
        config = to_json(self._host.agent)
        return {"uv": True, "archive": _digest(build_agent()), "config": config, "running": True}

    def apply(self, actual: Attributes | None, change: Change) -> None:
        self._host.renew_agent()

    def delete(self) -> None:
        self._host.stop()


class Command(Resource):
    """`bin/selfhost` in the home: the command line for this stack, wherever the checkout is that made it."""

    name = "command"
    needs = ("home",)

    def __init__(self, home: Home, python: str) -> None:
        self._path = home.root / "bin/selfhost"
        self._text = f"""\
#!/bin/sh
# Written by a bootstrap: the command line of the release this stack runs.
export {HOME_VARIABLE}="{home.root}"
exec "{python}" -P -m flows.cli "$@"
"""

    def find(self) -> Attributes | None:
        return {"text": self._path.read_text("utf-8")} if self._path.exists() else None

    def want(self) -> Attributes:
        return {"text": self._text}

    def apply(self, actual: Attributes | None, change: Change) -> None:
        make_folders(self._path.parent)
        write_atomically(self._path, self._text.encode(), 0o755)

    def delete(self) -> None:
        self._path.unlink()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]
