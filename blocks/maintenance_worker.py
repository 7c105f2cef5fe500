"""The worker of the pool `maintenance`: it starts this project's own flows, and nothing else.

Its runs may do anything to the stack, and whoever has the auth string may write anything to the server: deployments,
the pool's job template, job variables, pull steps. So what is started is decided here alone: a deployment whose
entrypoint is not one of ours is refused; for one of ours, nothing but that entrypoint, the parameters, which the flow
validates, and the run's id is taken from the server.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
from abc import ABC
from typing import Any, NoReturn
from uuid import UUID

import anyio
from anyio.abc import TaskStatus
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun, WorkPool
from prefect.client.schemas.responses import DeploymentResponse
from prefect.flows import Flow, load_flow_from_entrypoint
from prefect.runner._flow_run_executor import FlowRunExecutorContext
from prefect.runner._process_manager import ProcessHandle
from prefect.runner._starter_engine import EngineCommandStarter
from prefect.utilities.processutils import command_to_string, setup_signal_handlers_worker
from prefect.workers.process import ProcessJobConfiguration, ProcessWorker, ProcessWorkerResult
from pydantic import PrivateAttr

from blocks.errors import Blocked
from blocks.server_objects import declared_deployments
from blocks.spec import MAINTENANCE_POOL
from blocks.woken import Woken
from blocks.worker_start import clean_up


def own_entrypoints() -> frozenset[str]:
    """Entrypoints of the flows which `prefect.yaml` declares on the pool."""
    declared = declared_deployments()
    return frozenset(each["entrypoint"] for each in declared if each["work_pool"]["name"] == MAINTENANCE_POOL)


def own_entrypoint(deployment: DeploymentResponse | None) -> str:
    """The entrypoint of one of our deployments.

    Raises:
        Blocked: it is none of ours.
    """
    entrypoint = deployment.entrypoint if deployment else None
    if entrypoint not in own_entrypoints():
        whose = f"the deployment {deployment.name!r} with the entrypoint {entrypoint!r}" if deployment else "none"
        what = f"the pool {MAINTENANCE_POOL!r} runs this project's own flows alone, and this run is of {whose}"
        raise Blocked(what, "deploy your own flows to another pool")
    return str(entrypoint)


class FixedConfiguration(ProcessJobConfiguration):
    """How a run of ours is started: nothing of it comes from the pool's template, the deployment or the run."""

    _entrypoint: str = PrivateAttr(default="")

    @property
    def entrypoint(self) -> str:
        return self._entrypoint

    @classmethod
    async def resolve_for_flow_run(
        cls,
        flow_run: FlowRun,
        *,
        client: PrefectClient,
        work_pool: WorkPool,
        worker_name: str,
        worker_id: UUID | None = None,
        deployment: DeploymentResponse | None = None,
    ) -> FixedConfiguration:
        """Raises:
        Blocked: the run is none of ours; the worker then reports it as crashed, with this message.
        """
        found = await client.read_deployment(flow_run.deployment_id) if flow_run.deployment_id else None
        fixed = cls()
        fixed._entrypoint = own_entrypoint(found)
        fixed.prepare_for_flow_run(flow_run, found, None, work_pool, worker_name, worker_id)
        return fixed


class MaintenanceWorker(
    Woken, ProcessWorker, ABC
):  # as an abstract one it is not registered in the place of its parent
    """A process worker that starts nothing but our own flows."""

    job_configuration = FixedConfiguration

    async def run(
        self,
        flow_run: FlowRun,
        configuration: ProcessJobConfiguration,
        task_status: TaskStatus[int] | None = None,
    ) -> ProcessWorkerResult:
        """Start a run's process, follow it, and end it where the run is cancelled."""
        assert isinstance(configuration, FixedConfiguration)
        entrypoint = configuration.entrypoint

        async def resolve(_: FlowRun) -> Flow[Any, Any]:
            """For the hooks of a run that is cancelled or crashed; Prefect's own way asks the deployment again."""
            return load_flow_from_entrypoint(entrypoint, use_placeholder_flow=False)

        with tempfile.TemporaryDirectory(suffix="prefect") as folder:
            async with FlowRunExecutorContext() as context:
                starter = EngineCommandStarter(
                    command=command_to_string([sys.executable, "-P", "-m", "blocks.maintenance_run", entrypoint]),
                    cwd=folder,
                    env=configuration.env,
                    control_channel=context.control_channel,
                )
                executor = context.create_executor(flow_run, starter, resolve, propose_submitting=False)
                return await _followed(executor.submit, task_status or anyio.TASK_STATUS_IGNORED)


async def _followed(submit: Any, task_status: TaskStatus[int]) -> ProcessWorkerResult:
    """Tell the process as soon as it is there, and how it ended."""
    ended: list[Any] = []

    async def submitted(*, task_status: TaskStatus[ProcessHandle]) -> None:
        ended.append(await submit(task_status=task_status))

    async with anyio.create_task_group() as group:
        handle: ProcessHandle = await group.start(submitted)
        if handle.pid is None:
            raise RuntimeError("the run's process has no pid")
        task_status.started(handle.pid)
    # Before Prefect 3.8.8 nothing is told; from then on it is 0 for a run whose state the engine has reported.
    status = ended[0].status_code if ended[0] is not None else handle.returncode
    if status is None:
        raise RuntimeError("the run's process was not started")
    return ProcessWorkerResult(status_code=status, identifier=str(handle.pid))


async def serve(name: str, pool: str) -> None:
    """Run the worker until it is told to end: as Prefect's own does on SIGTERM."""
    setup_signal_handlers_worker(os.getpid(), "the maintenance worker", print)
    await MaintenanceWorker(work_pool_name=pool, name=name).start()


def main() -> NoReturn:
    parser = argparse.ArgumentParser(prog="maintenance_worker", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--name", required=True)
    parser.add_argument("--pool", required=True)
    given = parser.parse_args()
    clean_up(given.name, given.pool)
    try:
        asyncio.run(serve(given.name, given.pool))
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit(0)
    sys.exit(0)


if __name__ == "__main__":
    main()
