"""Artifact Registry. Source: https://cloud.google.com/sdk/gcloud/reference/artifacts"""

from __future__ import annotations

import httpx
import pytest
from google.cloud import artifactregistry_v1 as registry

from tests.gcloud.conftest import Gcloud, Refused

WHERE = "--location=us-central1"


def test_a_repository_from_making_to_deleting(gcloud: Gcloud) -> None:
    gcloud("artifacts", "repositories", "create", "images", WHERE, "--repository-format=docker", "--labels=stack=one")
    client = registry.ArtifactRegistryClient(
        credentials=gcloud.credentials, client_options=gcloud.options("artifactregistry"), transport="rest"
    )
    name = f"projects/{gcloud.project}/locations/us-central1/repositories/images"
    assert client.get_repository(name=name).labels == {"stack": "one"}
    gcloud("artifacts", "repositories", "update", "images", WHERE, "--description=for the stack")
    assert gcloud("artifacts", "repositories", "describe", "images", WHERE)["description"] == "for the stack"
    assert [each["name"] for each in gcloud("artifacts", "repositories", "list", WHERE)] == [name]
    image = f"us-central1-docker.pkg.dev/{gcloud.project}/images/proxy"
    httpx.post(f"{gcloud.address}/_emulator/images", json={"image": f"{image}:1"}).raise_for_status()
    assert [each["package"] for each in gcloud("artifacts", "docker", "images", "list", image)] == [image]
    assert [each["tag"].rpartition("/")[2] for each in gcloud("artifacts", "docker", "tags", "list", image)] == ["1"]
    gcloud("artifacts", "repositories", "delete", "images", WHERE)
    with pytest.raises(Refused, match="NOT_FOUND"):
        gcloud("artifacts", "repositories", "describe", "images", WHERE)


def test_another_format_says_that_it_is_not_emulated(gcloud: Gcloud) -> None:
    with pytest.raises(Refused, match="is not emulated"):
        gcloud("artifacts", "repositories", "create", "wheels", WHERE, "--repository-format=python")
