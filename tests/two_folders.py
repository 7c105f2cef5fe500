"""Launcher and host in two folders of one machine which share store and secrets alone, as with a cloud between them.

The adapter has the host carry out each verb in another process, with another home. Run as a program it is `selfhost`
of the launcher: the real command line over that adapter.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from blocks import targets
from blocks.agent.spec import HostStatus
from blocks.errors import NotReady
from blocks.host import home as home_folder
from blocks.host import verbs
from blocks.host.home import Home
from blocks.host.host import Host
from blocks.ledger import Ledger
from blocks.local.machine import LocalMachine
from blocks.local.object_store import LocalObjectStore
from blocks.machine import Machine
from blocks.object_store import ObjectStore
from blocks.requests import Requests
from blocks.resource import Attributes, Change, Resource

HOST, SHARED, NAME = "TWO_FOLDERS_HOST", "TWO_FOLDERS_SHARED", "TWO_FOLDERS_NAME"
"""Environment of the launcher: the host's home, the shared folder, the stack's name."""
BOOT = (
    "import sys; from pathlib import Path; from blocks.host.home import Home; from blocks.host.host import Host; "
    "getattr(Host(Home(Path(sys.argv[1]))), sys.argv[2])()"
)
"""What power does to the machine: its agent starts, or stops."""


@dataclass(frozen=True)
class TwoFolders(Machine):
    """A machine whose host is another process, with a home of its own."""

    there: LocalMachine
    """The machine as its host has it."""
    shared: Path
    """Folder with what both have: the store, the secrets."""
    objects: ObjectStore
    """The shared store, as the launcher sees it."""

    def outside(self) -> list[Resource]:
        return [HostFolder(self)]

    def on_host(self) -> list[Resource]:
        return self.there.on_host()

    def host(self) -> Host:
        return Host(Home(self.root))

    def users(self) -> Mapping[str, str]:
        return self.there.users()

    @property
    def root(self) -> Path:
        """The host's home."""
        return self.there.root

    def run(self, verb: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        if not self.root.exists():
            raise NotReady(f"there is no machine at {self.root} yet")
        requests, ledger = Requests(self.objects), Ledger(self.objects)
        number = ledger.require_lease() if verb in verbs.NEED_LEASE else 0
        request = requests.ask(verb, arguments, number, ledger.id)
        self._on_host("-m", "flows.cli", "carry-out", "--home", str(self.root))
        answer = requests.answer_to(request)
        return requests.give_up(request) if answer is None else answer

    def observe(self) -> HostStatus | None:
        if not self.root.exists():
            return None
        self._on_host("-m", "flows.cli", "carry-out", "--home", str(self.root))  # a real host reports by itself
        return Requests(self.objects).status()

    def start(self) -> None:
        self._on_host("-c", BOOT, str(self.root), "start")

    def stop(self) -> None:
        self._on_host("-c", BOOT, str(self.root), "stop")

    def _on_host(self, *words: str) -> None:
        """Run a program as the host would, with nothing of the launcher's environment but what finds a program."""
        kept = {key: os.environ[key] for key in ("PATH", "HOME", "LANG", "TZ") if key in os.environ}
        reach = {key: value for key, value in os.environ.items() if key.startswith(("UV_", "PIP_", "SSL_CERT_"))}
        argv = [sys.executable, "-P", *words]
        done = subprocess.run(argv, env=kept | reach, cwd="/", capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


class HostFolder(Resource):
    """The machine, as a cloud would make it: an empty home which finds the shared store and secrets."""

    name = "machine"

    def __init__(self, machine: TwoFolders) -> None:
        self._machine, self._home = machine, Home(machine.root)

    def find(self) -> Attributes | None:
        return {"store": str(self._home.store.resolve())} if self._home.root.exists() else None

    def want(self) -> Attributes:
        return {"store": str((self._machine.shared / "store").resolve())}

    def apply(self, actual: Attributes | None, change: Change) -> None:
        join(self._machine.root, self._machine.shared, self._machine.there.stack)

    def delete(self) -> None:
        home_folder.remove(self._home, self._machine.there.stack)


def join(root: Path, shared: Path, stack: str) -> None:
    """Make a home which has its store and its secrets in the shared folder."""
    for name in ("store", "secrets"):
        (shared / name).mkdir(mode=0o711, parents=True, exist_ok=True)
    home_folder.claim(Home(root), stack, Ledger(LocalObjectStore(shared / "store")).id, shared / "store")
    if not (root / "secrets").exists():
        (root / "secrets").symlink_to(shared / "secrets")


def main() -> int:
    """`selfhost` of a launcher whose stack is on the other machine."""
    from flows.cli import launch
    from flows.cli import main as command_line

    targets.machine_at = lambda home: TwoFolders(LocalMachine(_root(), os.environ[NAME]), _shared(), _objects(home))
    launch.use_server = _then_compose(launch.use_server)
    launch.silence_prefect = _then_compose(launch.silence_prefect)
    return command_line.main()


def _then_compose(set_up: Callable[..., None]) -> Callable[..., None]:
    """Have a stack be composed with this machine once Prefect's settings stand: the composition imports Prefect."""

    def replaced(*arguments: Any) -> None:
        set_up(*arguments)
        from blocks import catalog

        catalog.compose = _composed_by(catalog.compose)

    return replaced


def _composed_by(compose: Callable[..., Any]) -> Callable[..., Any]:
    def composed(*arguments: Any) -> Any:
        stack = compose(*arguments)
        return replace(stack, machine=TwoFolders(replace(stack.machine, root=_root()), _shared(), stack.objects))

    return composed


def _root() -> Path:
    return Path(os.environ[HOST])


def _shared() -> Path:
    return Path(os.environ[SHARED])


def _objects(home: Path) -> LocalObjectStore:
    return LocalObjectStore(Home(home).store, outlives=True)


if __name__ == "__main__":
    sys.exit(main())
