"""A server replaced under 16 clients without retries: slot by slot on the held socket, and in place.

    uv run python -m tests.bench.bench_slots [--clients 16] [--calls 4000]

Each client mixes GET /api/health, POST /api/flow_runs/filter and POST /api/logs/ on one kept-alive connection,
with authentication. A failed call is any answer but 2xx, or none. About two minutes.
"""

from __future__ import annotations

import argparse
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
from rich.console import Console
from rich.table import Table

from tests.held import Holder, holding, server_environment
from tests.postgres import Cluster, free_port, running_cluster
from tests.traffic import Call, Traffic, clients

AUTH = "admin:bench"
QUIET_SECONDS = 8.0
SETTLE_CALLS = 300
TEMPLATE = "migrated"


@dataclass(frozen=True)
class Row:
    """What the clients saw in one experiment."""

    name: str
    calls: list[Call]

    @property
    def failed(self) -> int:
        return sum(1 for each in self.calls if each.fault)

    @property
    def slowest(self) -> float:
        return max(each.seconds for each in self.calls)

    def quantile(self, percent: int) -> float:
        return statistics.quantiles([each.seconds for each in self.calls], n=100)[percent - 1]


def under_load(name: str, address: str, count: int, experiment: Callable[[Traffic], None]) -> Row:
    """Run `experiment` while `count` clients call `address`."""
    with clients(count, address, AUTH) as traffic:
        traffic.wait_for(SETTLE_CALLS)
        traffic.calls.clear()
        experiment(traffic)
        traffic.wait_for(SETTLE_CALLS)
    return Row(name, list(traffic.calls))


def replace_slots(holder: Holder, traffic: Traffic, calls: int) -> None:
    """Start the other slot, wait until it is ready, drain the old one; until `calls` have been made."""
    while len(traffic.calls) < calls:
        old = holder.slots[-1]
        new = holder.start("green" if old.name == "blue" else "blue")
        new.wait_ready()
        if old.stop() != 0:
            raise RuntimeError(f"the old slot did not end cleanly:\n{old.output()[-2000:]}")


def restart_in_place(holder: Holder, sig: signal.Signals) -> None:
    """End the one server, then start it again on the same held socket."""
    holder.slots[-1].stop(sig)
    holder.start(holder.slots[-1].name).wait_ready()


def on_held_socket(cluster: Cluster, count: int, calls: int) -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        url = cluster.create_database("held", TEMPLATE)
        environment = server_environment(Path(folder), url, PREFECT_SERVER_API_AUTH_STRING=AUTH)
        with holding(Path(folder), environment) as holder:
            holder.start("blue").wait_ready()
            experiments: dict[str, Callable[[Traffic], None]] = {
                "quiet": lambda _: time.sleep(QUIET_SECONDS),
                "slot by slot, again and again": lambda traffic: replace_slots(holder, traffic, calls),
                "in place, held socket, SIGTERM": lambda _: restart_in_place(holder, signal.SIGTERM),
                "in place, held socket, SIGKILL": lambda _: restart_in_place(holder, signal.SIGKILL),
            }
            return [under_load(name, holder.address, count, each) for name, each in experiments.items()]


def on_own_port(cluster: Cluster, count: int) -> Row:
    """`prefect server start` with a port of its own, stopped and started again: what others have."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        url = cluster.create_database("own", TEMPLATE)
        environment = server_environment(Path(folder), url, PREFECT_SERVER_API_AUTH_STRING=AUTH)
        port = free_port()

        def start() -> subprocess.Popen[bytes]:
            argv = [sys.executable, "-m", "prefect", "--no-prompt", "server", "start", "--port", str(port)]
            with (Path(folder) / "log").open("ab") as log:
                server = subprocess.Popen(argv, env=environment, cwd=folder, stdout=log, stderr=log)
            wait_healthy(f"http://127.0.0.1:{port}")
            return server

        def restart(_: Traffic) -> None:
            servers[-1].terminate()
            servers[-1].wait(timeout=30)
            servers.append(start())

        servers = [start()]
        try:
            return under_load("in place, port of its own", f"http://127.0.0.1:{port}", count, restart)
        finally:
            servers[-1].terminate()
            servers[-1].wait(timeout=30)


def wait_healthy(address: str, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            if httpx.get(f"{address}/api/health", timeout=5).is_success:
                return
        except httpx.TransportError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.05)


def report(rows: list[Row]) -> Table:
    table = Table(title="Replacing the server under clients without retries")
    for column in ("", "calls", "failed", "p50 ms", "p99 ms", "slowest ms", "slowest ÷ quiet"):
        table.add_column(column, justify="left" if not column else "right")
    for row in rows:
        seconds = (row.quantile(50), row.quantile(99), row.slowest)
        ratio = row.slowest / rows[0].slowest
        cells = [f"{1000 * each:.0f}" for each in seconds]
        table.add_row(row.name, f"{len(row.calls):,}", f"{row.failed:,}", *cells, f"{ratio:.1f}")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--calls", type=int, default=4000, help="replace slots until so many were made")
    given = parser.parse_args()
    with running_cluster() as cluster, tempfile.TemporaryDirectory() as home:
        cluster.create_database(TEMPLATE)
        cluster.migrate(TEMPLATE, Path(home))
        rows = on_held_socket(cluster, given.clients, given.calls)
        rows.append(on_own_port(cluster, given.clients))
    console = Console(width=110)
    console.print(report(rows))
    for fault in sorted({each.fault for row in rows[:2] for each in row.calls if each.fault}):
        console.print(f"  fault: {fault}")
    console.print("Wanted: slot by slot 0 failed of at least 4,000.")


if __name__ == "__main__":
    main()
