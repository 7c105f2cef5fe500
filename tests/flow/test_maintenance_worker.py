"""Whoever has the auth string writes what he wants to the server: the maintenance worker executes none of it."""

from __future__ import annotations

import base64
import os
import pickle
import signal
from abc import ABC
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any
from uuid import UUID

import anyio
import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import DeploymentUpdate, WorkPoolUpdate
from prefect.client.schemas.objects import FlowRun
from prefect.states import Scheduled

from blocks.maintenance_worker import MaintenanceWorker
from blocks.resource import Apply, visit
from blocks.server_objects import Deployment, WorkPool, deployments
from blocks.waiting import wait_until


class Attack:
    """Every way to have something executed that we know of; each would make `marker`."""

    def __init__(self, folder: Path) -> None:
        self.marker = folder / "marker"
        touch = f"open({str(self.marker)!r}, 'w').close()"
        (folder / "sitecustomize.py").write_text(touch)
        (folder / "planted.py").write_text(f"{touch}\nfrom prefect import flow\n@flow\ndef planted(): ...\n")
        self.entrypoint = f"{folder}/planted.py:planted"
        self.pull_steps = [
            {"prefect.deployments.steps.run_shell_script": {"script": f"touch {self.marker}"}},
            {"prefect.deployments.steps.set_working_directory": {"directory": str(folder)}},
        ]
        self.job_variables = {
            "command": f"touch {self.marker}",
            "working_dir": str(folder),
            "env": {"PYTHONPATH": str(folder), "PREFECT__FLOW_ENTRYPOINT": self.entrypoint},
        }
        self.pickled = folder / "pickled"
        self.pickled.write_bytes(base64.encodebytes(pickle.dumps(self)))

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.marker}",)


@pytest.fixture
def attack(tmp_path: Path) -> Attack:
    return Attack(tmp_path)


@pytest.fixture(autouse=True)
def probe(client: SyncPrefectClient) -> Iterator[UUID]:
    """Our own deployment on the pool, as the stack makes it; gone afterwards with its pool."""
    (entry,) = [each for each in deployments(["maintenance"]) if each["entrypoint"] == "flows.probe.probe"]
    for each in (WorkPool("maintenance", "process", 4, client), Deployment(entry, client, paused=False)):
        visit(each, Apply())
    deployment = client.read_deployment_by_name("probe/maintenance")
    yield deployment.id
    client.delete_deployment(deployment.id)
    client.delete_work_pool("maintenance")


def work(worker: type[MaintenanceWorker] = MaintenanceWorker) -> None:
    """Have a worker take what is scheduled, and wait for the end of that."""
    anyio.run(partial(worker(work_pool_name="maintenance", name="maintenance").start, run_once=True))


def scheduled(client: SyncPrefectClient, deployment: UUID, **more: Any) -> UUID:
    return client.create_flow_run_from_deployment(deployment, state=Scheduled(), **more).id


def told(client: SyncPrefectClient, run: UUID) -> tuple[str, str]:
    """Name and message of a run's state."""
    state = client.read_flow_run(run).state
    assert state is not None
    return state.name, state.message or ""


def test_a_planted_deployment_is_refused(client: SyncPrefectClient, probe: UUID, attack: Attack) -> None:
    flow_id = client.read_deployment(probe).flow_id
    planted = client.create_deployment(
        flow_id,
        "maintenance-too",
        work_pool_name="maintenance",
        entrypoint=attack.entrypoint,
        path=str(attack.marker.parent),
        pull_steps=attack.pull_steps,
        job_variables=attack.job_variables,
    )
    run = scheduled(client, planted)
    work()
    name, message = told(client, run)
    assert name == "Crashed"
    assert "runs this project's own flows alone" in message and attack.entrypoint in message
    assert not attack.marker.exists()
    client.delete_deployment(planted)


def test_a_run_of_no_deployment_is_refused(client: SyncPrefectClient, attack: Attack) -> None:
    from flows.probe import probe as flow

    variables = attack.job_variables
    run = client.create_flow_run(flow, state=Scheduled(), work_pool_name="maintenance", job_variables=variables).id
    work()
    assert told(client, run)[0] == "Crashed"
    assert not attack.marker.exists()


def test_nothing_but_the_entrypoint_of_a_deployment_and_its_pool_is_used(
    client: SyncPrefectClient, probe: UUID, attack: Attack
) -> None:
    """Its pull steps, path, job variables, the run's own, and the template of the pool are anybody's."""
    edited = DeploymentUpdate(
        pull_steps=attack.pull_steps, job_variables=attack.job_variables, path=str(attack.marker.parent)
    )
    client.update_deployment(probe, edited)
    template = client.read_work_pool("maintenance").base_job_template
    template["job_configuration"] |= attack.job_variables
    client.update_work_pool("maintenance", WorkPoolUpdate(base_job_template=template))
    run = scheduled(client, probe, job_variables=attack.job_variables)
    work()
    assert told(client, run)[0] == "Completed"
    assert not attack.marker.exists()


def edited_late(attack: Attack, edit: Callable[[MaintenanceWorker, UUID], Any]) -> type[MaintenanceWorker]:
    """A worker at whose server something is edited between its check and the start of the run's process."""

    class Late(MaintenanceWorker, ABC):
        async def _give_worker_labels_to_flow_run(self, flow_run_id: UUID) -> None:
            await edit(self, flow_run_id)
            await super()._give_worker_labels_to_flow_run(flow_run_id)

    return Late


def test_a_deployment_edited_after_the_check_runs_what_was_checked_and_so_do_its_hooks(
    client: SyncPrefectClient, probe: UUID, attack: Attack
) -> None:
    async def edit(worker: MaintenanceWorker, _: UUID) -> None:
        edited = DeploymentUpdate(entrypoint=attack.entrypoint, pull_steps=attack.pull_steps)
        await worker.client.update_deployment(probe, edited)

    completed, killed = scheduled(client, probe), scheduled(client, probe)
    killer = Thread(target=lambda: kill_once_started(client, killed))
    killer.start()
    work(edited_late(attack, edit))
    killer.join()
    assert told(client, completed)[0] == "Completed"
    assert told(client, killed)[0] == "Crashed"
    assert not attack.marker.exists()


def kill_once_started(client: SyncPrefectClient, run: UUID) -> None:
    def started() -> FlowRun | None:
        found = client.read_flow_run(run)
        return found if found.infrastructure_pid else None

    found = wait_until(started, "the run's process", timeout=60, every=0.1)
    assert found is not None and found.infrastructure_pid
    os.kill(int(found.infrastructure_pid), signal.SIGKILL)


def test_a_result_which_the_server_names_is_not_unpickled(
    client: SyncPrefectClient, probe: UUID, attack: Attack
) -> None:
    async def edit(worker: MaintenanceWorker, run: UUID) -> None:
        data = {
            "storage_key": str(attack.pickled),
            "serializer": {"type": "pickle"},
            "prefect_version": "3.8.8",
        }
        state = {"type": "COMPLETED", "name": "Completed", "data": data}
        answer = await worker.client._client.post(f"/flow_runs/{run}/set_state", json={"state": state, "force": True})
        assert answer.json()["status"] == "ACCEPT"

    run = scheduled(client, probe)
    work(edited_late(attack, edit))
    assert told(client, run)[0] == "Completed"
    assert not attack.marker.exists()
