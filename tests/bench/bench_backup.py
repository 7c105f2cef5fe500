"""Backup and drill beside the raw programs, on histories of growing length, and the memory of the flow's process.

    uv run python -m tests.bench.bench_backup [--runs 1000 4000 10000 42000 100000]

On a stack bootstrapped for the purpose, by runs of its own deployment `backup`. 4,000 flow runs are about 100 MB,
42,000 about 1 GB, indexes included. Raw is pg_dump and pg_restore of the same database as a person calls them, before
and after; the drill's pg_restore has two jobs. Targets: backup and drill ≤ 1.15 × raw at 1 GB, the memory flat, the
time no worse than linear. It prints and judges nothing: exit status 0.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from blocks.postgres import dump as dumps
from blocks.postgres import sql
from blocks.postgres.connection import Login
from blocks.postgres.programs import ADMIN, OWNER
from tests.bench import history
from tests.stack import Stack, scratch

RUNS = [1_000, 4_000, 10_000, 42_000, 100_000]


@dataclass
class Peak:
    """The most memory which the process that held the lease took, MB."""

    megabytes: float = 0.0


@contextmanager
def watched(lease: Path) -> Iterator[Peak]:
    """Looks every tenth of a second."""
    peak, over = Peak(), threading.Event()

    def watch() -> None:
        while not over.wait(0.1):
            with suppress(OSError, ValueError, KeyError, AttributeError):  # it does not run yet, or no longer
                pid = json.loads(lease.read_text())["pid"]
                found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
                peak.megabytes = max(peak.megabytes, int(found[1]) / 1000 if found else 0.0)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        over.set()
        thread.join()


def raw_seconds(stack: Stack) -> float:
    """pg_dump, createdb and pg_restore."""
    admin = Login("127.0.0.1", stack.port + 2, ADMIN, stack.secret("database-admin-password"), "postgres")
    dump, copy = stack.folder / "raw", replace(admin, database="raw")
    began = time.monotonic()
    dumps.dump(stack.programs, stack.login, dump)
    sql.query(admin, f"CREATE DATABASE raw OWNER {OWNER}")
    argv = [str(stack.programs / "pg_restore"), "--no-owner", "--no-acl", "--no-comments", "--dbname=raw", str(dump)]
    with copy.for_programs() as environment:
        subprocess.run(argv, env=environment, check=True)
    seconds = time.monotonic() - began
    sql.query(admin, "DROP DATABASE raw")
    dump.unlink()
    return seconds


def task_seconds(stack: Stack) -> list[float]:
    """Of the last run's tasks `dump` and `drill`, all they do included."""
    sql = """
    SELECT extract(epoch FROM total_run_time) FROM task_run
    WHERE flow_run_id = (SELECT r.id FROM flow_run r JOIN flow f ON f.id = r.flow_id WHERE f.name = 'backup'
        AND r.state_type = 'COMPLETED' ORDER BY r.end_time DESC LIMIT 1)
    AND (name LIKE 'dump-%' OR name LIKE 'drill-%') ORDER BY start_time
    """
    deadline = time.monotonic() + 30  # the server stores task runs a moment later
    while len(found := stack.query(sql)) < 2 and time.monotonic() < deadline:
        time.sleep(0.5)
    dump, drill = found
    return [float(dump[0]), float(drill[0])]


def measure(stack: Stack, runs: int) -> None:
    before = raw_seconds(stack)
    with watched(stack.home / "lease.json") as peak:
        stack.run("backup", "--reason", f"bench of {runs} runs")
    dump, drill = task_seconds(stack)
    raw = (before + raw_seconds(stack)) / 2
    size = history.size(stack.login) / 1e6
    print(
        f"{runs:>9} {size:>9.0f} {raw:>8.1f} {dump:>8.1f} {drill:>8.1f} {(dump + drill) / raw:>7.2f} "
        f"{1000 * (dump + drill) / runs:>11.2f} {peak.megabytes:>9.0f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--runs", type=int, nargs="+", default=RUNS, help="lengths of the history, growing")
    with scratch("bch-") as stack:
        stack.bootstrap()
        print("     runs        MB   raw, s  dump, s drill, s   ratio ms per run memory, MB", flush=True)
        there = 0
        for runs in parser.parse_args().runs:
            history.fill(stack.login, runs - there)
            there = runs
            measure(stack, runs)


if __name__ == "__main__":
    main()
