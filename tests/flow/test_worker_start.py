"""A worker ends what its predecessor left behind, and runs without a deployment keep no place, on a real server."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun, State
from prefect.settings import PREFECT_API_URL
from prefect.states import Cancelling, Completed, Paused, Pending, Running, Scheduled, Suspended
from prefect.utilities.dispatch import get_registry_for_type
from prefect.workers.base import BaseWorker
from prefect.workers.process import ProcessWorker

from blocks import catalog, worker_start
from blocks.agent.program import reset_dispositions
from blocks.errors import NotReady
from blocks.resource import Apply, visit
from blocks.server_objects import Deployment, WorkPool, deployments
from blocks.site import here
from blocks.spec import SERVER, TOOLS, build_spec
from blocks.stack import host_spec
from blocks.waiting import wait_until
from blocks.woken import Woken
from tests.flow.test_server_objects import RELEASE

POOL = "orphans"
WORKER = "ours"
PLACES = 10


@pytest.fixture
def deployment(client: SyncPrefectClient) -> Iterator[UUID]:
    """`probe/orphans` on a pool of its own."""
    visit(WorkPool(POOL, "process", PLACES, client), Apply())
    yield deployed(client)
    client.delete_work_pool(POOL)


def deployed(client: SyncPrefectClient) -> UUID:
    (entry,) = [each for each in deployments(["maintenance", POOL]) if each["name"] == POOL]
    visit(Deployment(entry, client, paused=False), Apply())
    return client.read_deployment_by_name(f"probe/{POOL}").id


def run_in(client: SyncPrefectClient, deployment: UUID, state: State, worker: str = WORKER) -> FlowRun:
    """A run in a state, which a worker had taken."""
    run = client.create_flow_run_from_deployment(deployment)
    if worker:
        client.update_flow_run_labels(run.id, {"prefect.worker.name": worker})
    client.set_flow_run_state(run.id, state, force=True)
    return run


def names(client: SyncPrefectClient, runs: Sequence[FlowRun]) -> list[str | None]:
    return [client.read_flow_run(each.id).state_name for each in runs]


def test_own_runs_without_a_process_are_ended_and_no_others(client: SyncPrefectClient, deployment: UUID) -> None:
    gone = [run_in(client, deployment, each) for each in (Pending(), Running(), Running())]
    client.set_flow_run_state(gone[-1].id, Cancelling(), force=True)
    living = run_in(client, deployment, Running())
    others = [run_in(client, deployment, Pending(), worker=each) for each in ("sibling", "")]
    waiting = [run_in(client, deployment, each) for each in (Paused(), Suspended(), Completed())]
    ended = worker_start.crash_own_orphans(client, WORKER, POOL, lambda: {str(living.id)})
    assert {each.id for each in ended} == {each.id for each in gone}
    assert names(client, gone) == ["Crashed", "Crashed", "Cancelled"]
    assert names(client, [living, *others, *waiting]) == [
        "Running",
        *["Pending"] * 2,
        "Paused",
        "Suspended",
        "Completed",
    ]
    state = client.read_flow_run(gone[0].id).state
    assert state is not None and "The worker 'ours' ended while it had this run" in (state.message or "")
    assert worker_start.crash_own_orphans(client, WORKER, "another-pool", set) == []


def test_a_run_that_ends_by_itself_at_that_moment_is_left(client: SyncPrefectClient, deployment: UUID) -> None:
    run = run_in(client, deployment, Running())

    def meanwhile() -> set[str]:
        client.set_flow_run_state(run.id, Completed(), force=True)
        return set()

    assert worker_start.crash_own_orphans(client, WORKER, POOL, meanwhile) == []
    assert names(client, [run]) == ["Completed"]


def test_a_flow_run_lives_where_a_process_has_its_id() -> None:
    environment = {"PREFECT__FLOW_RUN_ID": "a-run", "PATH": os.environ["PATH"]}
    with subprocess.Popen(["sleep", "60"], env=environment) as process:
        wait_until(lambda: "a-run" in worker_start.living_runs(), "the process", timeout=10, every=0.05)
        process.kill()
    assert "a-run" not in worker_start.living_runs()


def test_an_environment_that_is_no_text_keeps_no_worker_from_its_start() -> None:
    environment = {b"PREFECT__FLOW_RUN_ID": b"\xff", b"PATH": os.environ["PATH"].encode()}
    with subprocess.Popen(["sleep", "60"], env=environment) as process:
        wait_until(lambda: "\ufffd" in worker_start.living_runs(), "the process", timeout=10, every=0.05)
        process.kill()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a process of another user")
def test_another_users_process_says_nothing_of_our_runs() -> None:
    environment = {"PREFECT__FLOW_RUN_ID": "not-his-run", "PATH": os.environ["PATH"]}
    with subprocess.Popen(["sleep", "60"], env=environment, user=65534) as process:
        wait_until(
            lambda: b"not-his-run" in Path(f"/proc/{process.pid}/environ").read_bytes(), "it", timeout=10, every=0.05
        )
        assert "not-his-run" not in worker_start.living_runs()
        process.kill()


def test_without_a_server_the_worker_starts_all_the_same(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with SyncPrefectClient("http://127.0.0.1:9/api") as nobody:
        monkeypatch.setattr(worker_start, "get_client", lambda **options: nobody)
        worker_start.clean_up(WORKER, POOL)
    assert "earlier runs of this worker were not looked at: ConnectError" in capsys.readouterr().out


@contextmanager
def started_as_in_a_stack() -> Iterator[Path]:
    """The worker with the arguments it has in a stack, but for the interpreter. Yields its log."""
    with tempfile.TemporaryDirectory(prefix="sh-") as folder:
        workers = [
            {"name": "maintenance", "pool": "maintenance"},
            {"name": WORKER, "pool": POOL, "concurrency": PLACES},
        ]
        spec = build_spec({"home": f"{folder}/home", "workers": workers}, "test")
        services = host_spec(catalog.compose(spec, {SERVER: RELEASE, TOOLS: RELEASE}, here(spec), {}), 1).services
        (argv,) = [each.argv for each in services if each.name == f"worker-{WORKER}"]
        own = {"PREFECT_HOME": folder, "PREFECT_API_URL": PREFECT_API_URL.value() or "", "TMPDIR": folder}
        log = Path(folder, "log")
        with log.open("w") as output:
            process = subprocess.Popen(
                [sys.executable, *argv[1:]],
                env={**os.environ, **own, "PREFECT_WORKER_QUERY_SECONDS": "1"},
                stdout=output,
                stderr=subprocess.STDOUT,
                # As a service is started: a test run in the background ignores SIGINT, and so would the worker SIGTERM.
                preexec_fn=reset_dispositions,
            )
        try:
            yield log
        finally:
            process.terminate()
            process.wait(30)


def test_runs_of_a_deleted_deployment_keep_no_place_and_an_orphan_is_crashed_at_the_start(
    client: SyncPrefectClient, deployment: UUID
) -> None:
    """With `--limit` each of the ten would keep a place for ever, and the eleventh would never begin."""
    orphan, siblings = (run_in(client, deployment, Pending(), worker=each) for each in (WORKER, "sibling"))
    without = [run_in(client, deployment, Suspended(), worker="") for _ in range(PLACES)]
    client.delete_deployment(deployment)  # and with it all runs of it which are scheduled at this moment
    for each in without:
        client.set_flow_run_state(each.id, Scheduled(), force=True)  # as by a resume or a retry in the UI
    last = client.create_flow_run_from_deployment(deployed(client))
    with started_as_in_a_stack() as log:

        def has_ended() -> bool:
            if client.read_flow_run(last.id).state_name != "Completed":
                raise NotReady(log.read_text()[-4000:])
            return True

        wait_until(has_ended, "the last run", timeout=120, every=0.5)
        assert f"flow run {orphan.name} of this worker has lost its process" in log.read_text()
    assert names(client, without) == ["Cancelled"] * PLACES
    assert names(client, [orphan, siblings]) == ["Crashed", "Pending"]


def test_the_command_line_of_prefect_starts_workers_that_are_woken(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = get_registry_for_type(ProcessWorker)
    assert registry is not None
    monkeypatch.setitem(registry, "process", ProcessWorker)  # as it is put back afterwards
    worker_start.wake_process_workers()
    found = BaseWorker.get_worker_class_from_type("process")
    assert found is not None and issubclass(found, Woken)
    found(work_pool_name="any")  # it is not abstract
