"""Changing a stack while it serves: one `HostSpec` after another, each waited for.

The order is the caller's. Each step finds out by itself what is done, so that a run which was killed in the middle is
finished by another one.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Any

from prefect.client.orchestration import SyncPrefectClient

from blocks import pools, rollout
from blocks.errors import Blocked, NotReady
from blocks.host import wanted
from blocks.host.agent.spec import File, HostSpec, Job, JobStatus, ServiceStatus
from blocks.host.wanted import Wanted
from blocks.resource import Apply, visit
from blocks.server_objects import StackDocument
from blocks.stack import SLOT_PREFIX, WORKER_PREFIX, Stack
from blocks.waiting import wait_until

SERVER_SECONDS = 240.0
"""Time a new server gets until it is ready: 6 s on a quiet machine, a minute on a busy one."""
DRAIN_SECONDS = 60.0
"""Time the old server gets to be gone: it drains for 8 s and lets calls in flight finish."""
SETTLE_SECONDS = 3.0
"""After a pool was paused, what its workers were given by their last query (one a second) has become a run."""
EVERY = 0.2


def current(stack: Stack) -> HostSpec:
    """The spec the host was last given.

    Raises:
        Blocked: it was given none.
    """
    applied = stack.machine.applied()
    if applied is None:
        raise Blocked("the stack's host has no readable spec", "selfhost bootstrap gives it one")
    return applied


def keep(stack: Stack, client: SyncPrefectClient) -> None:
    """Make this the wanted form of the stack: its blocks on its own server, then the copy in its home."""
    for block in stack.blocks().values():
        visit(StackDocument(block, stack.spec.name, client), Apply())
    wanted.write(stack.machine.home(), Wanted(stack.spec.model_dump(mode="json"), stack.releases))


def run_job(stack: Stack, job: Job, files: Iterable[File] = ()) -> dict[str, Any]:
    """Run a program on the stack's host, once, and wait for its end; what its last line of output says, as JSON.

    Raises:
        Blocked: it failed; the text has the last line it wrote.
    """
    once = replace(job, run=uuid.uuid4().hex)
    stack.machine.apply(rollout.with_job(current(stack), once, files))
    status = wait_until(
        lambda: _ended(stack, once), f"the end of the job {job.name}", timeout=job.timeout + 60, every=EVERY
    )
    lines = status.output.strip().splitlines()
    last = lines[-1] if lines else "it said nothing"
    if status.state != "succeeded":
        log = stack.machine.home().logs / f"job-{job.name}.log"
        raise Blocked(f"{job.name} failed with exit status {status.exit_status}: {last}", f"{log} says more")
    return dict(json.loads(last))


def start_server(stack: Stack, wished: HostSpec, slot: str) -> None:
    """Start the server of `wished` in this slot beside what runs, and wait until it is ready and the right version.

    Raises:
        Blocked: it failed, or another version answers there.
        NotReady: it took too long.
    """
    name = SLOT_PREFIX + slot
    stack.machine.apply(rollout.take(current(stack), wished, [name]))
    version = next(each.version for each in wished.services if each.name == name)
    seen = wait_until(lambda: _ready(stack, name), f"{name} being ready", timeout=SERVER_SECONDS, every=EVERY)
    if seen.version != version:
        raise Blocked(f"{name} says it is Prefect {seen.version}, not {version}", "nothing was switched")


def drop_server(stack: Stack, wished: HostSpec, slot: str) -> None:
    """End the server in this slot, which drains; waits until it is gone. Nothing happens where there is none."""
    name = SLOT_PREFIX + slot
    if not any(each.name == name for each in current(stack).services):
        return
    stack.machine.apply(rollout.take(current(stack), wished, [name]))
    wait_until(lambda: _service(stack, name) is None, f"the end of {name}", timeout=DRAIN_SECONDS, every=EVERY)


def changed_workers(stack: Stack, wished: HostSpec) -> list[str]:
    """Worker services that differ from their wished form, but for those which run flows of ours."""
    return [each for each in rollout.changed(current(stack), wished, WORKER_PREFIX) if each not in stack.own_workers()]


def change_workers(
    stack: Stack, wished: HostSpec, names: Collection[str], client: SyncPrefectClient, wait_seconds: float
) -> str:
    """Give these worker services their wished form, each once nothing runs on it, while their pools are paused.

    Where something still runs after `wait_seconds`, its worker goes on as it was. Returns what that is, in words;
    empty where all have changed. For a worker that is new nothing needs to be paused.
    """
    if not names:
        return ""
    before = current(stack)
    drained = sorted(pools_of(names, before))
    paused = pools.pause(client, drained)
    try:
        time.sleep(SETTLE_SECONDS if drained else 0)
        stack.machine.apply(rollout.take(before, wished, names))
        late = _wait_for_workers(stack, names, wait_seconds)
        if late:
            stack.machine.apply(rollout.take(current(stack), before, late))
            return f"{', '.join(late)} goes on as before, it runs {pools.told(pools.alive(client, paused))}"
        return ""
    finally:
        pools.resume(client, paused)


def _wait_for_workers(stack: Stack, names: Collection[str], seconds: float) -> list[str]:
    try:
        wait_until(lambda: not _unchanged(stack, names), "that workers are idle", timeout=seconds, every=EVERY)
    except NotReady:
        return _unchanged(stack, names)
    return []


def _unchanged(stack: Stack, names: Collection[str]) -> list[str]:
    """Services that are not yet what the last spec wants; all of them where the host has not looked at it."""
    seen, now = stack.machine.observe(), current(stack)
    if seen is None or seen.observed_generation != now.generation:
        return sorted(names)
    states = {each.name: each.state for each in seen.services}
    expected = {each.name for each in now.services}
    return sorted(name for name in names if states.get(name) != ("ready" if name in expected else None))


def pools_of(names: Collection[str], spec: HostSpec) -> set[str]:
    """Work pools which these worker services take runs from."""
    services = [each for each in spec.services if each.name in names]
    return {each.argv[each.argv.index("--pool") + 1] for each in services}


def job_status(stack: Stack, job: Job) -> JobStatus | None:
    """How this run of a job stands on the host; None where it has not begun, or is no longer listed."""
    seen = stack.machine.observe()
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
    if found.state != "ready":
        raise NotReady(f"{name} is {found.state} {found.message}".strip())
    return found


def _service(stack: Stack, name: str) -> ServiceStatus | None:
    """How a service stands, once the host has taken up the last spec."""
    seen, now = stack.machine.observe(), current(stack)
    if seen is None or seen.observed_generation != now.generation:
        raise NotReady("the host has not taken up its spec")
    return next((each for each in seen.services if each.name == name), None)
