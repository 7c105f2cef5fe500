"""Flows of 14 tasks in processes of their own, run from outside through a front door; and what is stored of them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.fourteen import TASKS
from tests.stack import eventually

Query = Callable[[str], Sequence[Sequence[Any]]]
"""Runs one statement in the server's database; its rows."""
STORE_SECONDS = 60.0


def started(python: Path, seconds: float, count: int, environment: Mapping[str, str]) -> list[subprocess.Popen[str]]:
    """Start that many, each task of which takes `seconds`, with a release's Python.

    Args:
        environment: Names the API, its auth string and a PREFECT_HOME, which is also the working folder.
    """
    folder = Path(environment["PREFECT_HOME"])
    folder.mkdir(exist_ok=True)
    argv = [str(python), str(Path(__file__).with_name("fourteen.py")), str(seconds)]
    return [
        subprocess.Popen(
            argv, env=dict(environment), cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        for _ in range(count)
    ]


def begun(flows: list[subprocess.Popen[str]]) -> list[str]:
    """Their run ids, once all of them run."""
    runs = [each.stdout.readline().strip() for each in flows if each.stdout is not None]
    assert all(runs), f"{runs.count('')} of {len(runs)} flows did not start"
    return runs


def ended(flows: list[subprocess.Popen[str]], seconds: float) -> None:
    """Wait for their end; what does not end in time is killed."""
    with suppress(AssertionError):
        eventually(lambda: all(each.poll() is not None for each in flows), "the end of the flows", seconds)
    for each in flows:
        if each.poll() is None:
            each.kill()
            each.wait()


@dataclass(frozen=True)
class Stored:
    """What the database has of some runs."""

    runs: int
    completed: int
    task_runs: int
    """Completed ones."""
    lines: int
    """Of log."""
    spanned: int
    """Runs that had begun at the switch and ended later."""

    @property
    def is_whole(self) -> bool:
        whole = (self.runs, self.runs * TASKS, self.runs * TASKS)
        return (self.completed, self.task_runs, self.lines) == whole

    def __str__(self) -> str:
        return (
            f"{self.completed} of {self.runs} completed, {self.task_runs} of {self.runs * TASKS} task runs, "
            f"{self.lines} of {self.runs * TASKS} log lines; {self.spanned} of them spanned the switch"
        )


def stored(query: Query, runs: list[str], switched_at: float) -> Stored:
    """Read it back, after what is on its way has had its time."""
    with suppress(AssertionError):
        eventually(lambda: _read(query, runs, switched_at).is_whole, "all that was sent", STORE_SECONDS)
    return _read(query, runs, switched_at)


def _read(query: Query, runs: list[str], switched_at: float) -> Stored:
    among = ", ".join(f"'{each}'" for each in runs)
    moment = f"to_timestamp({switched_at})"

    def count(rest: str) -> int:
        return int(query(f"SELECT count(*) FROM {rest}")[0][0])

    return Stored(
        runs=len(runs),
        completed=count(f"flow_run WHERE id IN ({among}) AND state_type = 'COMPLETED'"),
        task_runs=count(f"task_run WHERE flow_run_id IN ({among}) AND state_type = 'COMPLETED'"),
        lines=count(f"log WHERE flow_run_id IN ({among}) AND message LIKE 'line of task%'"),
        spanned=count(f"flow_run WHERE id IN ({among}) AND start_time < {moment} AND end_time > {moment}"),
    )
