"""This machine: a home folder converged by the host agent through Circus."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from blocks.agent import processes
from blocks.agent.config import AgentConfig
from blocks.agent.files import make_folders, write_atomically
from blocks.agent.spec import HostSpec, HostStatus, InvalidSpec, from_json, to_json
from blocks.errors import Blocked, Conflict, NotReady
from blocks.host import control
from blocks.host import home as home_folder
from blocks.host.bundle import build_agent
from blocks.host.home import HOME_VARIABLE, Home
from blocks.local.folder import Folder
from blocks.local.users import FormerUsers, Users
from blocks.machine import Machine
from blocks.resource import Attributes, Change, Resource
from blocks.waiting import wait_until

INSTALL_SECONDS = 1800.0
"""Time a new spec gets until its releases are installed: 0.3 s where they are; 450 MB over a slow line otherwise."""


@dataclass(frozen=True)
class LocalMachine(Machine):
    """The machine this runs on. Spec and status travel as files in the home."""

    stack: str
    """Name of the stack."""
    root: Path
    """The stack's home folder."""
    circus_python: str
    """Interpreter which has Circus, the service manager."""
    release_python: str
    """Interpreter of the server's release, which has this project."""
    system_user: str = ""
    """System user of our own PostgreSQL; empty for the one who runs us."""
    service_users: Mapping[str, str] = field(default_factory=dict)
    """System user of each service that has one of its own."""

    def home(self) -> Home:
        return Home(self.root)

    def resources(self) -> list[Resource]:
        state = Folder("state folder", self.home().state, 0o711)
        return [HomeFolder(self.home(), self.stack), *self._user_resources(), state, HostAgent(self), Command(self)]

    def _user_resources(self) -> list[Resource]:
        if not self.system_user:
            return []
        names, whose = tuple(self.service_users.values()), (self.home(), self.stack)
        return [
            Users("system user", (self.system_user,), *whose, needs=("home",)),
            Users("users of the services", names, *whose, needs=("system user",)),
            FormerUsers((self.system_user, *names), *whose),
        ]

    def users(self) -> Mapping[str, str]:
        return self.service_users

    def applied(self) -> HostSpec | None:
        path = self.home().agent / "spec.json"
        try:
            return from_json(HostSpec, path.read_text("utf-8"))
        except FileNotFoundError:
            return None
        except InvalidSpec:
            return None  # damaged; a converge writes it anew, and the agent runs on with its last good one

    def apply(self, spec: HostSpec) -> None:
        applied = self.applied()
        if applied is not None and spec.generation <= applied.generation:
            raise Conflict(f"generation {spec.generation} is not above {applied.generation}", "run the command again")
        write_atomically(self.home().agent / "spec.json", to_json(spec).encode(), 0o600)
        if not processes.is_alive(_daemon(self.home().agent)):
            self.start()  # nothing else would, before a bootstrap
        wait_until(
            lambda: self._look_at(spec.generation),
            f"the host agent taking up generation {spec.generation}",
            timeout=INSTALL_SECONDS,
            every=0.05,
            hint=f"see {self.home().logs / 'agent.log'}",
        )

    def has_taken_up(self, generation: int) -> bool:
        try:
            return self._look_at(generation)
        except (NotReady, Blocked):
            return False

    def _look_at(self, generation: int) -> bool:
        """True once that generation was observed and its releases are installed; raises what is in the way."""
        seen = self.observe()
        if seen is None or seen.observed_generation != generation:
            raise NotReady(f"observed generation {seen.observed_generation if seen else 'none'}")
        installed = next((each for each in seen.conditions if each.type == "ReleasesInstalled"), None)
        if installed is not None and installed.reason == "InstallFailed":
            raise Blocked(installed.message, "the disk may be full, or the index out of reach; run it again")
        if installed is None or not installed.status:
            raise NotReady(installed.message if installed else "no word on releases yet")
        return True

    def observe(self) -> HostStatus | None:
        return control.observe(self.home())

    def free_bytes(self) -> int:
        return shutil.disk_usage(self.root).free

    def start(self) -> None:
        control.start(self.home())

    def stop(self) -> None:
        self.write_agent()  # a damaged archive or config must not keep a stack from being stopped
        control.stop(self.home())

    def write_agent(self) -> None:
        """Put the host agent's archive and configuration in place; idempotent."""
        folder = self.home().agent
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(folder / "agent.pyz", build_agent(), 0o755)
        write_atomically(folder / "config.json", self.agent_config().encode(), 0o600)

    def agent_config(self) -> str:
        """The host agent's configuration, as JSON."""
        return to_json(AgentConfig(home=str(self.root), manager="circus", circus_python=self.circus_python))


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
    needs = ("home", "object store", "state folder")

    def __init__(self, machine: LocalMachine) -> None:
        self._machine = machine
        self._folder = machine.home().agent

    def find(self) -> Attributes | None:
        archive, config = self._folder / "agent.pyz", self._folder / "config.json"
        if not archive.exists() or not config.exists():
            return None
        return {
            "archive": _digest(archive.read_bytes()),
            "config": config.read_text("utf-8", errors="replace"),
            "running": processes.is_alive(_daemon(self._folder)),
        }

    def want(self) -> Attributes:
        return {"archive": _digest(build_agent()), "config": self._machine.agent_config(), "running": True}

    def apply(self, actual: Attributes | None, change: Change) -> None:
        self._machine.write_agent()
        running = _daemon(self._folder)
        if running is not None:
            processes.end(running)  # services go on; the new agent takes them up
        self._machine.start()

    def delete(self) -> None:
        self._machine.stop()


class Command(Resource):
    """`bin/selfhost` in the home: the command line for this stack, wherever the checkout is that made it."""

    name = "command"
    needs = ("home",)

    def __init__(self, machine: LocalMachine) -> None:
        self._path = machine.home().root / "bin/selfhost"
        self._text = f"""\
#!/bin/sh
# Written by a bootstrap: the command line of the release this stack runs.
export {HOME_VARIABLE}="{machine.root}"
exec "{machine.release_python}" -P -m flows.cli "$@"
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


def _daemon(folder: Path) -> processes.ProcessRecord | None:
    """The record the running agent leaves in its pid file."""
    try:
        return processes.from_data(json.loads((folder / "agent.pid").read_text("utf-8")))
    except (FileNotFoundError, ValueError):
        return None


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]
