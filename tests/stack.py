"""A whole stack of real processes, driven through the real command line, for e2e and fault tests."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prefect.client.orchestration import SyncPrefectClient

from blocks import ledgers
from blocks.front_door import FrontDoor
from blocks.host import system_user
from blocks.host.home import Home
from blocks.ledger import WANTED, Ledger
from blocks.postgres import login as database_login
from blocks.postgres import programs as postgres
from blocks.postgres.connection import Login
from blocks.spec import TOOLS
from tests.postgres import query

COMMAND = (sys.executable, "-m", "flows.cli")
"""`selfhost` of the environment the tests run in."""
CALL_SECONDS = 400.0
"""A bound for one call, not a demand: a bootstrap takes 30 to 70 s."""
SECRETS = ("auth-string", "encryption-key", "database-login", "database-admin-password")
WITH_USER = ("auth-string", "database-login")
"""Those of the form `user:password`."""
FORBIDDEN_PORTS = {4200}
"""Somebody's real Prefect may be there."""


@dataclass(frozen=True)
class Result:
    """One ended call of `selfhost`."""

    argv: tuple[str, ...]
    status: int
    stdout: str
    stderr: str

    @property
    def output(self) -> str:
        return f"$ selfhost {' '.join(self.argv)}\n{self.stdout}{self.stderr}[exit status {self.status}]\n"

    @property
    def steps(self) -> list[str]:
        """Names of the steps that ended, in order: its own, or those of the run whose log it followed."""
        pattern = r"^✓ (?P<own>.+?)  \d+\.\d s(?:  |$)|^  [\d:]{8}  (?P<followed>.+?): .* in \d+\.\d s$"
        return [match["own"] or match["followed"] for match in re.finditer(pattern, self.stdout, re.M)]


def caller_environment(**more: str) -> dict[str, str]:
    """This shell's environment without what would change a Prefect, a Python or a selfhost."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PREFECT_", "PYTHON", "SELFHOST_"))}
    return kept | {"NO_COLOR": "1"} | more


@dataclass
class Stack:
    """A home, the options that name it, and what was said by every call so far."""

    home: Path
    name: str
    port: int
    command: Sequence[str] = COMMAND
    environment: Mapping[str, str] = field(default_factory=caller_environment)
    identity: Mapping[str, Any] = field(default_factory=dict)
    """Arguments by which `subprocess` runs a call as another user."""
    transcript: list[Result] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        """Where calls are made from: nothing of a checkout is there."""
        return self.home.parent

    @property
    def paths(self) -> Home:
        return Home(self.home)

    @property
    def ledger(self) -> Ledger:
        return ledgers.of(self.paths)

    @property
    def wanted_file(self) -> Path:
        """What is wanted, as it lies in the store."""
        return self.paths.store / WANTED

    @property
    def where(self) -> tuple[str, ...]:
        return ("--home", str(self.home), "--name", self.name, "--port", str(self.port))

    def start(self, *argv: str) -> subprocess.Popen[str]:
        """Begin a call; standard output is a pipe, as under cron or CI."""
        return subprocess.Popen(
            [*self.command, *argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            env=dict(self.environment),
            umask=0,  # the worst a shell can have: modes must not come from it
            **self.identity,
        )

    def call(self, *argv: str, seconds: float = CALL_SECONDS) -> Result:
        """Make a call and wait for its end."""
        process = self.start(*argv)
        return self.ended(process, argv, *process.communicate(timeout=seconds))

    def ended(self, process: subprocess.Popen[str], argv: Sequence[str], stdout: str, stderr: str) -> Result:
        """Note a call that has ended."""
        self.transcript.append(Result(tuple(argv), process.returncode, stdout, stderr))
        return self.transcript[-1]

    def run(self, verb: str, *options: str, seconds: float = CALL_SECONDS) -> Result:
        """Make a call that must succeed."""
        done = self.call(verb, *self.where, *options, seconds=seconds)
        assert done.status == 0, done.output
        return done

    def bootstrap(self, *options: str) -> Result:
        return self.run("bootstrap", *options)

    def status(self) -> dict[str, Any]:
        return dict(json.loads(self.run("status", "--json").stdout))

    def plan(self) -> list[dict[str, Any]]:
        return list(json.loads(self.run("plan", "--json").stdout)["changes"])

    def destroy(self) -> Result:
        return self.run("destroy", "--yes")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def door(self) -> FrontDoor:
        return FrontDoor(self.url, self.secret("auth-string"))

    @contextmanager
    def client(self) -> Iterator[SyncPrefectClient]:
        with self.door.client() as client:
            yield client

    def secret(self, name: str) -> str:
        return (self.home / "secrets" / name).read_text().strip()

    def versions(self, name: str) -> list[int]:
        """Numbers of a secret's versions."""
        return sorted(int(each.name.partition("@")[2]) for each in (self.home / "secrets").glob(f"{name}@*"))

    def promoted(self, name: str) -> int:
        """The version of a secret that is wanted."""
        return self.ledger.wanted().secrets.get(name, 1)

    def secret_values(self) -> dict[str, str]:
        """Every text that must be seen nowhere, by what it is; a password alone counts as well."""
        found = {name: self.secret(name) for name in SECRETS}
        return found | {f"password of {name}": found[name].partition(":")[2] for name in WITH_USER}

    @property
    def programs(self) -> Path:
        """PostgreSQL's programs of the stack's own tools."""
        return postgres.programs(self.home / "releases" / ledgers.of(self.paths).wanted().releases[TOOLS].id)

    @property
    def login(self) -> Login:
        user, password = database_login.parts(self.secret("database-login"))
        return Login("127.0.0.1", self.port + 2, user, password, postgres.DATABASE)

    def query(self, sql: str) -> list[list[str]]:
        return query(self.login, sql)

    def host_spec(self) -> dict[str, Any]:
        return dict(json.loads((self.home / "agent/spec.json").read_text()))

    def host_status(self) -> dict[str, Any]:
        return dict(json.loads((self.home / "agent/status.json").read_text()))

    def jobs(self) -> list[str]:
        """Names of the jobs in what the host was last given."""
        return [each["name"] for each in self.host_spec()["jobs"]]

    def pids(self) -> dict[str, int]:
        """Main process of every service, of their supervisor and of the host agent."""
        found = {each["name"]: int(each["pid"]) for each in self.host_status()["services"]}
        records = {"circusd": "run/circusd.pid", "agent": "agent/agent.pid"}
        return found | {name: int(json.loads((self.home / path).read_text())["pid"]) for name, path in records.items()}

    def servers(self) -> dict[str, int]:
        """The servers among the services: one, and two while one takes over from the other."""
        return {name: pid for name, pid in self.pids().items() if name.startswith("server-")}

    def processes(self) -> dict[int, str]:
        """Every living process of this home: pid → command line."""
        return processes_of(self.home)

    def remove_by_force(self) -> None:
        """End and remove what a failed test left, so that it cannot disturb another."""
        users = system_user.owned(self.paths, self.name)
        if self.paths.agent.exists():  # before that there are processes and files alone
            self.call("destroy", *self.where, "--yes")
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, 9)
        shutil.rmtree(self.home, ignore_errors=True)
        eventually(lambda: not self.processes(), "the end of all processes", 20)
        for user in filter(system_user.find, users):
            subprocess.run(["userdel", user], check=True)


