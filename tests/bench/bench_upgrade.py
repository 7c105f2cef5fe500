"""An upgrade 3.8.3 → 3.8.8 of a whole stack in use, and the same version change as a restart in place beside it.

    uv run python -m tests.bench.bench_upgrade [--clients 16] [--flows 20] [--limited-minutes 4]

All the time clients without retries call through the front door, a schedule makes a run every ten seconds, and a
subscriber holds a websocket of events; flows of 14 tasks span the switch, and a flow under a concurrency limit of its
deployment runs for minutes past it. The quiet half-minute has the same load. Twelve minutes on two cores.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate, WorkPoolCreate
from prefect.client.schemas.schedules import IntervalSchedule
from rich.console import Console
from rich.table import Table
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from tests.bench.fourteen import TASKS
from tests.stack import Stack, eventually, scratch
from tests.traffic import Call, clients

OLD, NEW = "3.8.3", "3.8.8"
QUIET_SECONDS = 30.0
SECONDS_A_TASK = "15"
"""So that a flow goes on from before the quiet half-minute until after the switch."""
EVERY_SECONDS = 10
BEFORE_SECONDS = 180.0
"""What a run takes up to the switch, the start of the flows and the quiet half-minute among it."""
UPGRADE_SECONDS = 1800.0
SLOW_FLOW = """
import time
from prefect import flow

@flow(name="limited")
def limited(seconds: float) -> None:
    time.sleep(seconds)
