"""What the host agent and its service manager take while a whole stack does nothing.

    uv run python -m tests.bench.bench_host_agent [--seconds 60]

On a stack bootstrapped for the purpose. Targets: the agent ≤ 25 MB of memory, no measurable processor time. It
prints and judges nothing: exit status 0.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.stack import scratch

TICKS = os.sysconf("SC_CLK_TCK")


def resident_megabytes(pid: int) -> float:
    """Memory of a process that is not swapped out and counts whole where it is shared."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmRSS:"))) / 1024


def processor_seconds(pid: int) -> float:
    """User and system time of a process since its start, its ended children's included."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15]) / TICKS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=60.0)
    seconds = parser.parse_args().seconds
    with scratch() as stack:
        stack.bootstrap()
        status = json.loads((stack.home / "agent/status.json").read_text())
        pids = {each["name"]: each["pid"] for each in status["services"]}
        circusd = json.loads((stack.home / "run/circusd.pid").read_text())["pid"]
        pids = {"host agent": status["agent_pid"], "circusd": circusd, **pids}
        time.sleep(10)  # what the bootstrap left to do
        before = {name: processor_seconds(pid) for name, pid in pids.items()}
        time.sleep(seconds)
        table = Table("process", "memory, MB", "processor, % of one core", "target")
        for name, pid in pids.items():
            share = 100 * (processor_seconds(pid) - before[name]) / seconds
            target = "≤ 25 MB, none measurable" if name == "host agent" else ""
            table.add_row(name, f"{resident_megabytes(pid):.1f}", f"{share:.2f}", target)
    Console().print(table)


if __name__ == "__main__":
    main()
