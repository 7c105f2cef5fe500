"""The stack's registry of images: made, read again, mended, removed; on the emulator at Google's own speed."""

from __future__ import annotations

from typing import Any

import pytest

from blocks.errors import Blocked
from blocks.gcp.registry import CLEANUP, Registry
from blocks.resource import Apply, plan, visit, visit_to_delete
from tests import google
from tests.emulator.services.artifactregistry.images import register

PATH = f"locations/{google.REGION}/repositories/trial"


@pytest.fixture
def project() -> google.Project:
    return google.project()


@pytest.fixture
def registry(project: google.Project) -> Registry:
    return Registry(project.seen_by(), "trial", google.REGION)


def call(project: google.Project, verb: str, path: str = PATH, body: Any = None, **params: str) -> Any:
    path = f"v1/projects/{project.id}/{path}"
    return project.seen_by().rest("calling", verb, "artifactregistry", path, body, **params)


def test_made_with_its_policies_and_then_as_wanted(project: google.Project, registry: Registry) -> None:
    assert [each.action for each in plan([registry])] == ["create"]
    visit(registry, Apply())
    assert plan([registry]) == []
    found = call(project, "GET")
    assert found["cleanupPolicies"] == CLEANUP and found["labels"] == {"prefect-selfhost": "trial"}
    assert found["registryUri"] == registry.address


def test_a_policy_that_was_changed_by_hand_is_seen_and_mended(project: google.Project, registry: Registry) -> None:
    visit(registry, Apply())
    call(project, "PATCH", body={"cleanupPolicies": {}}, updateMask="cleanupPolicies")
    (change,) = plan([registry])
    assert list(change.fields) == ["cleanupPolicies"]
    visit(registry, Apply())
    assert plan([registry]) == [] and call(project, "GET")["cleanupPolicies"] == CLEANUP


def test_anothers_of_that_name_stands_in_the_way(project: google.Project, registry: Registry) -> None:
    call(project, "POST", f"locations/{google.REGION}/repositories", {"format": "DOCKER"}, repositoryId="trial")
    google.pass_seconds(60)
    with pytest.raises(Blocked, match="not this stack's"):
        plan([registry])
    assert visit_to_delete(registry, Apply()).action == "leave"


def test_an_image_is_found_by_its_tag(project: google.Project, registry: Registry) -> None:
    assert registry.digest("proxy", "one") is None
    visit(registry, Apply())
    assert registry.digest("proxy", "one") is None
    register(project.cloud, f"{registry.address}/proxy:one", f"sha256:{'1' * 64}")
    register(project.cloud, f"{registry.address}/proxy:two", f"sha256:{'2' * 64}")
    assert registry.digest("proxy", "one") == f"sha256:{'1' * 64}"


def test_removed_with_its_images(project: google.Project, registry: Registry) -> None:
    visit(registry, Apply())
    register(project.cloud, f"{registry.address}/proxy:one")
    visit_to_delete(registry, Apply())
    assert [each.action for each in plan([registry])] == ["create"]


@pytest.mark.parametrize("fault", [{"kind": "error"}, {"kind": "error", "code": 429}, {"kind": "reset-after"}])
@pytest.mark.parametrize("method", ["create", "patch", "delete"])
def test_a_call_that_fails_or_whose_answer_is_lost_changes_nothing_in_the_end(
    project: google.Project, registry: Registry, fault: dict[str, Any], method: str
) -> None:
    nth = 2 if method == "patch" else 1  # the first patch is the test's own
    with project.fault(**fault, method=f"artifactregistry.projects.locations.repositories.{method}", nth=nth):
        visit(registry, Apply())
        call(project, "PATCH", body={"cleanupPolicies": {}}, updateMask="cleanupPolicies")
        visit(registry, Apply())
        assert plan([registry]) == []
        visit_to_delete(registry, Apply())
        assert registry.find() is None
