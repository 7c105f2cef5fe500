"""A restore that was asked for in the UI: refused there, carried out by a job on the stack's host."""

from __future__ import annotations

import secrets
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from prefect.artifacts import create_link_artifact

from blocks import rollout
from blocks.agent.spec import Job, JobStatus
from blocks.backups import Manifest
from blocks.errors import Blocked, NotReady
from blocks.stack import Stack
from blocks.waiting import wait_until
from flows import change
from flows.cli.progress import step
from flows.restore.steps import require_restorable

JOB = "restore"
JOB_SECONDS = 2 * 86_400.0
"""A bound for the job; running flows get a day of it at most."""
LEASE_SECONDS = 60
"""Time the job waits for the lease, which the flow that made it may still hold."""
BEGIN_SECONDS = 120.0
"""Time the job gets to refuse, or to start its temporary server: 10 s on a quiet machine."""


def refuse(stack: Stack, backup: str, unsigned: bool) -> Manifest:
    """See that the backup can be restored and that nobody else changes the stack."""
    with step("look at the backup") as detail:
        reason = f"restore {backup}, asked for in the UI"
        # Only for this look: the job takes it next.
        with stack.ledger.held(reason), tempfile.TemporaryDirectory() as folder:
            manifest = require_restorable(stack, backup, Path(folder) / "dump", unsigned)
        detail.text = f"{manifest.id} of {manifest.made}"
    return manifest


def start_job(stack: Stack, manifest: Manifest, how: Sequence[str]) -> str:
    """Give the host the job and wait until it has begun; what a person should know of it.

    Args:
        how: Options of `selfhost restore`.

    Raises:
        Blocked: it refused.
    """
    with step("hand over to the host") as detail:
        job, since = restore_job(stack, manifest, how), time.time()
        stack.host.apply(rollout.with_job(change.current(stack), job))
        address = _address_once_begun(stack, job, since)
        detail.text = address or "it still looks at the backup"
    if address:
        # The front door does not lead there: it is to the server which is being replaced.
        link_text = "The restore, on its temporary server: to be opened on the stack's own machine"
        create_link_artifact(link=address, link_text=link_text, key="restore-server")
    return instructions(address)


def instructions(address: str) -> str:
    """What a person should know of a restore that was handed over. Pure."""
    watch = f"watch {address} on the stack's machine (log in as here), or"
    where = watch if address else "it still looks at the backup, see"
    return (
        f"handed over to the host job {JOB}: {where} selfhost logs job-{JOB}; "
        f"afterwards this run is not in the database any more, the artifact `restore` tells what was done"
    )


def _address_once_begun(stack: Stack, job: Job, since: float) -> str:
    """The address of the temporary server; empty where the job is at work without one when the time is over.

    A huge dump is fetched and summed up for longer. The job goes on to replace the database, so that this run must
    not say it has failed.
    """
    try:
        begun = partial(_begun, stack, job, since)
        return wait_until(begun, "the restore's beginning", timeout=BEGIN_SECONDS, every=0.5)
    except NotReady:
        status = change.job_status(stack, job)
        if status is None or status.state != "running":
            raise
        return ""


def restore_job(stack: Stack, manifest: Manifest, how: Sequence[str]) -> Job:
    """The launcher as a job. Pure but for the run's name."""
    argv = stack.host.command("restore", manifest.id, "--yes", *how, "--patience", str(LEASE_SECONDS))
    return Job(JOB, argv, secrets.token_hex(6), timeout=JOB_SECONDS)


def _begun(stack: Stack, job: Job, since: float) -> str:
    """The address of the temporary server which the job started."""
    address = stack.restoring_server().started_since(since)
    if address:  # from here on the job itself may change what the host should run, and then is not listed any more
        return address
    status = change.job_status(stack, job)
    if status is not None and status.state != "running":
        raise Blocked(f"the host job {JOB} {status.state}: {_last_words(status)}", f"selfhost logs job-{JOB}")
    raise NotReady("the job has not started its temporary server" if status else "the host has not begun the job")


def _last_words(status: JobStatus) -> str:
    return " ".join(status.output.split())[-500:]
