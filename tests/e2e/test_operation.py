"""Day two on a stack that is there: connect, logs, stop and start, drift, the flows people start."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import DeploymentUpdate
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.client.schemas.objects import FlowRun

from tests.stack import Stack, caller_environment, eventually

pytestmark = pytest.mark.e2e


def run_deployment(client: SyncPrefectClient, name: str, **parameters: Any) -> FlowRun:
    """Start a deployment as a person would in the UI, and wait for its end."""
    deployment = client.read_deployment_by_name(name).id
    run: UUID = client.create_flow_run_from_deployment(deployment, parameters=parameters).id

    def ended() -> FlowRun | None:
        found = client.read_flow_run(run)
        return found if found.state is not None and found.state.is_final() else None

    found: FlowRun = eventually(ended, f"the end of {name}", 150)
    return found


def artifacts(client: SyncPrefectClient, run: FlowRun) -> dict[str, Any]:
    mine = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run.id]))
    return {str(each.key): each.data for each in client.read_artifacts(artifact_filter=mine)}


@pytest.mark.parametrize("name", ["drift/drift", "converge/converge", "status/status"])
def test_the_maintenance_flows_complete(stack: Stack, name: str) -> None:
    with stack.client() as client:
        run = run_deployment(client, name)
        assert run.state is not None and run.state.is_completed(), run.state
        assert name.partition("/")[0] in artifacts(client, run)


def test_connect_writes_a_profile_which_prefect_uses(stack: Stack, tmp_path: Path) -> None:
    profile_home = tmp_path / "prefect"
    own = Stack(stack.home, stack.name, stack.port, environment=caller_environment(PREFECT_HOME=str(profile_home)))
    done = own.run("connect")
    stack.transcript += own.transcript
    profile = profile_home / "profiles.toml"
    assert stat.S_IMODE(profile.stat().st_mode) == 0o600
    assert f"PREFECT_API_URL={stack.url}/api" in done.stdout and str(stack.home / "secrets/auth-string") in done.stdout
    listed = subprocess.run(
        [sys.executable, "-m", "prefect", "flow-run", "ls", "--flow-name", "bootstrap"],
        env={**own.environment, "COLUMNS": "200"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert listed.returncode == 0, listed.stderr
    assert "bootstrap" in listed.stdout


def test_logs_are_listed_and_printed(stack: Stack) -> None:
    names = stack.run("logs").stdout.split()
    assert {"agent", "nginx", "postgres", "server-blue", "worker-default", "worker-maintenance"} <= set(names)
    assert "Worker 'default' started!" in stack.run("logs", "worker-default").stdout
    assert len(stack.run("logs", "server-blue", "--lines", "2").stdout.splitlines()) == 2
    wrong = stack.call("logs", "nonsense", *stack.where)
    assert wrong.status == 2 and "there is no log of 'nonsense'" in wrong.stderr


def test_the_homes_own_command_works_with_no_checkout_in_sight(stack: Stack, tmp_path: Path) -> None:
    certificates = {key: value for key, value in os.environ.items() if key.startswith("SSL_CERT_")}
    done = subprocess.run(
        [str(stack.home / "bin/selfhost"), "plan"],
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), **certificates},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (0, "nothing to change\n"), done.stderr


def test_what_is_changed_by_hand_is_named_by_a_plan_and_mended_by_a_bootstrap(stack: Stack) -> None:
    folder, command = stack.home / "state", stack.home / "bin/selfhost"
    with stack.client() as client:
        found = client.read_deployment_by_name("status/status")
        client.update_deployment(found.id, DeploymentUpdate(description="changed by hand"))
        client.delete_deployment(client.read_deployment_by_name("drift/drift").id)
    folder.chmod(0o700)
    command.unlink()
    pids = stack.pids()
    changes = {each["resource"]: each for each in stack.plan()}
    assert {name: each["action"] for name, each in changes.items()} == {
        "deployment status/status": "update",
        "deployment drift/drift": "create",
        "state folder": "update",
        "command": "create",
    }
    assert changes["deployment status/status"]["fields"]["description"][0] == "changed by hand"
    assert changes["state folder"]["fields"] == {"mode": ["0o700", "0o711"]}
    told = stack.bootstrap()
    assert told.stdout.count("  2 changes") == 2 and "update deployment status/status" in told.stdout
    assert stack.plan() == []
    assert stack.pids() == pids, "a service was restarted for nothing"


def test_a_damaged_wanted_file_is_said_and_a_bootstrap_with_the_spec_writes_it_anew(stack: Stack) -> None:
    kept, spec = stack.wanted_file, stack.folder / "spec.toml"
    before = json.loads(kept.read_bytes())
    kept.write_text("{")
    unwell = stack.call("status", *stack.where)
    assert (
        unwell.status == 1
        and f"ledger/wanted in {stack.home} is damaged" in unwell.stderr
        and "--spec" in unwell.stderr
    )
    spec.write_text("# all as it is by default\n")
    assert "0 changes" in stack.bootstrap("--spec", str(spec)).stdout
    spec.unlink()
    assert json.loads(kept.read_bytes()) | {"lease": before["lease"]} == before


def test_configuration_files_that_were_removed_come_back(stack: Stack) -> None:
    paths = [stack.home / each for each in ("etc/server-blue/prefect.toml", "etc/nginx/site.conf")]
    before = [path.read_text() for path in paths]
    for path in paths:
        path.unlink()
    eventually(lambda: all(path.exists() for path in paths), "both written again", 45)
    assert [path.read_text() for path in paths] == before


def test_services_that_were_killed_come_back(stack: Stack) -> None:
    killed = {name: stack.pids()[name] for name in ("worker-default", "server-blue", "nginx")}
    for pid in killed.values():
        os.kill(pid, signal.SIGKILL)

    def are_back() -> bool:
        states = {each["name"]: (each["state"], each["pid"]) for each in stack.host_status()["services"]}
        return all(states[name][0] == "ready" and states[name][1] not in (0, pid) for name, pid in killed.items())

    eventually(are_back, f"{', '.join(killed)} ready again", 90)
    assert stack.plan() == []


def test_stop_leaves_no_process_and_start_brings_all_back(stack: Stack) -> None:
    rows = stack.query("SELECT count(*) FROM task_run")
    logs = {path: path.stat().st_size for path in (stack.home / "logs").glob("server-*.log")}
    stack.run("stop")
    assert stack.processes() == {}
    said = "".join(path.read_text()[size:] for path, size in logs.items())
    assert "Finished server process" in said
    assert "the database system is shutting down" not in said, "the database ended before its server"
    unwell = stack.call("status", *stack.where)
    assert unwell.status == 1 and "Traceback" not in unwell.output
    stack.run("stop")  # a second time is no fault
    stack.run("start")
    assert stack.status()["healthy"] is True
    assert int(stack.query("SELECT count(*) FROM task_run")[0][0]) >= int(rows[0][0])
    assert stack.plan() == []
