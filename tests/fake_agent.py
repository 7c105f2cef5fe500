"""A host agent without a service manager, for tests of what flows decide: `sleep` stands for every service.

It is what the real `Host` talks to, in the place of the shipped archive: the same files, the same two verbs. What a
flow asks of the host is done within milliseconds, and goes on where the flow is killed. The contract suite of the
machine holds it to what the real one does. Standard library alone, as it runs under any Python.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from blocks.agent import processes
from blocks.agent.config import Layout
from blocks.agent.files import write_atomically
from blocks.agent.processes import ProcessRecord
from blocks.agent.spec import (
    Condition,
    HostSpec,
    HostStatus,
    InvalidSpec,
    Job,
    JobStatus,
    Release,
    Service,
    ServiceStatus,
    from_json,
    to_json,
)

TICK = 0.01
"""Seconds between two looks at the spec."""
START_SECONDS = 10.0
STAND_IN = ("/bin/sleep", "3600")
BEHAVIOUR = "fake.json"
"""File in the agent's folder with what should go wrong or be run: a `Behaviour`."""
PLACES = ("blocks.host.host.build_agent", "blocks.local.machine.build_agent")
"""Names by which the shipped archive is asked for."""
ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Behaviour:
    """How this host behaves where a test wants more than that all goes well.

    Attributes:
        jobs: Job's name → program that runs in its place, which gets the job's arguments as its own; one that is not
            named succeeds at once and says `{}`.
        fails: Service's name → why it does not start.
        versions: Service's name → version it says it is.
        busy: Services which run a flow: they are not ended while they do.
    """

    jobs: dict[str, str] = field(default_factory=dict)
    fails: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    busy: tuple[str, ...] = ()


def archive() -> bytes:
    """What stands in the place of the shipped archive: it can be run, as that, by any Python."""
    return f"import sys\nsys.path.insert(0, {str(ROOT)!r})\nfrom tests.fake_agent import main\nmain()\n".encode()


def behave(home: Path, behaviour: Behaviour) -> None:
    """Tell a host how to behave from now on."""
    write_atomically(Layout(home).agent / BEHAVIOUR, to_json(behaviour).encode())


