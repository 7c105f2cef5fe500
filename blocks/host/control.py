"""Starting, stopping and watching the host agent of a home on this machine, without Prefect."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import time
from collections.abc import Collection, Mapping
from pathlib import Path

from blocks.agent import processes
from blocks.agent.files import write_atomically
from blocks.agent.processes import ProcessRecord
from blocks.agent.spec import HostStatus, InvalidSpec, ServiceStatus, from_json
from blocks.errors import Blocked, NotReady
from blocks.host import restore_record
from blocks.host.home import Home
from blocks.host.interpreter import base_python
from blocks.waiting import wait_until

START_SECONDS = 180.0
"""Time all services get after a start: about 8 s on a quiet machine, a recovering PostgreSQL may want minutes."""

SERVES = {"ready", "waiting-idle"}
"""States of a service that does its work; `waiting-idle`: a worker that runs flows, and is restarted after them."""
NOT_FOR_THE_AGENT = ("PREFECT_", "PYTHON", "PG", "SELFHOST_")
"""Beginnings of variables the agent does not get: secrets, and settings of this call."""
REACH = re.compile(r"(UV_|PIP_|SSL_CERT_)|(HTTPS?_PROXY|ALL_PROXY|NO_PROXY|REQUESTS_CA_BUNDLE|NETRC)$", re.IGNORECASE)
"""What an index is reached by: certificates, proxies, uv's settings and pip's."""


def start(home: Home) -> None:
    """Start the host agent and with it all services; idempotent. Services may still be starting."""
    _call(home, "start")


def stop(home: Home) -> None:
    """Stop all services in order, then the agent; idempotent."""
    _call(home, "stop")


def observe(home: Home) -> HostStatus | None:
    """What the agent last reported; None where it reported nothing yet."""
    try:
        return from_json(HostStatus, (home.agent / "status.json").read_text("utf-8"))
    except (FileNotFoundError, InvalidSpec):
        return None  # a damaged one is written anew at the agent's next report


def wait_ready(home: Home, generation: int = 0, timeout: float = START_SECONDS) -> HostStatus:
    """Wait until every service of the spec (of at least that generation) is ready.

    Raises:
        NotReady: the time is over; the text names the services, what they lack and what their logs say last.
    """
    try:
        return wait_until(lambda: _ready(home, generation), "that all services are ready", timeout=timeout, every=0.1)
    except NotReady as error:
        seen = observe(home)
        unready = [each.name for each in (seen.services if seen else ()) if each.state not in SERVES]
        said = [f"{name} said last: {_last_line(home, name)}" for name in unready]
        hint = f"selfhost logs {unready[0]}" if unready else f"see {home.logs / 'agent.log'}"
        raise NotReady("; ".join([error.what, *said]), hint) from error


def wait_alone(home: Home, names: Collection[str], generation: int, timeout: float) -> None:
    """Wait until nothing but these services is left of the spec of that generation.

    A worker that is no longer wanted and waits for its flows is not gone: it counts as one that does its work
    everywhere else (`SERVES`).

    Raises:
        NotReady: the time is over; the text names what is left, and why.
    """
    hint = "a worker is not ended while it runs a flow"
    wait_until(
        lambda: _is_alone(home, names, generation), "the end of all others", timeout=timeout, every=0.1, hint=hint
    )


def _is_alone(home: Home, names: Collection[str], generation: int) -> bool:
    seen = observe(home)
    if seen is None or seen.observed_generation < generation:
        raise NotReady("the host agent has not reported yet")
    left = [f"{each.name} is {each.state}: {each.message}" for each in seen.services if each.name not in names]
    if left:
        raise NotReady("; ".join(left))
    return True


def require_whole(home: Home, seen: HostStatus) -> None:
    """See that a server and workers are among the services, as they are not while a restore is under way.

    Raises:
        Blocked: they are not, and no start of the host brings them; the hint has the command that does.
    """
    lacking = [what for what in ("server", "worker") if not any(e.name.startswith(f"{what}-") for e in seen.services)]
    if lacking:
        what = f"the host was told to run no {' and no '.join(lacking)}"
        raise Blocked(
            f"{what}: a change of the stack was interrupted", f"{_command_that_goes_on(home)} goes on with it"
        )


def _command_that_goes_on(home: Home) -> str:
    if not home.restoring.exists():
        return "selfhost bootstrap"
    record = restore_record.find(home)
    return f"selfhost restore {record.backup if record else 'latest'}"


def _last_line(home: Home, service: str) -> str:
    """The last line of a service's log that says something."""
    try:
        lines = (home.logs / f"{service}.log").read_text("utf-8", errors="replace").split("\n")
    except FileNotFoundError:
        return "nothing"
    return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "nothing")


