"""One-shot jobs: each `run` once, its end remembered across restarts of the agent and of the host."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import processes
from .config import AgentConfig, Layout
from .definitions import job_definition
from .files import write_atomically
from .records import read_data, write_data
from .spec import Job, JobStatus, from_json
from .systemd import control

HISTORY = 500
"""Ended runs that are remembered; the oldest are dropped. A run is never repeated while it is remembered."""


class Jobs:
    """Starts job runners and collects what they wrote down. A runner outlives the agent."""

    def __init__(
        self, config: AgentConfig, layout: Layout, wrapper: Sequence[str], history: Path | None = None
    ) -> None:
        """`history` is the file with the ended runs; left out: that of the jobs of specs."""
        self._config = config
        self._layout = layout
        self._wrapper = tuple(wrapper)
        self._history = history or layout.jobs
        self._runners: dict[tuple[str, str], subprocess.Popen[bytes]] = {}
        self._ended = _read_history(self._history)

    def status(self, job: Job) -> JobStatus | None:
        """How this run stands; None where it has not begun."""
        return self._ended.get((job.name, job.run)) or self._running(job)

    def start(self, job: Job) -> None:
        """Start a runner, unless one of this job's name still runs."""
        if self.is_busy(job.name):
            return
        for ended in [key for key in self._runners if key[0] == job.name]:
            del self._runners[ended]  # of a run that a later spec did not list any more: nobody collected it
        write_data(f"{self._layout.job_runs}/{job.name}.json", job_definition(job, self._config))
        apart = control.apart(self._config, job.name) if self._config.manager == "systemd" else []
        self._runners[job.name, job.run] = subprocess.Popen(
            [*apart, *self._wrapper, "exec", str(self._layout.home), "job", job.name],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )

    def collect(self, job: Job) -> None:
        """Take in the end of a run that is over."""
        if (job.name, job.run) in self._ended:
            return
        runner = self._runners.get((job.name, job.run))
        is_over = not self.is_busy(job.name)
        began = self._read(job.name, "pid").get("run") == job.run
        if is_over and (began or runner is not None):
            self._runners.pop((job.name, job.run), None)
            self._remember(job, self._read(job.name, "result"), began)

    def end_all(self) -> None:
        """End every runner and its job, and let none begin that is just being started. Waits."""
        for path in self._layout.job_runs.glob("*.json"):
            path.unlink()
        for path in self._layout.job_runs.glob("*.pid"):
            record = processes.from_data(read_data(str(path)))
            if record is not None:
                processes.end(record, timeout=10.0)

    def _running(self, job: Job) -> JobStatus | None:
        record = self._read(job.name, "pid")
        if record.get("run") == job.run:
            return JobStatus(job.name, job.run, "running", started=float(record["started"]))
        return JobStatus(job.name, job.run, "running") if (job.name, job.run) in self._runners else None

    def is_busy(self, name: str) -> bool:
        """Whether some run of that name has not ended."""
        if any(key[0] == name and runner.poll() is None for key, runner in self._runners.items()):
            return True
        return processes.is_alive(processes.from_data(self._read(name, "pid")))

    def _remember(self, job: Job, result: dict[str, Any], began: bool) -> None:
        if result.get("run") == job.run:
            status = JobStatus(
                job.name,
                job.run,
                "succeeded" if result["exit_status"] == 0 else "failed",
                result["exit_status"],
                result["output"],
                result["started"],
                result["ended"],
            )
        else:
            how = "was killed" if began else "did not start"
            status = JobStatus(job.name, job.run, "failed", output=f"its runner {how}; give it a new run")
        self._ended[(job.name, job.run)] = status
        self._write_history()

    def _write_history(self) -> None:
        latest = sorted(self._ended.values(), key=lambda each: each.ended)[-HISTORY:]
        text = json.dumps([dataclasses.asdict(each) for each in latest])
        write_atomically(self._history, text.encode(), 0o600)

    def _read(self, name: str, kind: str) -> dict[str, Any]:
        return read_data(f"{self._layout.job_runs}/{name}.{kind}")


def _read_history(path: Path) -> dict[tuple[str, str], JobStatus]:
    """Ended runs. A damaged file is put aside: running a job again would be worse than losing its output, so
    its runner's own record still keeps the last run of each name from being repeated."""
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        known = [from_json(JobStatus, json.dumps(each)) for each in entries]
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError):
        path.replace(path.with_suffix(".damaged"))
        return {}
    return {(each.name, each.run): each for each in known}