def processes_of(home: Path) -> dict[int, str]:
    """Every living process which has this folder in its command line, environment, program or working folder."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with suppress(OSError):
            command = (entry / "cmdline").read_bytes()
            links = f"{(entry / 'exe').readlink()}\n{(entry / 'cwd').readlink()}/"
            seen = command + b"\n" + (entry / "environ").read_bytes() + b"\n" + links.encode()
            if re.search(re.escape(str(home)).encode() + rb"(?![\w.-])", seen):
                found[int(entry.name)] = command.replace(b"\0", b" ").decode(errors="replace").strip()
    return found


def free_block() -> int:
    """The first of three neighbouring TCP ports that nobody listens on."""
    while True:
        first = 20_000 + secrets.randbelow(12_000)  # below the ephemeral ones, which come and go
        if not FORBIDDEN_PORTS & set(range(first, first + 3)) and all(map(_is_free, range(first, first + 3))):
            return first


def _is_free(port: int) -> bool:
    try:
        with socket.create_server(("127.0.0.1", port)):
            return True
    except OSError:
        return False


@contextmanager
def scratch(prefix: str = "e2e-") -> Iterator[Stack]:
    """A stack that is not made yet, in a short folder which PostgreSQL's user can pass; removed afterwards."""
    # Not tmp_path: pytest's folders are closed to other users, and too long for sockets.
    with tempfile.TemporaryDirectory(prefix=prefix, dir="/tmp", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)
        stack = Stack(Path(folder) / "h", f"{prefix}{secrets.token_hex(4)}", free_block())
        try:
            yield stack
        finally:
            stack.remove_by_force()


@contextmanager
def bootstrapped(prefix: str) -> Iterator[Stack]:
    """A running stack, removed afterwards; or the one of SELFHOST_TEST_STACK, made before, to develop tests."""
    kept = os.environ.get("SELFHOST_TEST_STACK")  # "HOME NAME PORT"
    if kept:
        home, name, port = kept.split()
        yield Stack(Path(home), name, int(port))
        return
    with scratch(prefix) as stack:
        stack.bootstrap()
        yield stack


def eventually(observe: Callable[[], Any], what: str, seconds: float = 60.0, every: float = 0.1) -> Any:
    """Wait until `observe` gives something true, and return that; it is asked every so many seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = observe()
        if value:
            return value
        time.sleep(every)
    raise AssertionError(f"waited in vain for {what}")


class CommandLines:
    """Notes every command line on this machine while it is open: what any user could have seen with `ps`."""

    def __init__(self) -> None:
        self.seen: set[bytes] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> CommandLines:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.05):
            for entry in Path("/proc").iterdir():
                if entry.name.isdigit():
                    with suppress(OSError):
                        self.seen.add((entry / "cmdline").read_bytes())


def tree(folder: Path) -> dict[str, tuple[str, bytes]]:
    """What lies below a folder: path → mode and content (a link's target, nothing for a folder)."""
    found = {}
    for path in sorted(folder.rglob("*")):
        link = str(path.readlink()).encode() if path.is_symlink() else None
        content = link if link is not None else path.read_bytes() if path.is_file() else b""
        found[path.relative_to(folder).as_posix()] = (oct(path.lstat().st_mode), content)
    return found
