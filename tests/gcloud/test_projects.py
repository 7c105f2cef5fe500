"""Projects and their services.

Sources: https://cloud.google.com/sdk/gcloud/reference/projects, https://cloud.google.com/sdk/gcloud/reference/services
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from googleapiclient import discovery

from tests.gcloud.conftest import Gcloud, Refused


def client(gcloud: Gcloud, service: str, version: str) -> Any:
    options = gcloud.options(service)
    return discovery.build(
        service, version, static_discovery=True, client_options=options, credentials=gcloud.credentials
    )


def test_a_project_and_its_policy(gcloud: Gcloud, tmp_path: Path) -> None:
    assert gcloud("projects", "describe", gcloud.project)["lifecycleState"] == "ACTIVE"
    assert gcloud.project in {each["projectId"] for each in gcloud("projects", "list")}
    assert gcloud("projects", "get-ancestors", gcloud.project) == [{"id": gcloud.project, "type": "project"}]
    member, role = "--member=user:a@example.com", "--role=roles/run.viewer"
    gcloud("projects", "add-iam-policy-binding", gcloud.project, member, role)
    projects = client(gcloud, "cloudresourcemanager", "v3").projects()
    policy = projects.getIamPolicy(resource=f"projects/{gcloud.project}").execute()
    assert {"role": "roles/run.viewer", "members": ["user:a@example.com"]} in policy["bindings"]
    gcloud("projects", "remove-iam-policy-binding", gcloud.project, member, role)
    file = tmp_path / "policy.json"
    file.write_text(json.dumps(policy))
    with pytest.raises(Refused, match="concurrent policy changes"):
        gcloud("projects", "set-iam-policy", gcloud.project, str(file))
    assert "roles/run.viewer" not in json.dumps(gcloud("projects", "get-iam-policy", gcloud.project))
    with pytest.raises(Refused, match="SOLO_MUST_INVITE_OWNERS"):
        gcloud("projects", "add-iam-policy-binding", gcloud.project, member, "--role=roles/owner")


def test_services_from_enabling_to_disabling(gcloud: Gcloud) -> None:
    gcloud("services", "disable", "run.googleapis.com")
    services = client(gcloud, "serviceusage", "v1").services()
    name = f"projects/{gcloud.project}/services/run.googleapis.com"
    assert services.get(name=name).execute()["state"] == "DISABLED"
    gcloud("services", "enable", "run.googleapis.com", "compute.googleapis.com")
    assert services.get(name=name).execute()["state"] == "ENABLED"
    listed = {each["config"]["name"] for each in gcloud("services", "list", "--enabled")}
    assert {"run.googleapis.com", "compute.googleapis.com", "storage.googleapis.com"} <= listed
    with pytest.raises(Refused, match="is depended on by the following active service"):
        gcloud("services", "disable", "oslogin.googleapis.com")
    with pytest.raises(Refused, match="Not found or permission denied for service"):
        gcloud("services", "enable", "sql.googleapis.com")
