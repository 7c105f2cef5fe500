"""Artifact Registry. Source: https://cloud.google.com/sdk/gcloud/reference/artifacts

`gcloud artifacts locations list` calls v1beta2 (version 528), which is not emulated.
"""

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
    repository = registry.Repository(format_="DOCKER", labels={"by": "python"})
    parent = name.rpartition("/repositories/")[0]
    client.create_repository(parent=parent, repository_id="made", repository=repository).result(timeout=10)
    assert gcloud("artifacts", "repositories", "describe", "made", WHERE)["labels"] == {"by": "python"}
    listed = [each["name"].rpartition("/")[2] for each in gcloud("artifacts", "repositories", "list", WHERE)]
    assert listed == ["images", "made"]
    policy = ("images", WHERE, "--member=user:ann@example.com", "--role=roles/artifactregistry.reader")
    gcloud("artifacts", "repositories", "add-iam-policy-binding", *policy)
    bindings = client.get_iam_policy(request={"resource": name}).bindings
    assert [(each.role, list(each.members)) for each in bindings] == [(policy[3][7:], ["user:ann@example.com"])]
    gcloud("artifacts", "repositories", "remove-iam-policy-binding", *policy)
    assert "bindings" not in gcloud("artifacts", "repositories", "get-iam-policy", "images", WHERE)
    image = f"us-central1-docker.pkg.dev/{gcloud.project}/images/proxy"
    httpx.post(f"{gcloud.address}/_emulator/images", json={"image": f"{image}:1"}).raise_for_status()
    assert [each["package"] for each in gcloud("artifacts", "docker", "images", "list", image)] == [image]
    assert [each["tag"].rpartition("/")[2] for each in gcloud("artifacts", "docker", "tags", "list", image)] == ["1"]
    one = ("--repository=images", WHERE)
    assert [each["name"] for each in gcloud("artifacts", "packages", "list", *one)] == ["proxy"]
    assert len(gcloud("artifacts", "versions", "list", "--package=proxy", *one)) == 1
    gcloud("artifacts", "repositories", "delete", "images", WHERE)
    with pytest.raises(Refused, match="NOT_FOUND"):
        gcloud("artifacts", "repositories", "describe", "images", WHERE)
    with pytest.raises(Refused, match="ALREADY_EXISTS"):
        gcloud("artifacts", "repositories", "create", "made", WHERE, "--repository-format=docker")
