from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.events.schemas.automations import Automation as ServerAutomation
from prefect.events.schemas.automations import AutomationCore, EventTrigger
from prefect.flows import load_flow_from_entrypoint
from prefect.utilities.callables import parameter_schema

from blocks.automations import automations
from blocks.server_objects import DECLARED_SLUG, declared_deployments, deployments
from blocks.spec import Alerts, StackSpec
from tests.postgres import free_port

ROOT = Path(__file__).resolve().parents[2]
AN_ID = "00000000-0000-0000-0000-000000000001"


def made(alerts: Alerts | None = None) -> dict[str, AutomationCore]:
    """The automations of a stack whose server is never asked, as no notification block is named."""
    with SyncPrefectClient(f"http://127.0.0.1:{free_port()}/api") as client:
        return {name: make(client) for name, make in automations(alerts or Alerts()).items()}


def trigger(name: str, alerts: Alerts | None = None) -> EventTrigger:
    found = made(alerts)[name].trigger
    assert isinstance(found, EventTrigger)
    return found


@pytest.mark.parametrize("name", list(automations(Alerts())))
def test_prefects_own_model_accepts_automation(name: str) -> None:
    automation = made()[name]
    assert automation.name == name
    assert automation.description
    again = ServerAutomation.model_validate({**automation.model_dump(mode="json"), "id": AN_ID})
    assert again.trigger.model_dump(exclude={"id"}) == automation.trigger.model_dump(exclude={"id"})


def test_failures_of_maintenance_alone_are_told() -> None:
    failed = trigger("Maintenance run failed")
    assert failed.expect == {"prefect.flow-run.Failed", "prefect.flow-run.Crashed"}
    related = failed.model_dump(mode="json")["match_related"]
    assert related == {"prefect.resource.name": "maintenance", "prefect.resource.role": "work-pool"}


def test_late_is_as_late_as_the_spec_says() -> None:
    assert trigger("Maintenance run late", Alerts(late_after_minutes=40)).within == timedelta(minutes=40)


def test_every_declared_deployment_is_a_flow_of_a_release() -> None:
    for entry in declared_deployments():
        module = entry["entrypoint"].rpartition(".")[0]
        assert module.startswith("flows.")  # a module, as a file path puts flows/ before the standard library
        assert load_flow_from_entrypoint(entry["entrypoint"], use_placeholder_flow=False).name
        assert entry["description"].strip()


def parameters() -> dict[str, dict[str, Any]]:
    """Every parameter of every deployment, but for `stack`, which all of them have: its name → its schema."""
    found = {}
    for entry in declared_deployments():
        flow = load_flow_from_entrypoint(entry["entrypoint"], use_placeholder_flow=False)
        schema = parameter_schema(flow)
        for name, each in schema.properties.items():
            found[f"{flow.name}.{name}"] = {**each, "required": name in schema.required}
    return {name: each for name, each in found.items() if not name.endswith(".stack")}


@pytest.mark.parametrize(("name", "schema"), parameters().items(), ids=parameters())
def test_the_form_in_the_ui_explains_and_bounds_each_field(name: str, schema: dict[str, Any]) -> None:
    assert schema.get("description"), "it has no description"
    assert schema["required"] is (name in REQUIRED) is ("default" not in schema)
    assert "anyOf" not in schema, "the form cannot tell which field to show"
    value = schema["items"] if schema["type"] == "array" else schema
    assert value.keys() >= BOUNDS[value["type"]] or value.keys() & {"enum", "const", "pattern"}, "it has no bounds"


REQUIRED = {"rotate.what"}
"""Without a default on purpose: neither secret is the more usual one."""
BOUNDS: dict[str, set[str]] = {
    "integer": {"minimum", "maximum"},
    "number": {"minimum", "maximum"},
    "string": {"minLength", "maxLength"},
    "boolean": set(),
}
"""What a field of each type has at least, unless its values are listed or follow a pattern."""


def test_maintenance_runs_on_the_maintenance_pool() -> None:
    others = {entry["name"] for entry in declared_deployments() if entry["work_pool"]["name"] != "maintenance"}
    assert others == {"default"}


def test_schedules_name_their_time_zone_and_are_marked_as_ours() -> None:
    of_each = [entry["schedules"] for entry in declared_deployments() if "schedules" in entry]
    assert of_each
    for schedules in of_each:
        assert all(set(schedule) == {"cron", "timezone", "slug"} for schedule in schedules)
        assert [schedule["slug"] for schedule in schedules] == [f"{DECLARED_SLUG}{n}" for n in range(len(schedules))]


def test_each_pool_has_a_probe() -> None:
    found = {entry["name"]: entry for entry in deployments(["heavy", "maintenance"])}
    assert found["heavy"]["entrypoint"] == found["maintenance"]["entrypoint"] == "flows.probe.probe"
    assert found["heavy"]["work_pool"] == {"name": "heavy"}
    assert "default" not in found


def test_default_pools_need_no_more_than_what_is_declared() -> None:
    pools = [worker.pool for worker in StackSpec().workers]
    assert deployments(pools) == declared_deployments()


def test_digest_of_an_automation_is_the_same_in_every_process() -> None:
    """Triggers hold sets, whose order differs from process to process: a plan would never be empty."""
    script = (
        "from blocks.automations import Automation, automations; from blocks.spec import Alerts\n"
        "for name, make in automations(Alerts()).items(): print(Automation(name, make, None).want())"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", script],
            cwd=ROOT,
            env={"PYTHONHASHSEED": seed, "PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "PREFECT_HOME": "/tmp"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(printed) == 1
    assert len(printed.pop().splitlines()) == 2
