"""The server stopped for 30 s and for 80 s under running flows: what of their task runs and logs is stored.

    uv run python -m tests.bench.bench_outage [--outages 30 80] [--direct]

Each experiment has a server of its own on a held socket, with authentication, and one flow of 14 tasks in a
process of its own. Once the fourth task has been logged the server is ended, nobody accepts for a while, and
it is started again. By default the flow comes through nginx with our template as well as directly. The
experiments run at the same time; about four minutes.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

from blocks.local import nginx
from tests.bench.fourteen import TASKS
from tests.front_door import SHORT, front_door
from tests.held import Holder, holding, server_environment
from tests.postgres import Cluster, base_environment, running_cluster
from tests.traffic import headers

AUTH = "admin:bench"
TASK_SECONDS = 1.5
TASKS_BEFORE = 4
FLOW_SECONDS = 300.0
STORE_SECONDS = 45.0
"""Events are kept by the client until a checkpoint every 30 s, and written by the server every 5 s."""
TEMPLATE = "migrated"


@dataclass(frozen=True)
class Experiment:
    seconds: int
    sig: signal.Signals
    through_nginx: bool

    @property
    def name(self) -> str:
        way = "nginx" if self.through_nginx else "direct"
        return f"{self.seconds} s, {self.sig.name}, {way}"


@dataclass(frozen=True)
class Outcome:
    """What could be read back after the flow had ended."""

    state: str
    task_runs: int
    completed: int
    lines: int
    """Different log lines."""
    doubled: int
    """Log lines stored more than once."""
    seconds: float
    """How long the flow took."""

    @property
    def is_whole(self) -> bool:
        return (self.state, self.task_runs, self.completed, self.lines) == ("Completed", TASKS, TASKS, TASKS)


def run_experiment(experiment: Experiment, cluster: Cluster) -> Outcome:
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        database = experiment.name.replace(", ", "-").replace(" ", "")
        url = cluster.create_database(database, TEMPLATE)
        environment = server_environment(home, url, PREFECT_SERVER_API_AUTH_STRING=AUTH)
        with holding(home, environment) as holder:
            holder.start("blue").wait_ready()
            with way_in(experiment, holder) as address:
                return flow_over_outage(experiment, home, holder, address)


@contextmanager
def way_in(experiment: Experiment, holder: Holder) -> Iterator[str]:
    """The address which the flow is given; nginx has the times it has in a stack."""
    if not experiment.through_nginx:
        yield holder.address
        return
    real = nginx.defaults()
    port = int(holder.listening.getsockname()[1])
    with front_door(port, **{name: real[name] for name in SHORT}) as door:
        yield f"http://127.0.0.1:{door.port}"


def flow_over_outage(experiment: Experiment, home: Path, holder: Holder, address: str) -> Outcome:
    began = time.monotonic()
    with running_flow(home / "flow", address) as (process, run_id):
        api = Api(holder.address, run_id)
        api.wait(lambda: len(api.lines()) >= TASKS_BEFORE, 60)
        holder.slots[-1].stop(experiment.sig)
        time.sleep(experiment.seconds)
        holder.start("blue").wait_ready()
        process.wait(timeout=FLOW_SECONDS)
        seconds = time.monotonic() - began
    return api.outcome(seconds)


@contextmanager
def running_flow(home: Path, address: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the flow against `address`; its process and its run's id."""
    home.mkdir()
    environment = base_environment(home) | {
        "PREFECT_API_URL": f"{address}/api",
        "PREFECT_API_AUTH_STRING": AUTH,
    }
    argv = [sys.executable, "-m", "tests.bench.fourteen", str(TASK_SECONDS)]
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(argv, env=environment, cwd=home, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        assert process.stdout is not None
        run_id = process.stdout.readline().strip()
        if not run_id:
            raise RuntimeError(f"the flow did not start:\n{(home / 'log').read_text()[-2000:]}")
        yield process, run_id
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


@dataclass(frozen=True)
class Api:
    """Reads back what was stored of one flow run."""

    address: str
    run_id: str

    def _post(self, path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
        url = f"{self.address}/api/{path}"
        answer = httpx.post(url, json=body, headers=headers(AUTH), timeout=60)
        return list(answer.raise_for_status().json())

    def lines(self) -> list[str]:
        logs = self._post("logs/filter", {"logs": {"flow_run_id": {"any_": [self.run_id]}}})
        return [each["message"] for each in logs if each["message"].startswith("line of task")]

    def task_states(self) -> list[str]:
        runs = self._post("task_runs/filter", {"flow_runs": {"id": {"any_": [self.run_id]}}})
        return [each["state_name"] for each in runs]

    def wait(self, until: Any, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while not until():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.3)
        return True

    def outcome(self, seconds: float) -> Outcome:
        """Read all back, after what is on its way has had its time."""
        self.wait(lambda: self.task_states().count("Completed") == TASKS, STORE_SECONDS)
        self.wait(lambda: len(set(self.lines())) == TASKS, STORE_SECONDS)
        answer = httpx.get(f"{self.address}/api/flow_runs/{self.run_id}", headers=headers(AUTH), timeout=60)
        states, lines = self.task_states(), self.lines()
        return Outcome(
            state=answer.raise_for_status().json()["state_name"],
            task_runs=len(states),
            completed=states.count("Completed"),
            lines=len(set(lines)),
            doubled=len(lines) - len(set(lines)),
            seconds=seconds,
        )


def report(outcomes: dict[Experiment, Outcome]) -> Table:
    table = Table(title=f"The server away under a flow of {TASKS} tasks")
    for column in ("outage", "flow run", "task runs", "completed", "log lines", "doubled", "flow s", "whole"):
        table.add_column(column, justify="left" if column in ("outage", "flow run") else "right")
    for experiment, each in outcomes.items():
        counts = (f"{each.task_runs}/{TASKS}", f"{each.completed}/{TASKS}", f"{each.lines}/{TASKS}")
        end = (str(each.doubled), f"{each.seconds:.0f}", "yes" if each.is_whole else "NO")
        table.add_row(experiment.name, each.state, *counts, *end)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--outages", type=int, nargs="+", default=[30, 80], help="seconds without a server")
    parser.add_argument("--direct", action="store_true", help="leave nginx out")
    given = parser.parse_args()
    experiments = [
        Experiment(seconds, sig, through_nginx)
        for through_nginx in ([False] if given.direct else [False, True])
        for seconds in given.outages
        for sig in (signal.SIGTERM, signal.SIGKILL)
    ]
    with running_cluster() as cluster, tempfile.TemporaryDirectory() as home:
        cluster.create_database(TEMPLATE)
        cluster.migrate(TEMPLATE, Path(home))
        with ThreadPoolExecutor(len(experiments)) as pool:
            outcomes = pool.map(lambda each: run_experiment(each, cluster), experiments)
            Console(width=110).print(report(dict(zip(experiments, outcomes, strict=True))))


if __name__ == "__main__":
    main()
