"""The machine a stack runs on, as code that runs on it sees it: its spec, its agent, its services, its files."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from blocks.agent import processes
from blocks.agent.config import AgentConfig
from blocks.agent.files import write_atomically
from blocks.agent.processes import ProcessRecord
from blocks.agent.spec import HostSpec, HostStatus, InvalidSpec, Release, ServiceStatus, from_json, to_json
from blocks.errors import Blocked, Conflict, NotReady
from blocks.host import disused, reach
from blocks.host.bundle import build_agent
from blocks.host.disused import Disused
from blocks.host.home import Home
from blocks.host.interpreter import base_python, ensure_uv
from blocks.host.restore_record import RestoreFolder
from blocks.host.service_manager import Logs
from blocks.waiting import wait_until

INSTALL_SECONDS = 1800.0
"""Time a new spec gets until its releases are installed: 0.3 s where they are; 450 MB over a slow line otherwise."""
START_SECONDS = 180.0
"""Time all services get after a start: about 8 s on a quiet machine, a recovering PostgreSQL may want minutes."""

SERVES = {"ready", "waiting-idle"}
"""States of a service that does its work; `waiting-idle`: a worker that runs flows, and is restarted after them."""
NOT_FOR_THE_AGENT = ("PREFECT_", "PYTHON", "PG", "SELFHOST_")
"""Beginnings of variables the agent does not get: secrets, and settings of this call."""
WORKSPACE = "backup-"
"""How the folders for dumps on their way begin."""


@dataclass(frozen=True)
class Host:
    """This very machine, converged by the host agent in a home. Nothing is touched by making one.

    The waits ask nothing but `observe`, so that they hold for whatever reports.
    """

    home: Home
    agent: AgentConfig | None = None
    """How the host agent is set up; None for whoever only talks to the one that is there."""
    require_lease: Callable[[], object] = field(default=lambda: None, compare=False, repr=False)
    """Raises Conflict where somebody else may change the stack now; asked before a spec is written."""

    # What it is given, and what it says.

    def applied(self) -> HostSpec | None:
        """The spec the host was last given; None before the first, or where it is damaged: the agent runs on with its
        last good one, and a converge writes it anew."""
        try:
            return from_json(HostSpec, (self.home.agent / "spec.json").read_text("utf-8"))
        except (FileNotFoundError, InvalidSpec):
            return None

    def generation(self) -> int:
        """Of the spec the host was last given; 0 before the first."""
        applied = self.applied()
        return applied.generation if applied else 0

    def apply(self, spec: HostSpec) -> None:
        """Hand a spec over; returns once its releases are installed. Services may still be starting.

        Raises:
            NotReady: the agent did not take it up in time.
            Blocked: a release cannot be installed.
            Conflict: its generation is not above that of the applied one, or somebody else changes the stack.
        """
        applied = self.applied()
        if applied is not None and spec.generation <= applied.generation:
            raise Conflict(f"generation {spec.generation} is not above {applied.generation}", "run the command again")
        if not (self.home.agent / "uv").exists():
            self.renew_agent()  # one from before December 2026 reads no spec of ours, whose releases name no uv
        self.require_lease()
        write_atomically(self.home.agent / "spec.json", to_json(spec).encode(), 0o600)
        if not processes.is_alive(self.daemon()):
            self.start()  # nothing else would, before a bootstrap
        self._wait_taken_up(spec.generation)

    def _wait_taken_up(self, generation: int) -> None:
        wait_until(
            lambda: self._look_at(generation),
            f"the host agent taking up generation {generation}",
            timeout=INSTALL_SECONDS,
            every=0.05,
            hint=self.logs().hint("agent"),
        )

    def has_taken_up(self, generation: int) -> bool:
        """Whether that generation is the last observed one and its releases are installed. Does not wait."""
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
        """What the agent last reported; None before the first report, and of a damaged one until the next."""
        try:
            return from_json(HostStatus, (self.home.agent / "status.json").read_text("utf-8"))
        except (FileNotFoundError, InvalidSpec):
            return None

    # Its agent.

    def write_agent(self) -> None:
        """Put the host agent's archive and configuration in place; idempotent."""
        folder = self.home.agent
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        ensure_uv(folder / "uv")
        write_atomically(folder / "agent.pyz", build_agent(), 0o755)
        if self.agent is not None:
            write_atomically(folder / "config.json", to_json(self.agent).encode(), 0o600)

    def renew_agent(self) -> None:
        """Put this code's agent in the place of the one that runs, if any; services go on, and it takes them up."""
        self.write_agent()
        running = self.daemon()
        if running is not None:
            processes.end(running)
        self.start()

    def daemon(self) -> ProcessRecord | None:
        """The record of the agent's process, which runs or has ended; None where none ever ran."""
        try:
            return processes.from_data(json.loads((self.home.agent / "agent.pid").read_text("utf-8")))
        except (FileNotFoundError, ValueError):
            return None

    def start(self) -> None:
        """Start the agent and with it all services, as after a reboot; idempotent. Services may still be starting."""
        self._call("start")

    def stop(self) -> None:
        """Stop all services in order, then the agent; idempotent."""
        if self.agent is not None:
            self.write_agent()  # a damaged archive or config must not keep a stack from being stopped
        self._call("stop")

    def _call(self, verb: str) -> None:
        archive = self.home.agent / "agent.pyz"
        if not archive.exists():
            raise Blocked(f"there is no host agent in {self.home.root}", "selfhost bootstrap installs it")
        argv = [base_python(), "-I", "-S", str(archive), verb, "--home", str(self.home.root)]
        environment = {key: value for key, value in os.environ.items() if not key.startswith(NOT_FOR_THE_AGENT)}
        done = subprocess.run(argv, capture_output=True, text=True, check=False, env=environment | self.reach())
        if done.returncode:
            raise Blocked(f"host agent {verb}: {done.stderr.strip()}", self.logs().hint("agent"))

    def reach(self) -> dict[str, str]:
        """Variables by which uv reaches an index, see `blocks.host.reach`."""
        return reach.reach(self.home, self._agent_pid())

    def _agent_pid(self) -> int:
        """Process of the agent that has the home; 0 where none ever had."""
        try:
            return int(json.loads((self.home.agent / "agent.pid").read_text("utf-8"))["pid"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return 0

    # Waiting for it.

    def wait_ready(self, generation: int = 0, timeout: float = START_SECONDS) -> HostStatus:
        """Wait until every service of the spec (of at least that generation) is ready.

        Raises:
            NotReady: the time is over; the text names the services, what they lack and what their logs say last.
        """
        try:
            return wait_until(
                lambda: self._ready(generation), "that all services are ready", timeout=timeout, every=0.1
            )
        except NotReady as error:
            seen = self.observe()
            unready = [each.name for each in (seen.services if seen else ()) if each.state not in SERVES]
            said = [f"{name} said last: {self.logs().last_line(name)}" for name in unready]
            hint = f"selfhost logs {unready[0]}" if unready else self.logs().hint("agent")
            raise NotReady("; ".join([error.what, *said]), hint) from error

    def _ready(self, generation: int) -> HostStatus:
        seen = self.observe()
        if seen is None or seen.observed_generation < generation or seen.agent_pid != self._agent_pid():
            raise NotReady("the host agent has not reported yet")  # after a power cut the last report is of the dead
        lacking = [each for each in seen.services if each.state not in SERVES or self._is_about_to_restart(each)]
        waiting = [f"{each.name} is {each.state} {each.message}".strip() for each in lacking]
        if waiting or not seen.services:
            raise NotReady("; ".join(waiting) or "no service is there")
        return seen

    def _is_about_to_restart(self, seen: ServiceStatus) -> bool:
        """Whether a worker waits to be restarted and runs nothing: its restart is a matter of seconds."""
        return seen.state == "waiting-idle" and not processes.has_children(seen.pid)

    def wait_alone(self, names: Collection[str], generation: int, timeout: float) -> None:
        """Wait until nothing but these services is left of the spec of that generation.

        A worker that is no longer wanted and waits for its flows is not gone: it counts as one that does its work
        everywhere else (`SERVES`).

        Raises:
            NotReady: the time is over; the text names what is left, and why.
        """
        hint = "a worker is not ended while it runs a flow"
        wait_until(
            lambda: self._is_alone(names, generation), "the end of all others", timeout=timeout, every=0.1, hint=hint
        )

    def _is_alone(self, names: Collection[str], generation: int) -> bool:
        seen = self.observe()
        if seen is None or seen.observed_generation < generation:
            raise NotReady("the host agent has not reported yet")
        left = [f"{each.name} is {each.state}: {each.message}" for each in seen.services if each.name not in names]
        if left:
            raise NotReady("; ".join(left))
        return True

    def wait_idle(self, timeout: float) -> None:
        """Wait until no worker runs a flow: a worker's flow runs are its child processes, and would end with it.

        Raises:
            Blocked: some still run.
        """
        deadline = time.monotonic() + timeout
        while busy := self.busy_workers():
            if time.monotonic() > deadline:
                raise Blocked(f"flows still run on {', '.join(busy)}", "wait for them, or end them with stop --now")
            time.sleep(0.5)

    def busy_workers(self) -> list[str]:
        """Services of workers that run a flow now."""
        return [each.name for each in self._workers() if processes.has_children(each.pid)]

    def started_by_workers(self) -> list[ProcessRecord]:
        """What workers have started: the processes of flow runs, and what those have started."""
        return [found for each in self._workers() for found in processes.descendants(each.pid)]

    def _workers(self) -> list[ServiceStatus]:
        seen = self.observe()
        return [each for each in (seen.services if seen else ()) if each.name.startswith("worker-") and each.pid]

    def require_whole(self, seen: HostStatus | HostSpec) -> None:
        """See that a server and workers are among the services, as they are not while a restore is under way.

        Raises:
            Blocked: they are not, and no start of the host brings them; the hint has the command that does.
        """
        names = [each.name for each in seen.services]
        lacking = [each for each in ("server", "worker") if not any(name.startswith(f"{each}-") for name in names)]
        if lacking:
            what = f"the host was told to run no {' and no '.join(lacking)}: a change of the stack was interrupted"
            raise Blocked(what, f"{self._command_that_goes_on()} goes on with it")

    def _command_that_goes_on(self) -> str:
        if not self.home.restoring.exists():
            return "selfhost bootstrap"
        record = self.restore.record()
        return f"selfhost restore {record.backup if record else 'latest'}"

    # Its programs and files.

    def command(self, *words: str, release: Release | None = None) -> tuple[str, ...]:
        """`selfhost` for this stack with these words: of the release it runs, or of another one that is installed."""
        if release is None:
            return str(self.home.root / "bin/selfhost"), *words
        python = self.environment(release) / "bin/python"
        return str(python), "-P", "-m", "flows.cli", *words, "--home", str(self.home.root)

    def environment(self, release: Release) -> Path:
        """Folder of a release, installed or not."""
        return self.home.releases / release.id

    def state(self, name: str) -> Path:
        """Folder with what a service or job keeps, its PREFECT_HOME."""
        return self.home.state / name

    def configuration(self, name: str) -> Path:
        """Folder with what a service or job is told by files."""
        return self.home.etc / name

    @property
    def restore(self) -> RestoreFolder:
        """What a restore keeps here."""
        return RestoreFolder(self.home.restoring)

    def drop_concurrency_leases(self) -> None:
        """Forget who holds slots of concurrency limits, as the server's runs are others from now on; it is stopped."""
        shutil.rmtree(self.state("server") / "concurrency_leases", ignore_errors=True)

    def free_bytes(self) -> int:
        """Free disk where the stack lies."""
        return shutil.disk_usage(self.home.root).free

    def logs(self) -> Logs:
        """What services, jobs and the agent have said."""
        return Logs(self.home)

    def disused(self, listed: Iterable[Release]) -> Disused:
        """Releases that neither these, nor what the host was given, nor any process needs; the lease is held.

        Nothing is, where what the host was given cannot be read.
        """
        applied = self.applied()
        if applied is None:
            return Disused((), ())
        return disused.find(self.home.releases, self.home.store, [*listed, *applied.releases])

    def holding(self, releases: Iterable[Release]) -> AbstractContextManager[None]:
        """Installed releases count as used while the context lasts, though nothing lists them."""
        return disused.held(self.home.releases, {each.id for each in releases})

    def locks(self) -> tuple[int, ...]:
        """Descriptors of this process on the home's lease: a program that inherits them is known to be at work."""
        found = []
        for each in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(OSError):
                if each.samefile(self.home.lease):
                    found.append(int(each.name))
        return tuple(found)

    @contextlib.contextmanager
    def workspace(self) -> Iterator[Path]:
        """A closed folder for dumps on their way. An interrupted run's is removed first: the lease is held."""
        for left in self.home.run.glob(f"{WORKSPACE}*"):
            shutil.rmtree(left)
        with tempfile.TemporaryDirectory(prefix=WORKSPACE, dir=self.home.run) as folder:
            yield Path(folder)
