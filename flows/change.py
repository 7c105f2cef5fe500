"""Changing a stack while it serves: one `HostSpec` after another, each waited for.

The order is the caller's. Each step finds out by itself what is done, so that a run which was killed in the middle is
finished by another one.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from prefect.client.orchestration import SyncPrefectClient

from blocks import pools, rollout
from blocks.agent.spec import File, Folder, HostSpec, Job, JobStatus, ServiceStatus
from blocks.documents import StackDocument
from blocks.errors import Blocked, NotReady, SelfhostError
from blocks.host.secret_files import ENCRYPTION_KEY
from blocks.resource import Apply, visit
from blocks.services import SLOT_PREFIX, WORKER_PREFIX
from blocks.signature import key_mark
from blocks.stack import Stack
from blocks.waiting import wait_until

SERVER_SECONDS = 240.0
"""Time a new server gets until it is ready: 6 s on a quiet machine, a minute on a busy one."""
DRAIN_SECONDS = 60.0
"""Time the old server gets to be gone: it drains for 8 s and lets calls in flight finish."""
SETTLE_SECONDS = 3.0
"""Time after the pause of a pool in which the answer to a worker's last query becomes a run."""
IDLE_SECONDS = 15.0
"""Time a worker gets beyond that of its flows, to be seen idle: its host looks for 2 s."""
WORKER_SECONDS = 120.0
"""Time an idle worker gets to end and to be there again: 5 s on a quiet machine."""
EVERY = 0.2


def current(stack: Stack) -> HostSpec:
    """The spec the host was last given.

    Raises:
        Blocked: it was given none.
    """
    applied = stack.host.applied()
    if applied is None:
        raise Blocked("the stack's host has no readable spec", "selfhost bootstrap gives it one")
    return applied


def write_wanted(stack: Stack, *, back: bool = False) -> None:
    """Make this the wanted form of the stack.

    Args:
        back: Whether it takes a newer selfhost back.
    """
    stack.ledger.write_wanted(stack.spec.as_wanted(), stack.releases, stack.versions, back=back)


def make_wanted(stack: Stack, client: SyncPrefectClient, *, back: bool = False) -> None:
    """The same, and its block on its own server before."""
    visit(StackDocument(stack, client), Apply())
    write_wanted(stack, back=back)


def promote(stack: Stack, secret: str, version: int) -> Stack:
    """Make this version of a secret the wanted one, and the one which a person finds; idempotent. The stack with it."""
    promoted = with_versions(stack, {**stack.versions, secret: version})
    write_wanted(promoted)
    promoted.secrets.publish(secret, version)
    if secret == ENCRYPTION_KEY:
        stack.ledger.note_key(key_mark(promoted.secret(secret)))
    return promoted


def as_wanted(stack: Stack) -> Stack:
    """The stack with the versions of its secrets that are wanted now."""
    return with_versions(stack, stack.ledger.wanted().secrets)


def with_versions(stack: Stack, versions: Mapping[str, int]) -> Stack:
    """The stack with these versions of its secrets promoted."""
    return replace(stack, versions=versions, database=stack.database.with_versions(versions))


def run_job(
    stack: Stack,
    job: Job,
    files: Iterable[File] = (),
    folders: Iterable[Folder] = (),
    beside: HostSpec | None = None,
) -> dict[str, Any]:
    """Run a program on the stack's host, once, and wait for its end. Returns its last line of output, read as JSON.

    Args:
        beside: What the host should run from now on; left out, it goes on as it is.

    Raises:
        Blocked: it failed; the text has the last line it wrote.
    """
    once = replace(job, run=uuid.uuid4().hex)
    stack.host.apply(rollout.with_job(beside or current(stack), once, files, folders))
    status = wait_until(
        lambda: _ended(stack, once), f"the end of the job {job.name}", timeout=job.timeout + 60, every=EVERY
    )
    lines = status.output.strip().splitlines()
    last = lines[-1] if lines else "it said nothing"
    if status.state != "succeeded":
        log = stack.host.logs().file(f"job-{job.name}")
        raise Blocked(f"{job.name} failed with exit status {status.exit_status}: {last}", f"{log} says more")
    return dict(json.loads(last))


def start_server(stack: Stack, wanted: HostSpec, slot: str) -> None:
    """Start the server of `wanted` in this slot beside what runs, and wait until it is ready and the right version.

    Raises:
        Blocked: it failed, or another version answers there.
        NotReady: it took too long.
    """
    name = SLOT_PREFIX + slot
    stack.host.apply(rollout.take(current(stack), wanted, [name]))
    version = next(each.version for each in wanted.services if each.name == name)
    seen = wait_until(lambda: _ready(stack, name), f"{name} being ready", timeout=SERVER_SECONDS, every=EVERY)
    if seen.version != version:
        raise Blocked(f"{name} says it is Prefect {seen.version}, not {version}", "nothing was switched")


def drop_server(stack: Stack, wanted: HostSpec, slot: str) -> None:
    """End the server in this slot, which drains; waits until it is gone. Nothing happens where there is none."""
    name = SLOT_PREFIX + slot
    if not any(each.name == name for each in current(stack).services):
        return
    stack.host.apply(rollout.take(current(stack), wanted, [name]))
    wait_until(lambda: _gone(stack, name), f"the end of {name}", timeout=DRAIN_SECONDS, every=EVERY)


