"""A fresh bootstrap and a repeat ÷ a bare `prefect server start` until healthy, side by side in one run.

    uv run python -m tests.bench.bench_bootstrap [--rounds 3]

Each round does all three in turn: the bare server on an empty database of a running PostgreSQL, a bootstrap into
an empty folder until it has verified itself, the same command again. Targets: fresh ≤ 3.0, repeat ≤ 1.0. It
prints and judges nothing: exit status 0 unless one of the three fails.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.postgres import Cluster, base_environment, free_port, running_cluster

SELFHOST = Path(sys.executable).with_name("selfhost")
ENVIRONMENT = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
HEALTHY_SECONDS = 120.0


@contextmanager
def folder() -> Iterator[Path]:
    """An empty folder other users can pass through, gone afterwards."""
    path = Path(tempfile.mkdtemp(prefix="bench-"))
    path.chmod(0o711)
    try:
        yield path
    finally:
        shutil.rmtree(path)


def bare(cluster: Cluster, number: int) -> float:
    """Seconds from `prefect server start` on an empty database to the first good answer of /api/health."""
    port = free_port()
    with folder() as home:
        environment = base_environment(home) | {
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": cluster.create_database(f"bare{number}")
        }
        argv = [sys.executable, "-m", "prefect", "server", "start", "--port", str(port)]
        started = time.monotonic()
        with subprocess.Popen(
            argv, env=environment, cwd=home, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT
        ) as it:
            try:
                wait_healthy(port)
                return time.monotonic() - started
            finally:
                it.terminate()


def wait_healthy(port: int) -> None:
    deadline = time.monotonic() + HEALTHY_SECONDS
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/health", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    raise TimeoutError(f"no answer on port {port}")


def bootstrap(home: Path, port: int) -> tuple[float, str]:
    """Seconds of one `selfhost bootstrap`, and what it printed."""
    where = ["--home", str(home), "--port", str(port), "--name", "bench"]
    started = time.monotonic()
    done = subprocess.run([SELFHOST, "bootstrap", *where], env=ENVIRONMENT, check=True, capture_output=True, text=True)
    return time.monotonic() - started, done.stdout


def free_block() -> int:
    """The first of three free ports in a row."""
    return next(port for port in iter(free_port, None) if port < 65000)


def one_round(cluster: Cluster, number: int) -> tuple[float, float, float]:
    """Seconds of the bare start, a fresh bootstrap and its repeat."""
    alone = bare(cluster, number)
    with folder() as parent:
        home, port = parent / "stack", free_block()
        try:
            fresh, said = bootstrap(home, port)
            Console().print(said.split("╭")[0], style="dim", highlight=False)
            again, _ = bootstrap(home, port)
        finally:
            subprocess.run(
                [SELFHOST, "destroy", "--yes", "--home", str(home), "--name", "bench"],
                env=ENVIRONMENT,
                check=True,
                capture_output=True,
            )
    return alone, fresh, again


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    with running_cluster() as cluster:
        measured = [one_round(cluster, number) for number in range(rounds)]
    table = Table("what", "seconds, each round", "median", "÷ bare, each round", "median ÷", "target")
    for index, (what, target) in enumerate(
        (("bare server start", ""), ("fresh bootstrap", "≤ 3.0"), ("repeat", "≤ 1.0"))
    ):
        seconds = [each[index] for each in measured]
        ratios = [each[index] / each[0] for each in measured]
        table.add_row(
            what,
            " ".join(f"{each:.1f}" for each in seconds),
            f"{statistics.median(seconds):.1f}",
            " ".join(f"{each:.2f}" for each in ratios),
            f"{statistics.median(ratios):.2f}",
            target,
        )
    Console().print(table)


if __name__ == "__main__":
    main()
