"""Runs of a flow that goes on until its gate is opened: what a drain has to wait for."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient

from tests.stack import Stack, eventually

FILE = "flow.py"
FLOW = """\
import os
import time
from importlib.util import find_spec
from pathlib import Path

from prefect import flow


@flow
def gated(gate: str) -> None:
    has, greeting = find_spec("iniconfig") is not None, os.environ.get("GREETING")
    Path(gate + ".began").write_text(f"iniconfig: {has}, GREETING: {greeting}")
    while not Path(gate).exists():
        time.sleep(0.1)
"""
"""Says at its beginning whether it has the package and the environment of a worker's own."""


class Gated:
    """A run that has begun."""

    def __init__(self, client: SyncPrefectClient, deployment: UUID, folder: Path) -> None:
        """Start a run of a deployment of `FLOW`; its gate will be in the folder, which the worker can write to."""
        self._client, self._gate = client, folder / f"gate-{secrets.token_hex(3)}"
        created = client.create_flow_run_from_deployment(deployment, parameters={"gate": str(self._gate)})
        self.id, self.name = created.id, created.name
        self.said: str = eventually(self._began, "the beginning of the flow", 90)

    def _began(self) -> str:
        state = self._client.read_flow_run(self.id).state
        assert state is None or not state.is_final(), state
        path = self._gate.with_name(f"{self._gate.name}.began")
        return path.read_text() if path.exists() else ""

    def open(self) -> None:
        """Let it end, and see that it completes."""
        self._gate.touch()
        state = eventually(self._final, "the end of the flow", 60)
        assert state.is_completed(), state

    def _final(self) -> Any:
        state = self._client.read_flow_run(self.id).state
        return state if state is not None and state.is_final() else None


def deploy(client: SyncPrefectClient, pool: str, step: dict[str, dict[str, str]]) -> UUID:
    """A deployment of `FLOW`, which a pull step brings."""
    return client.create_deployment(
        flow_id=client.create_flow_from_name("gated"),
        name=pool,
        entrypoint=f"{FILE}:gated",
        work_pool_name=pool,
        pull_steps=[step],
    )


def folder_of(stack: Stack, worker: str = "default") -> Path:
    """Where a worker's flows read and write, whatever its user is: its own folder for temporary files."""
    return stack.home / f"state/worker-{worker}/tmp"


@contextmanager
def running(stack: Stack, worker: str = "default", pool: str = "default") -> Iterator[Gated]:
    """A run on a worker of the stack, which serves that pool."""
    folder = folder_of(stack, worker)
    (folder / FILE).write_text(FLOW)
    (folder / FILE).chmod(0o644)
    with stack.client() as client:
        step = {"prefect.deployments.steps.set_working_directory": {"directory": str(folder)}}
        yield Gated(client, deploy(client, pool, step), folder)
