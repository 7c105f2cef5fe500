"""What one bootstrap leaves: a stack that is well, its record in its own server, and nothing to do twice."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
import yaml
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterId,
    LogFilter,
    LogFilterFlowRunId,
)
from prefect.client.schemas.objects import FlowRun

from blocks.release import asset
from tests.e2e.conftest import Bootstrapped
from tests.stack import Stack

pytestmark = pytest.mark.e2e

STATUS_KEYS = [
    "name",
    "target",
    "url",
    "api_url",
    "auth_string_file",
    "prefect_version",
    "healthy",
    "generation",
    "observed_generation",
    "services",
    "conditions",
]
SERVICES = {"postgres", "server-blue", "nginx", "worker-default", "worker-maintenance"}
TASKS = {
    "preflight",
    "home",
    "host agent",
    "host services",
    "secret auth-string",
    "secret encryption-key",
    "database cluster",
    "database",
    "work pool default",
    "work pool maintenance",
    "deployment probe/default",
    "deployment status/status",
    "deployment sweep/sweep",
    "automation Maintenance run failed",
}
"""Some of the names a person reads in the UI; there is a task run for each resource."""


@pytest.fixture(scope="module")
def declared() -> dict[str, dict[str, Any]]:
    """Deployments of prefect.yaml by name."""
    entries = yaml.safe_load(asset("prefect.yaml").read_text())["deployments"]
    return {f"{each['entrypoint'].rpartition('.')[2]}/{each['name']}": each for each in entries}


@pytest.fixture
def bootstrap_run(stack: Stack) -> FlowRun:
    """The first run: the one that made this stack, on its temporary server."""
    with stack.client() as client:
        runs = client.read_flow_runs(flow_filter=FlowFilter(name=FlowFilterName(any_=["bootstrap"])))
    return min(runs, key=lambda run: str(run.created))


def test_the_last_panel_tells_what_a_person_needs(bootstrapped: Bootstrapped) -> None:
    stack, panel = bootstrapped.stack, bootstrapped.first.stdout
    for text in (
        stack.url,
        f"log in with the whole text of {stack.home / 'secrets/auth-string'}",
        str(stack.home / "secrets/encryption-key"),
        f"{stack.home}/bin/selfhost open",
        f"@reboot {stack.home}/bin/selfhost start",
        "Keep a copy of",
    ):
        assert text in panel, f"{text!r} is not in\n{panel}"


def test_steps_and_the_temporary_servers_address_are_told(bootstrapped: Bootstrapped) -> None:
    steps = bootstrapped.first.steps
    assert steps.index("temporary server started") < steps.index("host services") < steps.index("copy its database")
    assert steps[-1] == "retire the temporary server"
    watch = next(line for line in bootstrapped.first.stdout.splitlines() if "watch it at http://127.0.0.1:" in line)
    assert watch.endswith(f", log in with the whole text of {bootstrapped.stack.home / 'secrets/auth-string'}")
    assert bootstrapped.first.stderr == ""


def test_status_is_healthy_under_stable_keys(stack: Stack) -> None:
    found = stack.status()
    assert list(found) == STATUS_KEYS
    assert all(set(each) == {"name", "state", "version"} for each in found["services"])
    assert all(set(each) == {"type", "status", "reason", "message"} for each in found["conditions"])
    assert found["healthy"] is True
    assert found["generation"] == found["observed_generation"] >= 1
    assert {each["name"] for each in found["services"]} == SERVICES
    assert all(each["state"] == "ready" and each["version"] for each in found["services"])
    assert (found["name"], found["url"], found["api_url"]) == (stack.name, stack.url, f"{stack.url}/api")
    assert found["auth_string_file"] == str(stack.home / "secrets/auth-string")


def test_the_bootstrap_run_is_on_record_in_the_stacks_own_server(stack: Stack, bootstrap_run: FlowRun) -> None:
    with stack.client() as client:
        only_this = FlowRunFilter(id=FlowRunFilterId(any_=[bootstrap_run.id]))
        task_runs = client.read_task_runs(flow_run_filter=only_this)
        logs = client.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=[bootstrap_run.id])), limit=200)
    assert bootstrap_run.state is not None and bootstrap_run.state.is_completed()
    names = Counter(each.name for each in task_runs)
    assert set(names) >= TASKS
    assert set(names.values()) == {1}, names
    assert all(each.state is not None and each.state.is_completed() for each in task_runs)
    told = "\n".join(each.message for each in logs)
    assert "host services: create in" in told and "deployment status/status: create in" in told


def test_the_bootstrap_run_left_its_artifacts(stack: Stack, bootstrap_run: FlowRun) -> None:
    with stack.client() as client:
        mine = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[bootstrap_run.id]))
        artifacts = {each.type: each for each in client.read_artifacts(artifact_filter=mine)}
    assert set(artifacts) == {"table", "markdown", "progress"}  # a link is kept as Markdown
    rows = json.loads(str(artifacts["table"].data))
    actions = {row["resource"]: row["action"] for row in rows}
    assert actions["deployment probe/default"] == actions["host services"] == "create"
    assert actions["home"] == "keep", "the launcher had made it"
    assert stack.url in str(artifacts["markdown"].data)
    assert float(str(artifacts["progress"].data)) == 100.0


def test_deployments_are_those_of_prefect_yaml_and_their_schedules_run(
    stack: Stack, declared: dict[str, dict[str, Any]]
) -> None:
    with stack.client() as client:
        found = {name: client.read_deployment_by_name(name) for name in declared}
        assert len(client.read_deployments()) == len(declared)
    for name, deployment in found.items():
        assert deployment.entrypoint == declared[name]["entrypoint"]
        assert deployment.work_pool_name == declared[name]["work_pool"]["name"]
        assert not deployment.paused
        crons = {each.schedule.cron for each in deployment.schedules if each.active}  # type: ignore[union-attr]
        assert crons == {each["cron"] for each in declared[name].get("schedules", [])}


def test_scheduled_runs_appear(stack: Stack) -> None:
    pending = "SELECT count(*) FROM flow_run r JOIN deployment d ON r.deployment_id = d.id WHERE d.name = 'status'"
    assert int(stack.query(pending)[0][0]) > 0


def test_automations_are_there(stack: Stack) -> None:
    with stack.client() as client:
        found = {each["name"]: each for each in client.request("POST", "/automations/filter", json={}).json()}
    assert set(found) == {"Maintenance run failed", "Maintenance run late"}
    assert all(each["enabled"] for each in found.values())


def test_a_second_bootstrap_changes_nothing(stack: Stack) -> None:
    before, rows, generation = stack.pids(), counts(stack), stack.host_status()["observed_generation"]
    done = stack.bootstrap()
    assert "0 changes" in done.stdout
    assert stack.url in done.stdout, "the panel is told again"
    assert stack.pids() == before, "a process was restarted"
    assert stack.host_status()["observed_generation"] == generation
    after = counts(stack)
    assert {name: (rows[name], after[name]) for name in rows if rows[name] != after[name]} == {}
    assert stack.plan() == []


def counts(stack: Stack) -> dict[str, int]:
    """Rows of what a person made or sees; heartbeats, events and the scheduler's own runs come by themselves."""
    tables = ("deployment", "deployment_schedule", "work_pool", "automation", "artifact", "block_document", "flow")
    found = {name: int(stack.query(f'SELECT count(*) FROM "{name}"')[0][0]) for name in tables}
    ran = "SELECT count(*) FROM flow_run WHERE state_type <> 'SCHEDULED'"
    return found | {"runs": int(stack.query(ran)[0][0])}
