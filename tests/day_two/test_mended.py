"""What went wrong without us: a power cut, damaged files, an object that was changed in the UI."""

from __future__ import annotations

import os
import shutil
import signal
from contextlib import suppress

import pytest
from prefect.client.schemas.actions import DeploymentUpdate

from tests.e2e.test_operation import artifacts, run_deployment
from tests.stack import Stack, eventually, processes_of

pytestmark = pytest.mark.fault


def test_drift_run_from_the_ui_fails_and_names_what_differs(stack: Stack) -> None:
    with stack.client() as client:
        found = client.read_deployment_by_name("probe/default")
        client.update_deployment(found.id, DeploymentUpdate(description="changed by hand"))
        run = run_deployment(client, "drift/drift")
        assert run.state is not None and run.state.is_failed() and "probe/default" in str(run.state.message)
        assert "deployment probe/default" in str(artifacts(client, run)["drift"])
        mended = run_deployment(client, "converge/converge")
        assert mended.state is not None and mended.state.is_completed()
        assert client.read_deployment_by_name("probe/default").description == found.description


@pytest.mark.parametrize("paths", [("agent/spec.json", "agent/status.json", "lease.json"), ("agent/last-good.json",)])
def test_damaged_state_files_are_mended(stack: Stack, paths: tuple[str, ...]) -> None:
    pids = stack.pids()
    for path in paths:
        (stack.home / path).write_text('{"damaged')
    told = stack.bootstrap()
    assert "Traceback" not in told.output
    assert stack.status()["healthy"] is True
    assert stack.plan() == []
    assert stack.pids() == pids, "a service was restarted for nothing"


def test_all_is_back_after_a_power_cut(stack: Stack) -> None:
    """As after a reboot: nothing was stopped in order, and every pid file names a process that is gone."""
    for pid in processes_of(stack.home):
        with suppress(ProcessLookupError):  # its parent's death was its own
            os.kill(pid, signal.SIGKILL)
    eventually(lambda: not stack.processes(), "the end of all processes")
    shutil.rmtree(stack.home / "nginx" / "proxy_temp")
    stack.run("start")
    assert stack.plan() == []