def wait_idle(home: Home, timeout: float) -> None:
    """Wait until no worker runs a flow: a worker's flow runs are its child processes, and would end with it.

    Raises:
        Blocked: some still run.
    """
    deadline = time.monotonic() + timeout
    while busy := [each.name for each in _workers(home) if processes.has_children(each.pid)]:
        if time.monotonic() > deadline:
            raise Blocked(f"flows still run on {', '.join(busy)}", "wait for them, or end them with stop --now")
        time.sleep(0.5)


def started_by_workers(home: Home) -> list[ProcessRecord]:
    """What workers have started: the processes of flow runs, and what those have started."""
    return [found for each in _workers(home) for found in processes.descendants(each.pid)]


def _workers(home: Home) -> list[ServiceStatus]:
    seen = observe(home)
    return [each for each in (seen.services if seen else ()) if each.name.startswith("worker-") and each.pid]


def _ready(home: Home, generation: int) -> HostStatus:
    seen = observe(home)
    if seen is None or seen.observed_generation < generation or seen.agent_pid != _agent_pid(home):
        raise NotReady("the host agent has not reported yet")  # after a power cut the last report is of the dead
    lacking = [each for each in seen.services if each.state not in SERVES]
    waiting = [f"{each.name} is {each.state} {each.message}".strip() for each in lacking]
    if waiting or not seen.services:
        raise NotReady("; ".join(waiting) or "no service is there")
    return seen


def reach(home: Home) -> dict[str, str]:
    """Variables by which uv reaches an index: this process's own, and those which were seen by a call before.

    A flow on a worker has none of them, nor has a start by cron; so they are kept in the home, where its user alone
    can read them: they may hold a login for an index. They go to uv and to the host agent, which calls it.
    """
    path = home.agent / "reach.json"
    kept = _kept_reach(path) or _reach_in(_environment_of(_agent_pid(home)))
    found = kept | _reach_in(os.environ)
    if found and home.agent.exists() and found != _kept_reach(path):
        with contextlib.suppress(OSError):  # without room on the disk it is kept by a later call
            write_atomically(path, json.dumps(found, indent=1).encode(), 0o600)
    return found


def _reach_in(environment: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in environment.items() if REACH.match(key)}


def _kept_reach(path: Path) -> dict[str, str]:
    try:
        return dict(json.loads(path.read_text("utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return {}


def _environment_of(pid: int) -> dict[str, str]:
    """A process's environment; empty where it is gone, or on a system without /proc."""
    try:
        content = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return {}
    pairs = (each.partition("=") for each in content.decode(errors="surrogateescape").split("\0"))
    return {key: value for key, sign, value in pairs if sign}


def _agent_pid(home: Home) -> int:
    """Process of the agent that has the home; 0 where none ever had."""
    try:
        return int(json.loads((home.agent / "agent.pid").read_text("utf-8"))["pid"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return 0


def _call(home: Home, verb: str) -> None:
    archive = home.agent / "agent.pyz"
    if not archive.exists():
        raise Blocked(f"there is no host agent in {home.root}", "selfhost bootstrap installs it")
    argv = [base_python(), "-I", "-S", str(archive), verb, "--home", str(home.root)]
    environment = {key: value for key, value in os.environ.items() if not key.startswith(NOT_FOR_THE_AGENT)}
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=environment | reach(home))
    if done.returncode:
        raise Blocked(f"host agent {verb}: {done.stderr.strip()}", f"see {home.logs / 'agent.log'}")