def drop_servers(stack: Stack) -> None:
    """End the server in either slot, and wait until both are gone; callers wait in the held socket from then on."""
    now = current(stack)
    names = [each.name for each in now.services if each.name.startswith(SLOT_PREFIX)]
    stack.host.apply(rollout.take(now, replace(now, services=()), names))
    for name in names:
        wait_until(partial(_gone, stack, name), f"the end of {name}", timeout=DRAIN_SECONDS, every=EVERY)


def changed_workers(stack: Stack, wanted: HostSpec) -> list[str]:
    """Worker services that differ from their wanted form, but for those which run flows of ours."""
    return [each for each in rollout.changed(current(stack), wanted, WORKER_PREFIX) if each not in stack.own_workers()]


def change_workers(
    stack: Stack,
    wanted: HostSpec,
    names: Collection[str],
    client: SyncPrefectClient,
    wait_seconds: float,
    *,
    held: bool = False,
) -> str:
    """Give these worker services their wanted form, each once nothing runs on it, while their pools are paused.

    A worker on which flows still run after `wait_seconds` goes on as it was. Returns those workers and runs in words;
    empty where all have changed. For a worker that is new no pool needs to be paused.

    Args:
        held: Leave the pools of those that go on paused, so that they are given nothing more.

    Raises:
        Blocked: a worker does not start in its wanted form; all of them are as they were.
    """
    if not names:
        return ""
    before, late = current(stack), list[str]()
    drained = pools_of(names, before)
    try:
        if pools.pause(client, sorted(drained)):
            time.sleep(SETTLE_SECONDS)
        stack.host.apply(rollout.take(before, wanted, names))
        late = _late(stack, names, wait_seconds)
        if late:
            stack.host.apply(rollout.take(current(stack), before, late))
        _require_changed(stack, set(names) - set(late))
        return (
            f"{', '.join(late)} goes on as before, it runs {_runs_of(client, pools_of(late, before))}" if late else ""
        )
    except SelfhostError:
        stack.host.apply(rollout.take(current(stack), before, names))
        raise
    finally:
        pools.resume(client, sorted(drained - (pools_of(late, before) if held else set())))


def _runs_of(client: SyncPrefectClient, names: Collection[str]) -> str:
    return pools.in_words(pools.alive(client, names))


def _late(stack: Stack, names: Collection[str], seconds: float) -> list[str]:
    """The services among these which are busy when the time is over; their change has not begun."""
    try:
        wait_until(lambda: not _busy(stack, names), "idle workers", timeout=seconds + IDLE_SECONDS, every=EVERY)
    except NotReady:
        return _busy(stack, names)
    return []


def _busy(stack: Stack, names: Collection[str]) -> list[str]:
    seen = _seen(stack)
    return sorted(name for name in names if name in seen and seen[name].state == "waiting-idle")


def _require_changed(stack: Stack, names: Collection[str]) -> None:
    """Wait until these services are what the last spec wants: ready, or gone.

    Raises:
        Blocked: one does not start, or not in time.
    """
    for name in sorted(names):
        try:
            wait_until(
                partial(_has_changed, stack, name),
                f"the change of {name}",
                timeout=WORKER_SECONDS,
                every=EVERY,
            )
        except NotReady as error:
            raise Blocked(error.what, f"selfhost logs {name}") from error


def _has_changed(stack: Stack, name: str) -> bool:
    if any(each.name == name for each in current(stack).services):
        return bool(_ready(stack, name))
    return _gone(stack, name)


def pools_of(names: Collection[str], spec: HostSpec) -> set[str]:
    """Work pools which these worker services take runs from."""
    services = [each for each in spec.services if each.name in names]
    return {each.argv[each.argv.index("--pool") + 1] for each in services}


def job_status(stack: Stack, job: Job) -> JobStatus | None:
    """Status of this run of a job on the host; None where it has not begun, or is no longer listed."""
    seen = stack.host.observe()
    return next((each for each in (seen.jobs if seen else ()) if (each.name, each.run) == (job.name, job.run)), None)


def _ended(stack: Stack, job: Job) -> JobStatus:
    status = job_status(stack, job)
    if status is None or status.state == "running":
        raise NotReady(f"{job.name} {'runs' if status else 'has not begun'}")
    return status


def _ready(stack: Stack, name: str) -> ServiceStatus:
    found = _service(stack, name)
    if found is None:
        raise NotReady(f"{name} is not there yet")
    if found.state == "failed":
        raise Blocked(f"{name} does not start: {found.message}", f"selfhost logs {name}")
    if found.state != "ready" or found.message:  # ready with a message: as it was, something keeps it from changing
        raise NotReady(f"{name} is {found.state} {found.message}".strip())
    return found


def _gone(stack: Stack, name: str) -> bool:
    return _service(stack, name) is None


def _service(stack: Stack, name: str) -> ServiceStatus | None:
    return _seen(stack).get(name)


def _seen(stack: Stack) -> dict[str, ServiceStatus]:
    """How services stand, by name, once the host has taken up the last spec."""
    seen, now = stack.host.observe(), current(stack)
    if seen is None or seen.observed_generation != now.generation:
        raise NotReady("the host has not taken up its spec")
    return {each.name: each for each in seen.services}