"""


@dataclass
class Subscriber:
    """Holds a websocket of events open; notes how long it was without one."""

    gaps: list[float] = field(default_factory=list)
    events: int = 0
    stop: threading.Event = field(default_factory=threading.Event)

    def hold(self, url: str, token: str) -> None:
        lost: float | None = None
        while not self.stop.is_set():
            with (
                suppress(WebSocketException, OSError, ValueError),
                connect(url, subprotocols=[Subprotocol("prefect")], open_timeout=60, proxy=None) as socket,
            ):
                socket.send(json.dumps({"type": "auth", "token": token}))
                socket.recv(timeout=60)
                socket.send(json.dumps({"type": "filter", "filter": {}}))
                if lost is not None:
                    self.gaps.append(time.monotonic() - lost)
                    lost = None
                self._read(socket)
            lost = lost or time.monotonic()

    def _read(self, socket: object) -> None:
        while not self.stop.is_set():
            with suppress(TimeoutError):
                socket.recv(timeout=1)  # type: ignore[attr-defined]
                self.events += 1


@contextmanager
def subscribed(stack: Stack) -> Iterator[Subscriber]:
    subscriber = Subscriber()
    url = f"ws://127.0.0.1:{stack.port}/api/events/out"
    thread = threading.Thread(target=subscriber.hold, args=(url, stack.secret("auth-string")))
    thread.start()
    try:
        yield subscriber
    finally:
        subscriber.stop.set()
        thread.join()


def started_flows(stack: Stack, count: int, folder: Path) -> list[subprocess.Popen[str]]:
    """Flows of 14 tasks, run from outside through the front door by clients of the old version."""
    python = next((stack.home / "releases").glob(f"{OLD}-*/bin/python"))
    environment = {
        **stack.environment,
        "PREFECT_API_URL": stack.door.api_url,
        "PREFECT_API_AUTH_STRING": stack.secret("auth-string"),
        "PREFECT_HOME": str(folder / "client"),
    }
    program = Path(__file__).with_name("fourteen.py")
    argv = [str(python), str(program), SECONDS_A_TASK]
    return [
        subprocess.Popen(
            argv, env=environment, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        for _ in range(count)
    ]


def begun(flows: list[subprocess.Popen[str]]) -> list[str]:
    """Their run ids, once all of them run."""
    return [each.stdout.readline().strip() for each in flows if each.stdout is not None]


def limited_run(stack: Stack, client: SyncPrefectClient, seconds: float, folder: Path) -> UUID:
    """A run on the default pool under a concurrency limit of its deployment."""
    (folder / "slow.py").write_text(SLOW_FLOW)
    deployment = client.create_deployment(
        flow_id=client.create_flow_from_name("limited"),
        name="limited",
        entrypoint="slow.py:limited",
        path=str(folder),
        work_pool_name="default",
        concurrency_limit=1,
        enforce_parameter_schema=False,
    )
    run = client.create_flow_run_from_deployment(deployment, parameters={"seconds": seconds}).id
    eventually(lambda: state(client, run) == "Running", "the limited run", 120)
    return run


def scheduled(client: SyncPrefectClient) -> UUID:
    """A deployment with a run every ten seconds, on a pool that nobody serves."""
    client.create_work_pool(WorkPoolCreate(name="bench-idle", type="process"))
    every = IntervalSchedule(interval=timedelta(seconds=EVERY_SECONDS))
    return client.create_deployment(
        flow_id=client.create_flow_from_name("scheduled"),
        name="scheduled",
        work_pool_name="bench-idle",
        schedules=[DeploymentScheduleCreate(schedule=every, active=True)],
    )


def state(client: SyncPrefectClient, run: UUID) -> str:
    found = client.read_flow_run(run).state
    return found.name or "" if found else ""


def upgraded(stack: Stack) -> float:
    """Upgrade through the command line; seconds it took."""
    began = time.monotonic()
    stack.run("upgrade", "--to", NEW, seconds=UPGRADE_SECONDS)
    return time.monotonic() - began


def spanning(stack: Stack, runs: list[str]) -> int:
    """How many of these runs had begun when the new server became ready, and ended later."""
    (name,) = stack.servers()
    ready = json.loads((stack.home / f"run/{name}.json").read_text())["ready_at"]
    among = ", ".join(f"'{each}'" for each in runs)
    sql = f"SELECT count(*) FROM flow_run WHERE id IN ({among}) AND start_time < to_timestamp({ready}) "
    return int(stack.query(f"{sql} AND end_time > to_timestamp({ready})")[0][0])


def restarted_in_place(stack: Stack) -> None:
    """What an upgrade by hand does at the least: end the server, and start it again."""
    ((name, before),) = stack.servers().items()
    os.kill(before, signal.SIGTERM)
    eventually(lambda: _is_ready(stack, name, before), "the server again", 120)


def _is_ready(stack: Stack, name: str, before: int) -> bool:
    with suppress(FileNotFoundError):
        return bool(json.loads((stack.home / f"run/{name}.json").read_text())["pid"] != before)
    return False


def under_load(stack: Stack, count: int, seconds: float) -> list[Call]:
    with clients(count, stack.url, stack.secret("auth-string")) as traffic:
        time.sleep(seconds)
    return list(traffic.calls)


def row(name: str, calls: list[Call], quiet: float) -> tuple[str, ...]:
    seconds = [each.seconds for each in calls]
    cuts = statistics.quantiles(seconds, n=100)
    figures = (cuts[49], cuts[98], max(seconds))
    failed = sum(1 for each in calls if each.fault)
    return (
        name,
        str(len(calls)),
        str(failed),
        *(f"{each * 1000:.0f}" for each in figures),
        f"{max(seconds) / quiet:.2f}",
    )


def stored(stack: Stack, runs: list[str]) -> tuple[int, int, int]:
    """Completed runs, completed task runs and log lines of these runs."""
    among = ", ".join(f"'{each}'" for each in runs)

    def counts() -> tuple[int, int, int]:
        flows = stack.query(f"SELECT count(*) FROM flow_run WHERE id IN ({among}) AND state_type = 'COMPLETED'")
        tasks = stack.query(
            f"SELECT count(*) FROM task_run WHERE flow_run_id IN ({among}) AND state_type = 'COMPLETED'"
        )
        lines = stack.query(f"SELECT count(*) FROM log WHERE flow_run_id IN ({among}) AND message LIKE 'line of task%'")
        return int(flows[0][0]), int(tasks[0][0]), int(lines[0][0])

    wanted = (len(runs), len(runs) * TASKS, len(runs) * TASKS)
    with suppress(AssertionError):
        eventually(lambda: counts() == wanted, "all that was sent", 60)
    return counts()


def schedule_faults(stack: Stack, deployment: UUID) -> tuple[int, int, int]:
    """Scheduled runs, those at a time which another has, and gaps between two of them."""
    rows = stack.query(
        f"SELECT extract(epoch FROM expected_start_time)::bigint FROM flow_run WHERE deployment_id = '{deployment}' "
        "ORDER BY 1"
    )
    times = [int(each[0]) for each in rows]
    steps = [after - before for before, after in itertools.pairwise(times)]
    return len(times), steps.count(0), sum(1 for each in steps if each > EVERY_SECONDS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--flows", type=int, default=20)
    parser.add_argument("--limited-minutes", type=float, default=4.0)
    options = parser.parse_args()
    console = Console(width=130)
    with scratch("bench-") as stack, tempfile.TemporaryDirectory(prefix="bench-") as scratch_folder:
        folder = Path(scratch_folder)
        (folder / "old.toml").write_text(f'prefect_version = "{OLD}"\n')
        stack.bootstrap("--spec", str(folder / "old.toml"))
        measure(stack, folder, options, console)


def measure(stack: Stack, folder: Path, options: argparse.Namespace, console: Console) -> None:
    table = Table(title=f"An upgrade {OLD} → {NEW} under {options.clients} clients without retries")
    for column in ("", "calls", "failed", "p50 ms", "p99 ms", "slowest ms", "slowest ÷ quiet"):
        table.add_column(column, justify="left" if not column else "right")
    with stack.client() as client:
        deployment = scheduled(client)
        limited = limited_run(stack, client, options.limited_minutes * 60 + BEFORE_SECONDS, folder)
    flows = started_flows(stack, options.flows, folder)
    runs = begun(flows)
    quiet_calls = under_load(stack, options.clients, QUIET_SECONDS)
    quiet = max(each.seconds for each in quiet_calls)
    table.add_row(*row("quiet half-minute", quiet_calls, quiet))
    with subscribed(stack) as subscriber, clients(options.clients, stack.url, stack.secret("auth-string")) as traffic:
        began = time.monotonic()
        seconds = upgraded(stack)
        for each in flows:
            each.wait(timeout=UPGRADE_SECONDS)
        spanned = spanning(stack, runs)
    table.add_row(*row("upgrade", list(traffic.calls), quiet))
    with clients(options.clients, stack.url, stack.secret("auth-string")) as again:
        again.wait_for(300)
        restarted_in_place(stack)
        again.wait_for(300)
    table.add_row(*row("restart in place, held socket", list(again.calls), quiet))
    console.print(table)
    completed, tasks, lines = stored(stack, runs)
    console.print(f"upgrade: {seconds:.0f} s in all, a worker drained under a run of minutes among it")
    slowest = sorted(traffic.calls, key=lambda each: -each.seconds)[:5]
    places = ", ".join(f"{1000 * each.seconds:.0f} ms at {each.began - began:.0f} s" for each in slowest)
    console.print(f"slowest calls, and when after the command: {places}", soft_wrap=True)
    console.print(
        f"flows of {TASKS} tasks: {completed} of {len(runs)} completed, {tasks} task runs, {lines} log lines; "
        f"{spanned} of them spanned the switch"
    )
    with stack.client() as client:
        console.print(f"flow under a concurrency limit, minutes past the switch: {state(client, limited)}")
    count, doubled, missed = schedule_faults(stack, deployment)
    console.print(f"scheduled runs: {count}, {doubled} doubled, {missed} missed")
    gaps = ", ".join(f"{each:.2f}" for each in subscriber.gaps) or "none"
    console.print(f"websocket of events: {subscriber.events} events, back after (s): {gaps}")
    console.print(_report(stack))


def _report(stack: Stack) -> str:
    """The lines of the upgrade's own report which say how long each step took."""
    with stack.client() as client:
        found = next(each for each in client.read_latest_artifacts() if each.key == "upgrade")
    return "\n".join(line for line in str(found.data).splitlines() if line.startswith(("|", "longest")))


if __name__ == "__main__":
    sys.exit(main())
