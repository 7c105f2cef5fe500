"""Secrets and versions. Source: https://cloud.google.com/sdk/gcloud/reference/secrets"""

from __future__ import annotations

from pathlib import Path

import pytest
from google.cloud import secretmanager_v1

from tests.gcloud.conftest import Gcloud, Refused


def client_of(gcloud: Gcloud) -> secretmanager_v1.SecretManagerServiceClient:
    return secretmanager_v1.SecretManagerServiceClient(
        credentials=gcloud.credentials, client_options=gcloud.options("secretmanager"), transport="rest"
    )


def test_a_secret_from_making_to_deleting(gcloud: Gcloud, tmp_path: Path) -> None:
    payload, name = tmp_path / "payload", f"projects/{gcloud.project}/secrets/one"
    payload.write_bytes(b"hidden")
    gcloud("secrets", "create", "one", f"--data-file={payload}", "--labels=team=data", "--replication-policy=automatic")
    client = client_of(gcloud)
    assert client.access_secret_version(name=f"{name}/versions/latest").payload.data == b"hidden"
    gcloud("secrets", "update", "one", "--update-labels=step=two")
    assert client.get_secret(name=name).labels == {"team": "data", "step": "two"}
    member, role = "--member=user:ann@example.com", "--role=roles/secretmanager.secretAccessor"
    gcloud("secrets", "add-iam-policy-binding", "one", member, role)
    assert [each.role for each in client.get_iam_policy(request={"resource": name}).bindings] == [role[7:]]
    gcloud("secrets", "remove-iam-policy-binding", "one", member, role)
    assert "bindings" not in gcloud("secrets", "get-iam-policy", "one")
    assert [each["labels"] for each in gcloud("secrets", "list")] == [{"team": "data", "step": "two"}]
    gcloud("secrets", "delete", "one")
    with pytest.raises(Refused, match="NOT_FOUND"):
        gcloud("secrets", "describe", "one")


def test_versions_that_python_added(gcloud: Gcloud, tmp_path: Path) -> None:
    client, parent = client_of(gcloud), f"projects/{gcloud.project}"
    body = secretmanager_v1.Secret({"replication": {"automatic": {}}})
    name = client.create_secret(parent=parent, secret_id="two", secret=body).name
    for data in (b"1", b"2"):
        client.add_secret_version(parent=name, payload={"data": data})
    assert gcloud("secrets", "describe", "two")["name"].endswith("/secrets/two")
    assert gcloud.text("secrets", "versions", "access", "2", "--secret=two") == "2"
    payload = tmp_path / "payload"
    payload.write_bytes(b"3")
    gcloud("secrets", "versions", "add", "two", f"--data-file={payload}")
    assert client.access_secret_version(name=f"{name}/versions/3").payload.data == b"3"
    assert [each["state"] for each in gcloud("secrets", "versions", "list", "two")] == ["ENABLED"] * 3
    gcloud("secrets", "versions", "destroy", "3", "--secret=two")
    gcloud("secrets", "versions", "disable", "2", "--secret=two")
    gcloud("secrets", "versions", "enable", "2", "--secret=two")
    assert client.get_secret_version(name=f"{name}/versions/2").state.name == "ENABLED"
    gcloud("secrets", "versions", "disable", "1", "--secret=two")
    gcloud("secrets", "versions", "destroy", "2", "--secret=two")
    assert gcloud("secrets", "versions", "describe", "1", "--secret=two")["state"] == "DISABLED"
    with pytest.raises(Refused, match="is in DESTROYED state"):
        gcloud("secrets", "versions", "access", "latest", "--secret=two")
