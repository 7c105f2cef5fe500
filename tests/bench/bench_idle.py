"""What a whole stack takes while it does nothing, beside a bare `prefect server start`; and how soon runs start in it.

    uv run python -m tests.bench.bench_idle [--seconds 120] [--runs 20]

On a stack bootstrapped for the purpose, or that of SELFHOST_TEST_STACK. It and the bare server are measured over the
same seconds, the stack's own schedules paused; what its scheduled flows take is measured by one run of each. Targets:
the whole stack ≤ 3 % of a core, the host agent ≤ 25 MB of memory, a run taken by its worker within 3 s of being
scheduled by hand. It prints and judges nothing: exit status 0.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType
from rich.console import Console
from rich.table import Table

from blocks.agent.processes import descendants
from tests.bench.bench_bootstrap import folder, wait_healthy
from tests.postgres import base_environment, free_port, running_cluster
from tests.stack import Stack, bootstrapped, eventually

TICKS = os.sysconf("SC_CLK_TCK")
BARE = "bare prefect server start"
SETTLE_SECONDS = 20.0
"""What a bootstrap and a first start leave to do."""
RUN_SECONDS = 300.0
"""Time a run gets to end, on a machine that does much else."""
BETWEEN_RUNS = 5.0
OWN_FLOWS = {"sweep/sweep": 600, "status/status": 3600}
"""Deployment → seconds between two of its runs, as prefect.yaml has them."""


def resident_megabytes(pid: int) -> float:
    """Memory of a process that is not swapped out and counts whole where it is shared."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmRSS:"))) / 1024


def processor_seconds(pid: int) -> float:
    """User and system time of a process since its start, its ended children's included."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15]) / TICKS


@contextmanager
def bare_server() -> Iterator[int]:
    """Process of a server nobody calls, with its own empty database."""
    port = free_port()
    with folder() as home, running_cluster() as cluster:
        url = {"PREFECT_SERVER_DATABASE_CONNECTION_URL": cluster.create_database("bare")}
        argv = [sys.executable, "-m", "prefect", "server", "start", "--port", str(port)]
        environment = base_environment(home) | url
        with subprocess.Popen(
            argv, env=environment, cwd=home, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT
        ) as process:
            try:
                wait_healthy(port)
                yield process.pid
            finally:
                process.terminate()
                process.wait()


def processes_of(stack: Stack) -> dict[str, list[int]]:
    """Each part of a stack that runs → its processes."""
    status = json.loads((stack.home / "agent/status.json").read_text())
    circusd = json.loads((stack.home / "run/circusd.pid").read_text())["pid"]
    services = {each["name"]: family(each["pid"]) for each in status["services"]}
    return {"host agent": [status["agent_pid"]], "circusd": [circusd], **services}


def family(pid: int) -> list[int]:
    return [pid, *(each.pid for each in descendants(pid))]


def spent(parts: Mapping[str, list[int]]) -> dict[str, float]:
    return {
        name: sum(processor_seconds(pid) for pid in pids if Path(f"/proc/{pid}").exists())
        for name, pids in parts.items()
    }


@contextmanager
def unscheduled(stack: Stack) -> Iterator[None]:
    """The stack without its schedules."""
    with stack.client() as client:
        scheduled = [each.id for each in client.read_deployments() if each.schedules]
        for each in scheduled:
            client.pause_deployment(each)
        try:
            yield
        finally:
            for each in scheduled:
                client.resume_deployment(each)


def completed(client: SyncPrefectClient, deployment: str) -> UUID:
    """A run of a deployment, started by hand and waited for."""
    run = client.create_flow_run_from_deployment(client.read_deployment_by_name(deployment).id)

    def is_over() -> bool:
        state = client.read_flow_run(run.id).state
        return state is not None and state.is_final()

    eventually(is_over, f"the end of a run of {deployment}", RUN_SECONDS, every=0.5)
    return run.id


def shares(parts: Mapping[str, list[int]], seconds: float) -> dict[str, float]:
    """Percent of one core that each part takes over so many seconds."""
    before = spent(parts)
    time.sleep(seconds)
    after = spent(parts)
    return {name: 100 * (after[name] - before[name]) / seconds for name in parts}


def idle_table(parts: Mapping[str, list[int]], share: Mapping[str, float]) -> Table:
    table = Table("part", "memory, MB", "processor, % of one core", "target", title=f"load {os.getloadavg()[0]:.1f}")
    for name, pids in parts.items():
        memory = sum(resident_megabytes(pid) for pid in pids if Path(f"/proc/{pid}").exists())
        table.add_row(name, f"{memory:.1f}", f"{share[name]:.2f}", "≤ 25 MB" if name == "host agent" else "")
    whole = sum(value for name, value in share.items() if name != BARE)
    table.add_row("the whole stack", "", f"{whole:.2f}", "≤ 3 %")
    table.add_row("the whole stack ÷ bare", "", f"{whole / max(share[BARE], 0.01):.1f}", "")
    return table


def own_flows_table(stack: Stack, parts: Mapping[str, list[int]]) -> Table:
    """What the flows take which a stack starts by itself more than once a day."""
    table = Table("its own flow", "processor, s", "% of one core")
    with stack.client() as client:
        for deployment, every in OWN_FLOWS.items():
            before = spent(parts)
            completed(client, deployment)
            time.sleep(SETTLE_SECONDS)  # the worker has noted the end of its process
            took = sum(spent(parts).values()) - sum(before.values())
            table.add_row(f"{deployment}, every {every / 60:.0f} min", f"{took:.1f}", f"{100 * took / every:.2f}")
    return table


def starts_table(stack: Stack, count: int) -> Table:
    """How soon the worker of the pool `default` takes a run that is scheduled by hand, and how soon that runs."""
    reached: dict[StateType, list[float]] = {StateType.PENDING: [], StateType.RUNNING: []}
    with stack.client() as client:
        for _ in range(count):
            states = client.read_flow_run_states(completed(client, "probe/default"))
            for state, seconds in reached.items():
                at = next(each.timestamp for each in states if each.type == state)
                seconds.append((at - states[0].timestamp).total_seconds())
            time.sleep(random.uniform(0, BETWEEN_RUNS))
    title = f"{count} runs scheduled by hand, load {os.getloadavg()[0]:.1f}"
    table = Table("seconds until it is", "median", "worst", "target", title=title)
    for name, seconds in zip(("taken by its worker", "running"), reached.values(), strict=True):
        target = "≤ 3 s" if name.startswith("taken") else ""
        table.add_row(name, f"{statistics.median(seconds):.1f}", f"{max(seconds):.1f}", target)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--runs", type=int, default=20)
    options = parser.parse_args()
    with bootstrapped("bench-") as stack, unscheduled(stack):
        with bare_server() as bare:
            own = processes_of(stack)
            time.sleep(SETTLE_SECONDS)
            parts = own | {BARE: family(bare)}
            Console().print(idle_table(parts, shares(parts, options.seconds)))
        if options.runs:
            Console().print(starts_table(stack, options.runs), own_flows_table(stack, own))


if __name__ == "__main__":
    main()