class FakeAgent:
    """The agent of one home."""

    def __init__(self, home: Path) -> None:
        self._layout = Layout(home)
        self._seen: object = None
        self._spec: HostSpec | None = None
        self._running: dict[str, tuple[object, subprocess.Popen[bytes]]] = {}
        self._jobs: dict[str, JobStatus] = {}
        self._said = ""
        self._must_end = False

    def run(self) -> None:
        """Until it is told to end; then all services are ended, and said to be."""
        signal.signal(signal.SIGTERM, self._on_end)
        write_atomically(self._layout.pid, json.dumps(processes.current()._asdict()).encode())
        while not self._must_end:
            self._look()
            time.sleep(TICK)
        for name in list(self._running):
            self._stop(name)
        self._tell(stopped=True)

    def _on_end(self, *_: object) -> None:
        self._must_end = True

    def _look(self) -> None:
        self._read_spec()
        if self._spec is None:
            return
        faults = [each.id for each in self._spec.releases if not self._is_installed(each)]
        if not faults:
            self._bring_services(self._spec)
            self._run_jobs(self._spec)
        self._tell(faults)

    def _read_spec(self) -> None:
        try:
            found = self._layout.spec.stat()
            seen = (found.st_mtime_ns, found.st_ino)
            if seen != self._seen:
                self._spec = from_json(HostSpec, self._layout.spec.read_text("utf-8"))
                self._seen = seen
        except (FileNotFoundError, InvalidSpec):
            return

    def _is_installed(self, release: Release) -> bool:
        """A release is, once its lock is in the store: nothing is downloaded."""
        folder = self._layout.releases / release.id
        if not folder.exists() and (self._layout.home / "store/sha256" / release.lock.sha256).exists():
            folder.mkdir(parents=True)
        return folder.exists()

    def _bring_services(self, spec: HostSpec) -> None:
        wanted = {each.name: each for each in spec.services}
        known = {name: definition for name, (definition, _) in self._running.items()}
        for name, definition in known.items():
            if definition != _definition(spec, wanted.get(name)) and name not in self._behaviour.busy:
                self._stop(name)
        for name, service in wanted.items():
            if name in self._running and self._running[name][1].poll() is not None:
                del self._running[name]
            if name not in self._running and name not in self._behaviour.fails:
                process = subprocess.Popen(STAND_IN, start_new_session=True, stdin=subprocess.DEVNULL)
                self._running[name] = (_definition(spec, service), process)

    def _stop(self, name: str) -> None:
        process = self._running.pop(name)[1]
        process.kill()
        process.wait()

    def _run_jobs(self, spec: HostSpec) -> None:
        for job in spec.jobs:
            if job.run not in self._jobs:
                self._jobs[job.run] = self._done(job)

    def _done(self, job: Job) -> JobStatus:
        began, program = time.time(), self._behaviour.jobs.get(job.name)
        if program is None:
            return JobStatus(job.name, job.run, "succeeded", 0, "{}", began, time.time())
        argv = [*shlex.split(program), *job.argv[1:]]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd=self._layout.home)
        state = "failed" if done.returncode else "succeeded"
        return JobStatus(job.name, job.run, state, done.returncode, done.stdout + done.stderr, began, time.time())  # type: ignore[arg-type]

    @property
    def _behaviour(self) -> Behaviour:
        try:
            return from_json(Behaviour, (self._layout.agent / BEHAVIOUR).read_text("utf-8"))
        except FileNotFoundError:
            return Behaviour()

    def _tell(self, faults: list[str] | None = None, *, stopped: bool = False) -> None:
        """Write the status where it differs from what was said last."""
        status = self._status(faults or [], stopped=stopped)
        if to_json(status) != self._said:
            self._said = to_json(status)
            write_atomically(self._layout.status, to_json(dataclasses.replace(status, time=time.time())).encode())

    def _status(self, faults: list[str], *, stopped: bool) -> HostStatus:
        spec = self._spec or HostSpec("", 0)
        wanted = {each.name: each for each in spec.services}
        leaving = [name for name in self._running if name not in wanted]
        found = [self._service(spec, name, wanted.get(name), stopped) for name in [*wanted, *leaving]]
        installed = Condition(
            "ReleasesInstalled", not faults, "InstallFailed" if faults else "Installed", ", ".join(faults)
        )
        ready = not faults and all(each.state == "ready" for each in found)
        return HostStatus(
            observed_generation=spec.generation,
            agent_pid=os.getpid(),
            releases=tuple(each.id for each in spec.releases if each.id not in faults),
            services=tuple(found),
            jobs=tuple(self._jobs[each.run] for each in spec.jobs if each.run in self._jobs),
            conditions=(installed, Condition("Converged", ready, "Converged" if ready else "Converging", "")),
        )

    def _service(self, spec: HostSpec, name: str, wanted: Service | None, stopped: bool) -> ServiceStatus:
        if stopped:
            return ServiceStatus(name, "stopped")
        if name not in self._running:
            why = self._behaviour.fails.get(name, "")
            return ServiceStatus(name, "failed" if why else "pending", message=why)
        known, process = self._running[name]
        if known != _definition(spec, wanted):
            return ServiceStatus(name, "waiting-idle", pid=process.pid, message="it runs a flow")
        version = self._behaviour.versions.get(name) or (wanted.version if wanted else "")
        return ServiceStatus(name, "ready", version, process.pid)


def _definition(spec: HostSpec, service: Service | None) -> object:
    """What a service is started from: it is started anew where this changes."""
    files = {each.path: each for each in spec.files}
    return service and (dataclasses.replace(service, restart="always"), *(files.get(each) for each in service.files))


def main() -> None:
    """`agent.pyz start|stop|run --home HOME`."""
    verb, home = sys.argv[1], Path(sys.argv[3])
    if verb == "run":
        FakeAgent(home).run()
    elif verb == "start":
        _start(home)
    elif verb == "stop":
        _stop(home)
    else:
        raise SystemExit(f"a fake agent knows no {verb!r}")


def _start(home: Path) -> None:
    layout = Layout(home)
    layout.make()
    if processes.is_alive(_record(layout)):
        return
    layout.pid.unlink(missing_ok=True)
    with (layout.logs / "agent.log").open("ab") as log:
        argv = [sys.executable, "-I", "-S", str(layout.archive), "run", "--home", str(home)]
        subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    deadline = time.monotonic() + START_SECONDS
    while not processes.is_alive(_record(layout)):
        if time.monotonic() > deadline:
            raise SystemExit("the fake agent does not start")
        time.sleep(TICK)


def _stop(home: Path) -> None:
    record = _record(Layout(home))
    if record is not None and processes.send(record, signal.SIGTERM):
        processes.wait_gone(record, START_SECONDS)


def _record(layout: Layout) -> ProcessRecord | None:
    try:
        return processes.from_data(json.loads(layout.pid.read_text("utf-8")))
    except (FileNotFoundError, ValueError):
        return None
