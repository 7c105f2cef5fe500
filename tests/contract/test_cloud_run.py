"""The stack's front door at Cloud Run: made, read again, mended, removed; on the emulator at Google's own speed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from blocks.errors import Blocked
from blocks.gcp.account import ServiceAccount
from blocks.gcp.cloud_run import CloudRunService, address
from blocks.gcp.image import Context, Image
from blocks.gcp.network import Network
from blocks.gcp.registry import Registry
from blocks.gcp_spec import GcpProxy
from blocks.resource import Apply, converge, plan, visit, visit_to_delete
from tests import google
from tests.contract.test_network import Account
from tests.emulator.services.artifactregistry.images import register

CONTEXT = Context({"Dockerfile": b"FROM nginx:alpine"})
SERVICES = "run.projects.locations.services"


class Door:
    """The service with what it needs, in a project of its own."""

    def __init__(self, project: google.Project, context: Context = CONTEXT, wanted: GcpProxy | None = None) -> None:
        self.project, self.seen = project, project.seen_by()
        host = f"trial-host@{project.id}.iam.gserviceaccount.com"
        self.network = Network(self.seen, "trial", google.REGION, host)
        self.account = ServiceAccount(self.seen, "trial", "proxy")
        self.registry = Registry(self.seen, "trial", google.REGION)
        self.image = Image(self.seen, self.registry, "proxy", context, self.push)
        server, number = (self.network.wanted.host_address, 4200), self.seen.number
        self.service = CloudRunService(
            self.seen, self.network, self.account, self.image, server, number, wanted or GcpProxy()
        )
        self.parts = [Account(), *self.network.resources(), self.account, self.registry, self.image, self.service]

    def push(self, name: str, context: Context) -> None:
        """Stands for what builds an image, see test_image."""
        register(self.project.cloud, name, f"sha256:{context.digest}")

    def call(self, verb: str, body: Any = None, **params: str) -> Any:
        path = f"v2/projects/{self.project.id}/locations/{google.REGION}/services/trial"
        return self.seen.rest("calling", verb, "run", path, body, **params)

    def revisions(self) -> int:
        path = f"v2/projects/{self.project.id}/locations/{google.REGION}/services/trial/revisions"
        return len(self.seen.rest("listing", "GET", "run", path)["revisions"])


@pytest.fixture(scope="module")
def around() -> google.Project:
    """A project with all that the service needs."""
    project = google.project()
    door = Door(project)
    converge(door.parts[:-1])
    return project


@pytest.fixture
def door(around: google.Project) -> Iterator[Door]:
    made = Door(around)
    yield made
    visit_to_delete(made.service, Apply())


def test_made_as_the_spec_says_and_then_as_wanted(door: Door) -> None:
    assert [each.resource for each in plan(door.parts)] == ["front door"]
    visit(door.service, Apply())
    assert plan(door.parts) == []
    found = door.call("GET")
    (container,) = found["template"]["containers"]
    assert container["image"] == f"{door.registry.address}/proxy@sha256:{CONTEXT.digest}"
    assert container["ports"] == [{"name": "http1", "containerPort": 80}]
    assert {each["name"]: each["value"] for each in container["env"]} == {
        "SERVER_HOST": "10.60.0.10",
        "SERVER_PORT": "4200",
        "PROBE_TIMEOUT": "2s",
    }
    assert found["invokerIamDisabled"] and found["template"]["timeout"] == "3600s"
    assert found["template"]["vpcAccess"]["egress"] == "PRIVATE_RANGES_ONLY"
    assert found["template"]["serviceAccount"] == door.account.email
    assert address("trial", door.seen.number, google.REGION) in found["urls"]


def test_it_is_planned_before_anything_is_there() -> None:
    door = Door(google.project())
    assert [each.action for each in plan(door.parts)] == ["create"] * (len(door.parts) - 1)
    body: Any = door.service.want()["template"]
    assert body["containers"][0]["image"] == f"{door.registry.address}/proxy:{CONTEXT.digest}"


def test_made_right_behind_its_account_which_nobody_knows_yet() -> None:
    """Google says for a minute that it may not be acted as, or may not exist."""
    door = Door(google.project())
    converge(door.parts)
    assert plan(door.parts) == []


def test_another_image_is_another_revision_and_nothing_else_is(door: Door) -> None:
    visit(door.service, Apply())
    other = Door(door.project, Context({"Dockerfile": b"FROM nginx:alpine\n"}))
    visit(other.image, Apply())
    change = visit(other.service, Apply())
    assert (change.action, list(change.fields)) == ("update", ["template"])
    assert (visit(other.service, Apply()).action, door.revisions()) == ("keep", 2)


def test_without_idle_processors_and_instances_it_is_as_wanted_too(around: google.Project) -> None:
    door = Door(around, wanted=GcpProxy(min_instances=0, max_instances=2, cpu_idle=False))
    visit(door.service, Apply())
    assert plan(door.parts) == []
    visit_to_delete(door.service, Apply())


@pytest.mark.parametrize(
    ("by_hand", "field"),
    [
        ({"invokerIamDisabled": False}, "invokerIamDisabled"),
        ({"ingress": "INGRESS_TRAFFIC_INTERNAL_ONLY"}, "ingress"),
        ({"scaling": {"minInstanceCount": 0}}, "scaling"),
        ({"template": {"timeout": "300s"}}, "template"),
        ({"template": {"vpcAccess": {"egress": "ALL_TRAFFIC"}}}, "template"),
    ],
)
def test_what_somebody_changed_of_it_is_seen_and_mended(door: Door, by_hand: dict[str, Any], field: str) -> None:
    visit(door.service, Apply())
    found = door.call("GET")
    changed = {key: {**found[key], **value} if isinstance(value, dict) else value for key, value in by_hand.items()}
    if "vpcAccess" in changed.get("template", {}):
        changed["template"]["vpcAccess"] = found["template"]["vpcAccess"] | changed["template"]["vpcAccess"]
    door.call("PATCH", {**found, **changed})
    google.pass_seconds(60)
    (change,) = plan(door.parts)
    assert list(change.fields) == [field]
    visit(door.service, Apply())
    assert plan(door.parts) == []


def test_anothers_service_stands_in_the_way(door: Door) -> None:
    visit(door.service, Apply())
    door.call("PATCH", {**door.call("GET"), "labels": {"prefect-selfhost": "another"}})
    google.pass_seconds(60)
    with pytest.raises(Blocked, match="the service trial of Cloud Run is there, and not this stack's"):
        plan(door.parts)
    assert visit_to_delete(door.service, Apply()).action == "leave"
    door.call("DELETE")
    google.pass_seconds(60)


class Silent:
    """Stands behind revisions whose host does not answer: nginx never passes its probe."""

    def start(self, name: str, body: dict[str, Any]) -> None:
        raise TimeoutError("the host does not answer")

    def change(self, name: str, body: dict[str, Any]) -> None: ...

    def stop(self, name: str, body: dict[str, Any]) -> None: ...

    def remove(self, name: str) -> None: ...


def test_a_revision_that_does_not_get_ready_is_told_in_googles_words_and_tried_again(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(door.project.cloud.backings.parts, "run.revisions", Silent())
        with pytest.raises(Blocked, match="failed the configured startup probe checks"):
            visit(door.service, Apply())
        (change,) = plan(door.parts)
        assert "is not ready and cannot serve traffic" in str(change.fields["ready"][0])
    visit(door.service, Apply())
    assert (plan(door.parts), door.revisions()) == ([], 2)


def test_made_again_right_behind_its_removal(door: Door) -> None:
    visit(door.service, Apply())
    door.call("DELETE")  # by somebody else, who does not wait
    visit(door.service, Apply())
    google.pass_seconds(60)
    assert plan(door.parts) == []


def test_what_a_launcher_began_that_was_killed_is_waited_for_and_not_done_again(door: Door) -> None:
    door.call("PATCH", door.service._body(), allowMissing="true")
    assert visit(door.service, Apply()).fields["ready"] == ("Waiting for operation to complete.", True)
    assert (plan(door.parts), door.revisions()) == ([], 1)


@pytest.mark.parametrize("method", ["patch", "delete"])
@pytest.mark.parametrize(
    "fault", [{"kind": "error", "code": 429}, {"kind": "error"}, {"kind": "reset-before"}, {"kind": "reset-after"}]
)
def test_a_lost_answer_ends_in_the_same_service(door: Door, fault: dict[str, Any], method: str) -> None:
    with door.project.fault(**fault, method=f"{SERVICES}.{method}"):
        visit(door.service, Apply())
        assert (plan(door.parts), door.revisions()) == ([], 1)
        visit_to_delete(door.service, Apply())
    assert door.service.find() is None


def test_an_operation_that_ends_in_an_error_of_googles_is_told_and_mended(door: Door) -> None:
    fault = {"kind": "operation-error", "code": 500, "message": "An internal error occurred."}
    with door.project.fault(**fault, method=f"{SERVICES}.patch"), pytest.raises(Blocked, match="internal error"):
        visit(door.service, Apply())
    visit(door.service, Apply())
    assert plan(door.parts) == []
