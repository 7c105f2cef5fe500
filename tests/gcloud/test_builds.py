"""Cloud Build. Source: https://cloud.google.com/sdk/gcloud/reference/builds"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.gcloud.conftest import Gcloud, Refused


def test_a_build_is_submitted_read_and_listed(gcloud: Gcloud, tmp_path: Path) -> None:
    config = tmp_path / "cloudbuild.yaml"
    config.write_text("steps:\n- name: gcr.io/cloud-builders/docker\n  args: [version]\n")
    build = gcloud("builds", "submit", "--no-source", f"--config={config}", "--async")
    shown = gcloud("builds", "describe", build["id"])
    assert shown["status"] == "FAILURE"
    assert shown["statusDetail"].startswith("The emulator of Google Cloud has no builder")
    assert [each["id"] for each in gcloud("builds", "list")] == [build["id"]]
    with pytest.raises(Refused, match="is done"):
        gcloud("builds", "cancel", build["id"])
