"""Conditions, versions and audit configs of policies.

Sources: https://cloud.google.com/iam/docs/conditions-overview, conditions-attribute-reference, policies#versions,
troubleshooting-withcond, and the public issues named at each test.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.emulator.api_clients import client, refused
from tests.unit.emulator.conftest import Emulated

PERSON = "user:person@example.com"


@pytest.fixture
def projects(google: Emulated) -> Any:
    return client(google, "cloudresourcemanager.v3").projects()


def read(google: Emulated, projects: Any, version: int = 3) -> dict[str, Any]:
    options = {"options": {"requestedPolicyVersion": version}}
    policy: dict[str, Any] = projects.getIamPolicy(resource=f"projects/{google.project}", body=options).execute()
    return policy


def write(google: Emulated, projects: Any, policy: dict[str, Any], **more: Any) -> Any:
    return projects.setIamPolicy(resource=f"projects/{google.project}", body={"policy": policy, **more})


def granted(google: Emulated, projects: Any, role: str, expression: str) -> None:
    policy = read(google, projects) | {"version": 3}
    condition = {"title": "test", "expression": expression}
    policy["bindings"].append({"role": role, "members": [PERSON], "condition": condition})
    write(google, projects, policy).execute()


@pytest.mark.parametrize("version", [0, 1])
def test_below_version_3_a_condition_shows_in_the_role_alone(google: Emulated, projects: Any, version: int) -> None:
    """Source: https://cloud.google.com/iam/docs/troubleshooting-withcond"""
    granted(google, projects, "roles/run.viewer", "resource.name != ''")
    seen = read(google, projects, version)
    hidden = next(each for each in seen["bindings"] if PERSON in each["members"])
    assert seen["version"] == 1
    assert hidden["role"].startswith("roles/run.viewer_withcond_") and "condition" not in hidden
    whole = read(google, projects)
    assert (whole["version"], whole["etag"]) == (3, seen["etag"])
    assert any("condition" in each for each in whole["bindings"])


def test_version_1_does_not_replace_version_3(google: Emulated, projects: Any) -> None:
    """Source: hashicorp/vault-plugin-secrets-gcp#88; without an etag the conditions are lost (policies#versions)."""
    granted(google, projects, "roles/run.viewer", "resource.name != ''")
    seen = read(google, projects, 1)
    error = refused(write(google, projects, seen))
    words = "Specified policy version (1) cannot be less than the existing policy version (3)."
    assert (error.status_code, words in error.reason) == (400, True)
    blind = [each for each in seen["bindings"] if "withcond" not in each["role"]]
    write(google, projects, {"bindings": blind}).execute()
    assert read(google, projects)["version"] == 1


def test_a_hidden_role_is_no_role(google: Emulated, projects: Any) -> None:
    granted(google, projects, "roles/run.viewer", "resource.name != ''")
    seen = read(google, projects, 1)
    error = refused(write(google, projects, {"bindings": seen["bindings"]}))
    assert (error.status_code, "is not supported for this resource" in error.reason) == (400, True)


@pytest.mark.parametrize(
    ("expression", "holds"),
    [
        ("request.time < timestamp('2026-01-02T00:00:00Z')", True),
        ("request.time < timestamp('2025-01-02T00:00:00Z')", False),
        ("resource.service == 'run.googleapis.com' && !(resource.name == 'other')", True),
        ('resource.type == "secretmanager.googleapis.com/Secret"', False),
        ("resource.name.startsWith('projects/other/') || resource.name.endsWith('/other')", False),
    ],
)
def test_a_role_holds_as_its_condition_says(google: Emulated, projects: Any, expression: str, holds: bool) -> None:
    google.cloud.world.clock.now()
    granted(google, projects, "roles/run.viewer", expression)
    theirs = client(google, "run.v2", google.credentials_of(PERSON)).projects().locations().services()
    request = theirs.list(parent=f"projects/{google.project}/locations/europe-west1")
    assert (request.execute() == {}) if holds else (refused(request).status_code == 403)


@pytest.mark.parametrize(
    ("binding", "version"),
    [
        ({"role": "roles/editor", "members": [PERSON]}, 3),
        ({"role": "roles/run.viewer", "members": [PERSON]}, 1),
    ],
)
def test_where_no_condition_may_be(google: Emulated, projects: Any, binding: dict[str, Any], version: int) -> None:
    """Source: conditions-overview: not on basic roles; policies#versions: not below 3."""
    policy = read(google, projects) | {"version": version}
    policy["bindings"].append(binding | {"condition": {"title": "t", "expression": "resource.name == 'a'"}})
    assert refused(write(google, projects, policy)).status_code == 400


def test_audit_configs_are_written_where_the_mask_names_them(google: Emulated, projects: Any) -> None:
    """Source: `updateMask` of setIamPolicy: by default "bindings, etag"; gcloud names auditConfigs besides."""
    config = {"service": "allServices", "auditLogConfigs": [{"logType": "DATA_READ"}, {"logType": "DATA_WRITE"}]}
    write(google, projects, read(google, projects) | {"auditConfigs": [config]}).execute()
    assert "auditConfigs" not in read(google, projects)
    changed = read(google, projects) | {"auditConfigs": [config]}
    write(google, projects, changed, updateMask="bindings,etag,auditConfigs").execute()
    assert read(google, projects)["auditConfigs"] == [config]
    write(google, projects, {**read(google, projects), "auditConfigs": []}).execute()
    assert read(google, projects)["auditConfigs"] == [config]
