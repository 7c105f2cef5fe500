"""What a whole stack takes while it does nothing, beside a bare `prefect server start` on the same PostgreSQL.

    uv run python -m tests.bench.bench_idle [--seconds 120]

On a stack bootstrapped for the purpose, both measured over the same seconds. Targets: the whole stack ≤ 3 % of a core,
the host agent ≤ 25 MB of memory and no measurable processor time. It prints and judges nothing: exit status 0.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table

from blocks.agent.processes import descendants
from tests.bench.bench_bootstrap import folder, wait_healthy
from tests.postgres import base_environment, free_port, running_cluster
from tests.stack import Stack, scratch

TICKS = os.sysconf("SC_CLK_TCK")
BARE = "bare prefect server start"
SETTLE_SECONDS = 20.0
"""What a bootstrap and a first start leave to do."""


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=120.0)
    seconds = parser.parse_args().seconds
    with bare_server() as bare, scratch() as stack:
        stack.bootstrap()
        parts = processes_of(stack) | {BARE: family(bare)}
        time.sleep(SETTLE_SECONDS)
        before = spent(parts)
        time.sleep(seconds)
        after = spent(parts)
        share = {name: 100 * (after[name] - before[name]) / seconds for name in parts}
        table = Table("part", "memory, MB", "processor, % of one core", "target")
        for name, pids in parts.items():
            memory = sum(resident_megabytes(pid) for pid in pids if Path(f"/proc/{pid}").exists())
            target = "≤ 25 MB, none measurable" if name == "host agent" else ""
            table.add_row(name, f"{memory:.1f}", f"{share[name]:.2f}", target)
        whole = sum(value for name, value in share.items() if name != BARE)
        table.add_row("the whole stack", "", f"{whole:.2f}", "≤ 3 %")
        table.add_row("the whole stack ÷ bare", "", f"{whole / max(share[BARE], 0.01):.1f}", "")
    Console().print(table)


if __name__ == "__main__":
    main()
