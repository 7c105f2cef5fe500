"""Cloud Build. Source: https://cloud.google.com/sdk/gcloud/reference/builds"""

from __future__ import annotations

from pathlib import Path

import pytest
from googleapiclient import discovery

from tests.gcloud.conftest import Gcloud, Refused


def test_a_build_is_submitted_read_and_listed(gcloud: Gcloud, tmp_path: Path) -> None:
    config = tmp_path / "cloudbuild.yaml"
    config.write_text("steps:\n- name: gcr.io/cloud-builders/docker\n  args: [version]\n")
    build = gcloud("builds", "submit", "--no-source", f"--config={config}", "--async")
    shown = gcloud("builds", "describe", build["id"])
    assert shown["status"] == "FAILURE"
    assert shown["statusDetail"].startswith("The emulator of Google Cloud has no builder")
    options = gcloud.options("cloudbuild")
    api = discovery.build(
        "cloudbuild", "v1", static_discovery=True, client_options=options, credentials=gcloud.credentials
    )
    builds, steps = api.projects().builds(), [{"name": "gcr.io/cloud-builders/docker", "args": ["version"]}]
    assert builds.get(projectId=gcloud.project, id=build["id"]).execute()["status"] == "FAILURE"
    made = builds.create(projectId=gcloud.project, body={"steps": steps}).execute()["metadata"]["build"]["id"]
    assert {each["id"] for each in gcloud("builds", "list")} == {build["id"], made}
    with pytest.raises(Refused, match="is done"):
        gcloud("builds", "cancel", build["id"])
