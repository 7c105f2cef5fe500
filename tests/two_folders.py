"""Launcher and host in two folders of one machine which share store and secrets alone, as with a cloud between them.

The adapter has the host carry out each verb in another process, with another home. Run as a program it is `selfhost`
of the launcher: the real command line over that adapter.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
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
from blocks.targets import Access

HOST, SHARED, NAME = "TWO_FOLDERS_HOST", "TWO_FOLDERS_SHARED", "TWO_FOLDERS_NAME"
"""Environment of the launcher: the host's home, the shared folder, the stack's name."""
CLOUD = threading.local()
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
        with as_cloud():  # to name them: to make them looks where the store lies
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


@contextmanager
def as_cloud() -> Iterator[None]:
    """What this thread does meanwhile is the cloud's doing, not the launcher's."""
    CLOUD.acts = True
    try:
        yield
    finally:
        CLOUD.acts = False


class HostFolder(Resource):
    """The machine, as a cloud would make it: an empty home which finds the shared store and secrets."""

    name = "machine"

    def __init__(self, machine: TwoFolders) -> None:
        self._machine, self._home = machine, Home(machine.root)

    def find(self) -> Attributes | None:
        with as_cloud():
            return {"store": str(self._home.store.resolve())} if self._home.root.exists() else None

    def want(self) -> Attributes:
        return {"store": str((self._machine.shared / "store").resolve())}

    def apply(self, actual: Attributes | None, change: Change) -> None:
        with as_cloud():
            join(self._machine.root, self._machine.shared, self._machine.there.stack)

    def delete(self) -> None:
        with as_cloud():
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

    sys.addaudithook(refuse_reaching_around)
    targets.access = _accessed_by(targets.access)
    launch.use_server = _then_compose(launch.use_server)
    launch.silence_prefect = _then_compose(launch.silence_prefect)
    return command_line.main()


def refuse_reaching_around(event: str, given: tuple[Any, ...]) -> None:
    """End the launcher where it opens a file of the host's home, but the shared ones, or calls what listens there for
    the host alone: a cloud has no such way."""
    if getattr(CLOUD, "acts", False):
        return
    if event == "open" and isinstance(given[0], str) and Path(given[0]).is_relative_to(_root()):
        raise AssertionError(f"the launcher opens {given[0]} of its host")
    if event == "socket.connect" and given[1][1:2] in [(port,) for port in _closed_ports()]:
        raise AssertionError(f"the launcher connects to {given[1]} of its host")


def _closed_ports() -> tuple[int, int]:
    """Ports of the server and the database: the two after the front door's."""
    door = int(sys.argv[sys.argv.index("--port") + 1])
    return door + 1, door + 2


def _accessed_by(access: Callable[..., Access]) -> Callable[..., Access]:
    def accessed(home: Home, store: Path | None = None) -> Access:
        found = access(home, store)
        machine = TwoFolders(LocalMachine(_root(), os.environ[NAME]), _shared(), _objects(home.root))
        return replace(found, machine=machine, is_here=False)

    return accessed


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
