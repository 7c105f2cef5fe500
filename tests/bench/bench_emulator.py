"""What the emulator of Google's APIs costs: its start, its memory, and a read.

    uv run python -m tests.bench.bench_emulator [--rounds 5] [--reads 2000]

Targets: start ≤ 3 s (one ready line), ≤ 150 MB, p99 of a read ≤ 20 ms. Each round starts a bare Python with nothing but
uvicorn, for comparison, and then the emulator. Reads are gets of one network among a hundred, one after another over
one connection. It prints and judges nothing: exit status 0.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from rich.console import Console
from rich.table import Table

from tests.bench.bench_host_agent import resident_megabytes

COMMAND = [sys.executable, "-m", "tests.emulator", "--port", "0", "--project", "bench"]
PATH = "/compute/compute/v1/projects/bench/global/networks"


@dataclass(frozen=True)
class Round:
    """Seconds to the ready line, megabytes then, and seconds of each read."""

    start: float
    bare: float
    memory: float
    reads: list[float]


@contextmanager
def emulator() -> Iterator[tuple[str, float, int]]:
    """Address, seconds to the ready line, pid."""
    begun = time.monotonic()
    process = subprocess.Popen(COMMAND, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    ready = process.stdout.readline()
    took = time.monotonic() - begun
    try:
        yield ready.split()[5].rstrip(","), took, process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)


def bare_start() -> float:
    """Seconds of a Python that imports uvicorn and ends."""
    begun = time.monotonic()
    subprocess.run([sys.executable, "-c", "import uvicorn"], check=True)
    return time.monotonic() - begun


def measured(reads: int) -> Round:
    bare = bare_start()
    with emulator() as (address, took, pid):
        made = httpx.post(f"{address}/_emulator/tokens", json={"member": "user:owner@example.com"}).json()
        quota = {"project": "bench", "metric": "NETWORKS", "limit": 100}
        httpx.post(f"{address}/_emulator/quotas", json=quota).raise_for_status()
        with httpx.Client(base_url=address, headers={"Authorization": f"Bearer {made['token']}"}) as client:
            for number in range(100):
                body = {"name": f"n{number}", "autoCreateSubnetworks": False}
                client.post(PATH, json=body).raise_for_status()
            times = [_read(client, f"{PATH}/n{number % 100}") for number in range(reads)]
        return Round(took, bare, resident_megabytes(pid), times)


def _read(client: httpx.Client, path: str) -> float:
    begun = time.monotonic()
    client.get(path).raise_for_status()
    return time.monotonic() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--reads", type=int, default=2000)
    arguments = parser.parse_args()
    os.chdir(Path(__file__).parents[2])
    rounds = [measured(arguments.reads) for _ in range(arguments.rounds)]
    reads = sorted(each for one in rounds for each in one.reads)
    table = Table("figure", "measured", "target")
    starts = [one.start for one in rounds]
    table.add_row("start, median (min, max)", _seconds(starts), "≤ 3 s")
    table.add_row("start ÷ a Python that imports uvicorn", f"{_ratio(rounds):.2f}", "")
    table.add_row("memory", f"{max(one.memory for one in rounds):.0f} MB", "≤ 150 MB")
    table.add_row("read, p50", f"{1000 * reads[len(reads) // 2]:.1f} ms", "")
    table.add_row("read, p99", f"{1000 * reads[len(reads) * 99 // 100]:.1f} ms", "≤ 20 ms")
    Console().print(table)


def _seconds(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} s ({min(values):.2f}, {max(values):.2f})"


def _ratio(rounds: list[Round]) -> float:
    return statistics.median(one.start / one.bare for one in rounds)


if __name__ == "__main__":
    main()
