"""A worker of the stack: `python -m blocks.worker_start --name NAME --pool POOL --type process`.

A worker that was killed leaves runs behind which nobody ends: those it had begun stay Running, and one whose process
had not begun stays Pending for ever. So a worker first ends its own earlier runs whose process is gone, and then goes
on, in the same process, as `prefect worker start` with the same arguments; its workers are those of `blocks.woken`.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import runpy
import sys
from abc import ABC
from collections.abc import Callable, Collection
from pathlib import Path

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.states import Cancelled, Crashed

from blocks import pools

WORKER_LABEL = "prefect.worker.name"
"""A worker says in this label of a flow run that it has taken it, after the run has become Pending."""
RUN_VARIABLE = b"PREFECT__FLOW_RUN_ID="
"""In the environment of each process of a flow run."""
FAULTS = (httpx.HTTPError, ObjectNotFound, PrefectHTTPStatusError)
"""What a call to the server may raise."""


def main() -> None:
    """End the runs of this worker's process before, then be the worker."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--name", required=True)
    parser.add_argument("--pool", required=True)
    asked, _ = parser.parse_known_args()
    clean_up(asked.name, asked.pool)
    wake_process_workers()
    sys.argv = ["prefect", "worker", "start", *sys.argv[1:]]
    runpy.run_module("prefect", run_name="__main__", alter_sys=True)


def wake_process_workers() -> None:
    """Have `prefect worker start --type process` start one of `blocks.woken`, as what is registered for the type."""
    from prefect.utilities.dispatch import get_registry_for_type
    from prefect.workers.process import ProcessWorker

    from blocks.woken import Woken

    class WokenProcessWorker(
        Woken, ProcessWorker, ABC
    ):  # a concrete one registers itself with a warning, or not at all
        pass

    registry = get_registry_for_type(ProcessWorker)
    assert registry is not None
    registry[ProcessWorker.type] = WokenProcessWorker


def clean_up(worker: str, pool: str) -> None:
    """End this worker's own earlier runs whose process is gone, and say so in its log; without a server go on."""
    try:
        with get_client(sync_client=True) as client:
            for run in crash_own_orphans(client, worker, pool):
                print(f"flow run {run.name} of this worker has lost its process, and is ended", flush=True)  # noqa: T201
    except FAULTS as error:  # the worker starts all the same, and waits for the server by itself
        print(f"earlier runs of this worker were not looked at: {type(error).__name__}: {error}", flush=True)  # noqa: T201


def living_runs() -> set[str]:
    """Ids of the flow runs which have a process of this user on this machine; another user's may say anything."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended meanwhile, or is closed to this user
            if process.stat().st_uid != os.geteuid():
                continue
            pairs = (process / "environ").read_bytes().split(b"\0")
            ids = (each.removeprefix(RUN_VARIABLE) for each in pairs if each.startswith(RUN_VARIABLE))
            found |= {each.decode(errors="replace") for each in ids}
    return found


def crash_own_orphans(
    client: SyncPrefectClient, worker: str, pool: str, living: Callable[[], Collection[str]] = living_runs
) -> list[FlowRun]:
    """End the runs which a worker of this name had taken from this pool, and whose process is gone.

    To be called before the worker takes any run. Runs of other workers are left alone, those of the same pool too.

    Args:
        living: Tells the ids of the flow runs that have a process.

    Returns:
        The runs that were ended.
    """
    begun = pools.in_states(client, pools.UNDER_WAY, [pool])
    taken = [each for each in begun if each.labels.get(WORKER_LABEL) == worker]
    if not taken:
        return []
    alive = living()  # looked at after the runs: what has ended in between has told the server so itself
    return [each for each in taken if str(each.id) not in alive and _end(client, each, worker)]


def _end(client: SyncPrefectClient, run: FlowRun, worker: str) -> bool:
    """Crash a run, or cancel one that was to be: not by force, so that an end of its own counts. Whether we did."""
    state = client.read_flow_run(run.id).state
    if state is None or run.state is None or state.id != run.state.id:
        return False
    message = f"The worker {worker!r} ended while it had this run, and the run's process is gone."
    end: State[None] = Cancelled(message=message) if state.is_cancelling() else Crashed(message=message)
    done = client.set_flow_run_state(run.id, end)
    return done.state is not None and done.state.type == end.type


if __name__ == "__main__":
    main()
