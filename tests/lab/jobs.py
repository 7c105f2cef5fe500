"""Cloud Run's part for jobs: a container for each attempt of each task of an execution.

They stay, ended, until the execution is deleted: their logs can be read with `docker logs`.
Sources: https://cloud.google.com/run/docs/container-contract#jobs-env-vars,
https://cloud.google.com/run/docs/configuring/max-retries, …/task-timeout
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from subprocess import TimeoutExpired
from typing import TYPE_CHECKING, Any

from tests.lab.containers import Ran, short
from tests.lab.engine import docker

if TYPE_CHECKING:
    from tests.lab.cloud import Lab

Body = dict[str, Any]
LABEL = "selfhost-lab-execution"


class Failed(Exception):
    """A task has failed for good; the text is what Cloud Run says of it. Source: googlecodelabs/feedback#1369"""


class Executions:
    """The part behind `run.executions`."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self._ended: set[str] = set()
        """Executions that somebody has ended: no task of theirs is tried again."""
        self._lock = threading.Lock()

    def start(self, name: str, body: Body) -> None:
        """Carry it out; returns once all tasks have ended.

        Raises:
            Failed: not all have succeeded.
        """
        body |= dict.fromkeys(("succeededCount", "failedCount", "retriedCount"), 0)
        with ThreadPoolExecutor(body["parallelism"]) as running:
            outcomes = list(running.map(lambda index: self._task(name, body, index), range(body["taskCount"])))
        if failed := [each for each in outcomes if each]:
            raise Failed(failed[0])

    def _task(self, name: str, body: Body, index: int) -> str:
        """What is wrong with a task, "" for one that has succeeded."""
        said = ""
        for attempt in range(1 + body["template"]["maxRetries"]):
            if name in self._ended:
                return "The execution was cancelled."
            self._count(body, "retriedCount", by=attempt == 1)
            said = self._attempt(name, body, index, attempt)
            if not said:
                self._count(body, "succeededCount")
                return ""
        self._count(body, "failedCount")
        return f"Task {_last(name)}-task{index} failed with message: {said}"

    def _attempt(self, name: str, body: Body, index: int, attempt: int) -> str:
        _, _, project, _, location, _, job, _, execution = name.split("/")
        told = {"CLOUD_RUN_JOB": job, "CLOUD_RUN_EXECUTION": execution, "CLOUD_RUN_TASK_INDEX": str(index)}
        told |= {"CLOUD_RUN_TASK_ATTEMPT": str(attempt), "CLOUD_RUN_TASK_COUNT": str(body["taskCount"])}
        container = self.lab.mine(f"task-{short(name)}-{index}-{attempt}")
        task = body["template"]
        ran = Ran(self.lab, container, project, location, task, told, ("--label", f"{LABEL}={name}"))
        ran.start(task["containers"][0])
        try:
            status = docker("wait", container, timeout=float(task["timeout"].removesuffix("s"))).strip()
        except TimeoutExpired:
            docker("kill", container)
            return "The configured timeout was reached."
        return "" if status == "0" else "The container exited with an error."

    def _count(self, body: Body, what: str, by: int = 1) -> None:
        with self._lock:
            body[what] += by

    def change(self, name: str, body: Body) -> None: ...

    def stop(self, name: str, body: Body) -> None:
        """End what runs of it."""
        self._ended.add(name)
        self._each(name, "kill", "status=running")

    def remove(self, name: str) -> None:
        self._ended.add(name)
        self._each(name, "rm", "name=.", "--force", "--volumes")

    def _each(self, name: str, verb: str, which: str, *options: str) -> None:
        told = ("--filter", f"label={LABEL}={name}", "--filter", which)
        if found := docker("container", "ls", "--all", "--quiet", *told).split():
            docker(verb, *options, *found)


def _last(name: str) -> str:
    return name.rpartition("/")[2]
