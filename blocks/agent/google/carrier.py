"""What a VM is asked to do: requests in the ledger's inbox, carried out one at a time.

The agent takes a request, installs the release that knows how to carry it out, and starts that as a job of its own,
which takes the request over and answers it. A job outlives the agent, and the agent's next life finds it again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

from .. import processes
from ..config import AgentConfig, Layout
from ..inbox import ANSWERS, INBOX, LOGS, TAKE_SECONDS, WAITS, WANTED, interrupted, log_piece, too_late
from ..jobs import Jobs
from ..records import read_data
from ..releases import ReleaseFailed
from ..spec import HostSpec, InvalidSpec, Job, Release, from_json
from ..validation import faults
from .artifacts import Artifacts
from .cloud import Cloud
from .objects import Object

JOB = "request"
EVERY = 1.0
"""Seconds between two looks at the job that carries a request out."""
LONGEST_PIECE = 1 << 20
"""Bytes of a log that go up at once."""
NOT_INSTALLED = "mend it, or see whether the machine reaches the package index; then run the same command again"

Request = dict[str, Any]
"""A request as `blocks.requests.Request` has it."""


class Carrier:
    """The requests of a VM. Its methods are called in one thread, which they keep for as long as a request takes."""

    def __init__(
        self,
        config: AgentConfig,
        layout: Layout,
        wrapper: Sequence[str],
        cloud: Cloud,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._layout = layout
        self._objects = cloud.objects
        self._artifacts: Artifacts = cloud.artifacts
        self._jobs = Jobs(config, layout, wrapper, layout.requests)
        self._sleep = sleep
        self._seen = 0
        self._over = ""

    def look(self) -> None:
        """Look into the inbox, and carry out what is there.

        Raises:
            GoogleFailed: that was interrupted; the next look goes on with it.
        """
        found = self._objects.read(INBOX, unless=self._seen)
        if found is None:
            return
        request = _read(found.content)
        if request is not None and request["id"] != self._over:
            job = Job(JOB, (), request["id"], timeout=request["seconds"])
            is_new = self._jobs.status(job) is None
            if is_new and self._jobs.is_busy(JOB):
                return  # with one which the agent's last life began: the next look finds this one again
            if not is_new or self._begin(request, found, job):
                self._follow(request, job)
                self._over = request["id"]
        self._seen = found.generation

    def _begin(self, request: Request, found: Object, job: Job) -> bool:
        """Have a request carried out that this home has not begun; False where it is not to be, or not now."""
        if self._objects.is_there(ANSWERS + request["id"]):
            return False
        refusal = _refusal(request, found.age)
        if refusal is not None:
            self._answer(request, *refusal)
            return False
        if not self._take(request, found):
            return False  # whoever wrote it meanwhile is seen at the next look
        try:
            release = self._install()
        except ReleaseFailed as error:
            self._answer(request, f"{request['verb']} was not begun: {error}", NOT_INSTALLED)
            return False
        python = str(self._layout.releases / release.id / "bin/python")
        argv = (python, "-P", "-m", "flows.cli", "carry-out", "--home", str(self._layout.home))
        self._jobs.start(dataclasses.replace(job, argv=argv, env=_reach(self._layout)))
        return True

    def _take(self, request: Request, found: Object) -> bool:
        taken = {**request, "taken": {**processes.current()._asdict(), WAITS: True}}
        return self._objects.write(INBOX, json.dumps(taken, indent=1).encode(), found.generation)

    def _install(self) -> Release:
        """Install the wanted release of the server, which is this project's, too.

        Raises:
            ReleaseFailed: it cannot be, or nothing is wanted.
        """
        found = self._objects.read(WANTED)
        if found is None:
            raise ReleaseFailed(f"nothing is wanted of the stack: there is no {WANTED}")
        try:
            release = from_json(Release, json.dumps(json.loads(found.content)["releases"]["server"]))
            for fault in faults(HostSpec("", 0, releases=(release,))):
                raise InvalidSpec(fault)
        except (ValueError, KeyError, TypeError) as error:
            raise ReleaseFailed(f"{WANTED} is damaged: {type(error).__name__}: {error}") from error
        self._artifacts.install(release, self._layout.releases)
        return release

    def _follow(self, request: Request, job: Job) -> None:
        """Send the job's log until it has ended. An end without an answer is answered here."""
        sent = sum(self._objects.sizes(f"{LOGS}{request['id']}/").values())
        while True:
            self._jobs.collect(job)
            status = self._jobs.status(job)
            sent = self._send_log(request, sent)
            if status is None or status.state != "running":
                break
            self._sleep(EVERY)
        self._answer(request, *interrupted(request["verb"]))

    def _send_log(self, request: Request, sent: int) -> int:
        """Send what was logged since. Returns how much has been sent by now, in bytes."""
        while piece := self._logged(request, sent):
            self._objects.write(log_piece(request["id"], sent), piece, media="text/plain; charset=utf-8")
            sent += len(piece)
        return sent

    def _logged(self, request: Request, offset: int) -> bytes:
        """What the job has logged from there on; nothing where the log is another run's."""
        if read_data(str(self._layout.job_runs / f"{JOB}.pid")).get("run") != request["id"]:
            return b""
        with contextlib.suppress(FileNotFoundError), self._layout.log(f"job-{JOB}").open("rb") as log:
            return os.pread(log.fileno(), LONGEST_PIECE, offset)
        return b""

    def _answer(self, request: Request, what: str, hint: str) -> None:
        """Say why a request is not carried out, or not to its end, as `blocks.requests.answer` would; the first answer
        counts."""
        error = {"error": {"kind": "NotReady", "what": what, "hint": hint}}
        self._objects.write(ANSWERS + request["id"], json.dumps(error, indent=1).encode(), 0)


def _read(content: bytes) -> Request | None:
    """A request; a damaged one is nobody's."""
    try:
        request = json.loads(content)
        return {**request, "id": str(request["id"]), "verb": str(request["verb"]), "seconds": float(request["seconds"])}
    except (ValueError, KeyError, TypeError):
        return None


def _refusal(request: Request, age: float) -> tuple[str, str] | None:
    """Why a request that this home has not begun is not begun now."""
    taken = request.get("taken") or {}
    if not taken and age > TAKE_SECONDS:
        return too_late(request["verb"], age)
    if taken and (not taken.get(WAITS) or age > request["seconds"]):  # by a VM that was lost; or nobody waits any more
        return interrupted(request["verb"])
    return None


def _reach(layout: Layout) -> dict[str, str]:
    """By which variables an index is reached, which the job may have to ask."""
    return {key: str(value) for key, value in read_data(str(layout.reach)).items()}
