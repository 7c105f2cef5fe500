"""First boot of a VM at Google: `settle` makes its home, and has the host agent run from then on.

The startup script calls it with the agent's own archive, at each boot. What is there already stays as it is: an upgrade
may have brought a newer agent since. It may be killed at any moment, and goes on when it is called again.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from . import processes
from .config import AgentConfig, InvalidConfig, Layout, load_config, on_vm
from .files import make_folders, write_atomically
from .google.client import Client, GoogleFailed, Refused
from .google.objects import Objects
from .inbox import BOOT
from .mark import MARK, Bucket, bucket_in, mark
from .spec import to_json

PATIENCE = 600.0
"""Seconds in which what Google refuses or does not answer is tried again: a grant takes up to 7 minutes."""
EVERY = 5.0
NOT_YET = (401, 403)
"""Refusals which a grant mends that is on its way; anything else that is refused stays so."""


class CannotSettle(Exception):
    """One line: why, and what to do."""


@dataclass(frozen=True)
class Settlement:
    """What a VM is told when it boots."""

    home: Path
    stack: str
    identity: str
    bucket: Bucket
    uv: str
    """Digest of the program that makes the environments of releases."""
    metadata: str = ""
    """This and the next two: addresses of emulated services, see `AgentConfig`."""
    storage: str = ""
    secret_manager: str = ""
    manager: str = "systemd"

    @property
    def config(self) -> AgentConfig:
        found = on_vm(self.home, self.stack, self.bucket)
        if self.manager == "circus":
            found = replace(found, manager="circus", circus_python=sys.executable, secrets="")
        return replace(found, metadata=self.metadata, storage=self.storage, secret_manager=self.secret_manager)


class Settling:
    """Carries a settlement out, and says how far it is: on standard output, and in the bucket below `boot/`."""

    def __init__(self, wanted: Settlement, archive: Path, sleep: Callable[[float], None] = time.sleep) -> None:
        """`archive` is the host agent that runs now."""
        self._wanted, self._archive, self._sleep = wanted, archive, sleep
        self._layout = Layout(wanted.home)
        self._objects = Objects(Client(wanted.metadata), wanted.bucket.name, wanted.storage)
        self._deadline = time.monotonic() + PATIENCE
        self._untold: list[dict[str, object]] = []

    def run(self) -> None:
        """Settle.

        Raises:
            CannotSettle: it cannot be done, or not in time.
        """
        try:
            self._make_home()
            self._say("home", f"{self._wanted.home} is the home of {self._wanted.stack}")
            self._ensure_uv()
            self._say("uv", "uv is there")
            self._start()
            self._say("agent", "the host agent runs")
        except (CannotSettle, OSError) as error:
            self._say("failed", str(error))
            raise CannotSettle(str(error)) from error

    def _make_home(self) -> None:
        """The home with its mark first, then the agent's configuration and archive."""
        wanted = self._wanted
        fault = fault_of(wanted)
        if fault:
            raise CannotSettle(fault)
        make_folders(wanted.home)
        wanted.home.chmod(0o711)
        if not (wanted.home / MARK).exists():
            write_atomically(wanted.home / MARK, mark(wanted.stack, wanted.identity, wanted.bucket), 0o644)
        self._layout.make()
        try:
            load_config(wanted.home)
        except InvalidConfig:
            write_atomically(self._layout.config, to_json(wanted.config).encode(), 0o600)
        if not self._layout.archive.exists():
            self._put_agent()

    def _put_agent(self) -> None:
        write_atomically(self._layout.archive, self._archive.read_bytes(), 0o755)

    def _ensure_uv(self) -> None:
        if not self._layout.uv.exists():
            self._tried(self._fetch_uv)

    def _fetch_uv(self) -> None:
        self._objects.fetch(f"sha256/{self._wanted.uv}", self._layout.uv, self._wanted.uv, 0o755)

    def _start(self) -> None:
        """Start the agent that is there; where that one does not start, ours in its place."""
        if self._started():
            self._put_agent()
            fault = self._started()
            if fault:
                raise CannotSettle(fault)

    def _started(self) -> str:
        """Start the agent of the home. Returns why it does not, or nothing."""
        command = [sys.executable, "-I", "-S", str(self._layout.archive), "start", "--home", str(self._wanted.home)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return "" if done.returncode == 0 else f"the host agent does not start: {done.stderr.strip()}"

    def _say(self, stage: str, said: str) -> None:
        """Tell a stage. One that cannot be told elsewhere now is told with the next: it holds nothing up."""
        _print(f"{stage}: {said}")
        self._untold.append({"stage": stage, "at": time.time(), "boot": processes.boot_id(), "said": said})
        try:
            while self._untold:
                self._objects.write(f"{BOOT}{self._untold[0]['stage']}", json.dumps(self._untold[0]).encode())
                del self._untold[0]
        except GoogleFailed as error:
            _print(f"not told: {error}")

    def _tried(self, call: Callable[[], object]) -> None:
        """Make a call, again and again where Google may answer otherwise soon."""
        while True:
            try:
                call()
                return
            except GoogleFailed as error:
                is_for_good = isinstance(error, Refused) and error.status not in NOT_YET
                if is_for_good or time.monotonic() >= self._deadline:
                    raise CannotSettle(str(error)) from error
                _print(f"waiting: {error}")
            self._sleep(EVERY)


def fault_of(wanted: Settlement) -> str:
    """Why that folder cannot become the home; empty where it can, or is it already."""
    home = wanted.home
    try:
        said = json.loads((home / MARK).read_text(encoding="utf-8"))
        whose = (said["stack"], said["id"], bucket_in(said))
    except FileNotFoundError:
        left = sorted(each.name for each in home.iterdir()) if home.exists() else []
        strange = [each for each in left if not each.startswith(f".{MARK}.")]  # that one was just being written
        return f"{home} is not empty and carries no mark of ours: {', '.join(strange)}" if strange else ""
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"the mark {home / MARK} is damaged: {error}"
    if whose == (wanted.stack, wanted.identity, wanted.bucket):
        return ""
    return f"{home} is the home of {whose[0]} ({whose[1]}), not of {wanted.stack} ({wanted.identity})"


def _print(line: str) -> None:
    """For the serial port."""
    sys.stdout.write(f"settle: {line}\n")
    sys.stdout.flush()
