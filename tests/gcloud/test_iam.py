"""Service accounts, keys and roles. Source: https://cloud.google.com/sdk/gcloud/reference/iam"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from google.auth import jwt
from google.auth.transport.requests import Request
from google.oauth2 import service_account
from googleapiclient import discovery

from tests.gcloud.conftest import Gcloud, Refused


def iam(gcloud: Gcloud) -> Any:
    return discovery.build(
        "iam", "v1", static_discovery=True, client_options=gcloud.options("iam"), credentials=gcloud.credentials
    )


def test_an_account_from_making_to_deleting(gcloud: Gcloud) -> None:
    made = gcloud("iam", "service-accounts", "create", "worker-1", "--display-name=Worker")
    accounts = iam(gcloud).projects().serviceAccounts()
    assert accounts.get(name=made["name"]).execute()["displayName"] == "Worker"
    gcloud("iam", "service-accounts", "update", made["email"], "--description=Works")
    assert accounts.get(name=made["name"]).execute()["description"] == "Works"
    assert made["email"] in {each["email"] for each in gcloud("iam", "service-accounts", "list")}
    gcloud("iam", "service-accounts", "disable", made["email"])
    assert gcloud("iam", "service-accounts", "describe", made["email"])["disabled"] is True
    gcloud("iam", "service-accounts", "enable", made["email"])
    with pytest.raises(Refused, match="already exists"):
        gcloud("iam", "service-accounts", "create", "worker-1")
    gcloud("iam", "service-accounts", "delete", made["email"])
    with pytest.raises(Refused, match="NOT_FOUND: Unknown service account"):
        gcloud("iam", "service-accounts", "describe", made["email"])


def test_a_deleted_account_comes_back(beta: Gcloud) -> None:
    accounts = iam(beta).projects().serviceAccounts()
    made = accounts.create(name=f"projects/{beta.project}", body={"accountId": "worker-1"}).execute()
    accounts.delete(name=made["name"]).execute()
    beta("beta", "iam", "service-accounts", "undelete", made["uniqueId"])
    assert accounts.get(name=made["name"]).execute()["uniqueId"] == made["uniqueId"]


def test_a_key_from_making_to_deleting(gcloud: Gcloud, tmp_path: Path) -> None:
    body = {"accountId": "worker-1"}
    made = iam(gcloud).projects().serviceAccounts().create(name=f"projects/{gcloud.project}", body=body).execute()
    of_account, file = f"--iam-account={made['email']}", tmp_path / "key.json"
    gcloud("iam", "service-accounts", "keys", "create", str(file), of_account)
    key = json.loads(file.read_text())
    held = service_account.Credentials.from_service_account_info(  # type: ignore[no-untyped-call]
        key, scopes=["https://www.googleapis.com/auth/cloud-platform"]
    )
    held.refresh(Request())
    keys = iam(gcloud).projects().serviceAccounts().keys()
    assert keys.get(name=f"{made['name']}/keys/{key['private_key_id']}").execute()["keyOrigin"] == "GOOGLE_PROVIDED"
    second = keys.create(name=made["name"], body={}).execute()["name"].rpartition("/")[2]
    listed = gcloud("iam", "service-accounts", "keys", "list", of_account, "--managed-by=user")
    assert {each["name"].rpartition("/")[2] for each in listed} == {key["private_key_id"], second}
    keys.delete(name=f"{made['name']}/keys/{second}").execute()
    gcloud("iam", "service-accounts", "keys", "delete", key["private_key_id"], of_account)
    assert gcloud("iam", "service-accounts", "keys", "list", of_account, "--managed-by=user") == []
    with pytest.raises(Refused, match="NOT_FOUND"):
        gcloud("iam", "service-accounts", "keys", "delete", key["private_key_id"], of_account)


def test_a_policy_of_an_account(gcloud: Gcloud) -> None:
    gcloud("iam", "service-accounts", "create", "worker-1")
    email, member = f"worker-1@{gcloud.project}.iam.gserviceaccount.com", "--member=user:a@example.com"
    role = "--role=roles/iam.serviceAccountUser"
    gcloud("iam", "service-accounts", "add-iam-policy-binding", email, member, role)
    policy = iam(gcloud).projects().serviceAccounts().getIamPolicy(resource=f"projects/-/serviceAccounts/{email}")
    assert policy.execute()["bindings"] == [{"role": "roles/iam.serviceAccountUser", "members": ["user:a@example.com"]}]
    gcloud("iam", "service-accounts", "remove-iam-policy-binding", email, member, role)
    assert "bindings" not in gcloud("iam", "service-accounts", "get-iam-policy", email)
    with pytest.raises(Refused, match="is not supported for this resource"):
        none = f"--role=projects/{gcloud.project}/roles/none"
        gcloud("iam", "service-accounts", "add-iam-policy-binding", email, member, none)


def test_a_role_from_making_to_undeleting(gcloud: Gcloud) -> None:
    own = f"--project={gcloud.project}"
    permissions = "--permissions=compute.networks.get,compute.networks.list"
    gcloud("iam", "roles", "create", "reader", own, "--title=Reader", permissions)
    name, roles = f"projects/{gcloud.project}/roles/reader", iam(gcloud).projects().roles()
    assert roles.get(name=name).execute()["title"] == "Reader"
    body = {"title": "Made", "includedPermissions": ["run.services.get"]}
    roles.create(parent=f"projects/{gcloud.project}", body={"roleId": "made", "role": body}).execute()
    gcloud("iam", "roles", "update", "reader", own, "--remove-permissions=compute.networks.get")
    assert gcloud("iam", "roles", "describe", "reader", own)["includedPermissions"] == ["compute.networks.list"]
    gcloud("iam", "roles", "delete", "reader", own)
    assert [each["title"] for each in gcloud("iam", "roles", "list", own)] == ["Made"]
    gcloud("iam", "roles", "undelete", "reader", own)
    assert "deleted" not in roles.get(name=name).execute()
    with pytest.raises(Refused, match=r"Permission compute\.networks\.gett is not valid"):
        gcloud("iam", "roles", "create", "wrong", own, "--permissions=compute.networks.gett")
    assert gcloud("iam", "roles", "describe", "roles/run.invoker")["title"] == "Cloud Run Invoker"
    project = f"//cloudresourcemanager.googleapis.com/projects/{gcloud.project}"
    assert "roles/run.invoker" in {each["name"] for each in gcloud("iam", "list-grantable-roles", project)}


def test_impersonating_an_account(gcloud: Gcloud) -> None:
    """Source: https://cloud.google.com/docs/authentication/use-service-account-impersonation#gcloud"""
    body = {"accountId": "worker-1"}
    made = iam(gcloud).projects().serviceAccounts().create(name=f"projects/{gcloud.project}", body=body).execute()
    read = ("secrets", "list", f"--impersonate-service-account={made['email']}")
    with pytest.raises(Refused, match=r"iam\.serviceAccounts\.getAccessToken"):
        gcloud(*read)
    caller = f"emulator-admin@{gcloud.project}.iam.gserviceaccount.com"
    role = ("--role=roles/iam.serviceAccountTokenCreator", f"--member=serviceAccount:{caller}")
    gcloud("iam", "service-accounts", "add-iam-policy-binding", made["email"], *role)
    with pytest.raises(Refused, match=r"secretmanager\.secrets\.list"):
        gcloud(*read)
    gcloud.cloud.access.grant(f"projects/{gcloud.project}", "roles/viewer", f"serviceAccount:{made['email']}")
    assert gcloud(*read) == []
    token = gcloud.text("auth", "print-identity-token", read[-1], "--audiences=https://hello.example.com").strip()
    assert jwt.decode(token, verify=False)["aud"] == "https://hello.example.com"
    called = [each for each in gcloud.cloud.received if each.method == "secretmanager.projects.secrets.list"]
    assert {each.caller for each in called[-2:]} == {f"serviceAccount:{made['email']}"}
