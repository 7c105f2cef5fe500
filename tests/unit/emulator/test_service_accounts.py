"""Service accounts and their keys through google-api-python-client.

Source: https://cloud.google.com/iam/docs/reference/rest/v1/projects.serviceAccounts
"""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from google.auth import crypt

from tests.unit.emulator.api_clients import account, client, iam, policy_of, refused
from tests.unit.emulator.conftest import Emulated


@pytest.fixture
def accounts(google: Emulated) -> Any:
    return iam(google).projects().serviceAccounts()


def test_an_account_is_found_by_email_by_unique_id_and_without_its_project(google: Emulated, accounts: Any) -> None:
    made = account(google, "worker-1")
    assert made["email"] == f"worker-1@{google.project}.iam.gserviceaccount.com"
    assert made["name"] == f"projects/{google.project}/serviceAccounts/{made['email']}"
    assert made["uniqueId"].isdigit() and len(made["uniqueId"]) == 21
    for project in (google.project, "-"):
        for who in (made["email"], made["uniqueId"]):
            assert accounts.get(name=f"projects/{project}/serviceAccounts/{who}").execute() == made


def test_a_name_is_taken_once_and_follows_the_rule(google: Emulated, accounts: Any) -> None:
    account(google, "worker-1")
    again = refused(accounts.create(name=f"projects/{google.project}", body={"accountId": "worker-1"}))
    assert (again.status_code, again.reason) == (
        409,
        f"Service account worker-1 already exists within project projects/{google.project}.",
    )
    for wrong in ("short", "Worker-1", "1worker", "a" * 31, "worker-"):
        error = refused(accounts.create(name=f"projects/{google.project}", body={"accountId": wrong}))
        assert (error.status_code, wrong in error.reason) == (400, True)


def test_display_name_and_description_are_changed_alone(google: Emulated, accounts: Any) -> None:
    name = account(google, "worker-1")["name"]
    told = {"displayName": "Worker", "description": "Works"}
    accounts.patch(name=name, body={"serviceAccount": told, "updateMask": "displayName,description"}).execute()
    accounts.patch(name=name, body={"serviceAccount": {}, "updateMask": "description"}).execute()
    assert {"displayName": "Worker", "description": ""}.items() <= accounts.get(name=name).execute().items()
    assert accounts.update(name=name, body={"displayName": "Other"}).execute()["displayName"] == "Other"
    assert refused(accounts.patch(name=name, body={"updateMask": "email"})).status_code == 400
    too_long = {"serviceAccount": {"displayName": "x" * 101}, "updateMask": "display_name"}
    assert refused(accounts.patch(name=name, body=too_long)).status_code == 400


def test_a_list_comes_in_pages_and_holds_the_default_account(google: Emulated, accounts: Any) -> None:
    """Source of the default account: https://cloud.google.com/iam/docs/service-account-types#default"""
    for number in range(3):
        account(google, f"worker-{number}")
    number = google.cloud.world.projects[google.project].number
    listed, request = [], accounts.list(name=f"projects/{google.project}", pageSize=3)
    while request is not None:
        answer = request.execute()
        assert len(answer["accounts"]) <= 3
        listed += [each["email"].partition("@")[0] for each in answer["accounts"]]
        request = accounts.list_next(request, answer)
    assert listed == [f"{number}-compute", "worker-0", "worker-1", "worker-2"]


def test_an_unknown_account_is_not_found_in_a_project_that_there_is_and_forbidden_elsewhere(
    google: Emulated, accounts: Any
) -> None:
    """Sources: the note on the wildcard `-` in the reference; gcloud, which asks by `-`, is told NOT_FOUND."""
    email = f"none@{google.project}.iam.gserviceaccount.com"
    for name in (f"projects/{google.project}/serviceAccounts/{email}", f"projects/-/serviceAccounts/{email}"):
        error = refused(accounts.get(name=name))
        assert (error.status_code, error.reason) == (404, "Unknown service account")
    error = refused(accounts.get(name="projects/-/serviceAccounts/none@example.com"))
    assert (error.status_code, error.reason) == (
        403,
        "Permission 'iam.serviceAccounts.get' denied on resource (or it may not exist).",
    )
    stranger = iam(google, google.credentials_of("user:stranger@example.com")).projects().serviceAccounts()
    assert refused(stranger.get(name=f"projects/-/serviceAccounts/{email}")).status_code == 403


def test_a_policy_of_the_account_gives_access_to_it_alone(google: Emulated, accounts: Any) -> None:
    one, two = account(google, "worker-1"), account(google, "worker-2")
    binding = {"role": "roles/iam.serviceAccountAdmin", "members": ["user:a@example.com"]}
    accounts.setIamPolicy(resource=one["name"], body={"policy": {"bindings": [binding]}}).execute()
    theirs = iam(google, google.credentials_of("user:a@example.com")).projects().serviceAccounts()
    asked = {"permissions": ["iam.serviceAccounts.delete", "iam.serviceAccounts.actAs"]}
    held = theirs.testIamPermissions(resource=one["name"], body=asked).execute()
    assert held == {"permissions": ["iam.serviceAccounts.delete"]}
    assert theirs.getIamPolicy(resource=one["name"]).execute()["bindings"] == [binding]
    error = refused(theirs.get(name=two["name"]))
    assert error.error_details[0]["metadata"] == {"permission": "iam.serviceAccounts.get"}


def test_a_deleted_account_shows_as_such_in_policies_and_comes_back_by_its_unique_id(
    google: Emulated, accounts: Any
) -> None:
    """Source: Policy in the reference, `deleted:serviceAccount:{emailid}?uid={uniqueid}`."""
    made = account(google, "worker-1")
    google.grant("roles/viewer", f"serviceAccount:{made['email']}")
    accounts.delete(name=made["name"]).execute()
    buried = f"deleted:serviceAccount:{made['email']}?uid={made['uniqueId']}"
    assert policy_of(google)["roles/viewer"] == {buried}
    assert refused(accounts.get(name=made["name"])).status_code == 404
    restored = accounts.undelete(name=f"projects/-/serviceAccounts/{made['uniqueId']}").execute()["restoredAccount"]
    assert restored == made
    assert policy_of(google)["roles/viewer"] == {f"serviceAccount:{made['email']}"}


def test_a_new_account_of_the_same_name_is_another_one(google: Emulated, accounts: Any) -> None:
    """Source: https://cloud.google.com/iam/docs/service-accounts-delete-undelete (roles are not inherited)."""
    made = account(google, "worker-1")
    google.grant("roles/viewer", f"serviceAccount:{made['email']}")
    token = google.cloud.access.mint(f"serviceAccount:{made['email']}")
    accounts.delete(name=made["name"]).execute()
    assert account(google, "worker-1")["uniqueId"] != made["uniqueId"]
    assert f"serviceAccount:{made['email']}" not in policy_of(google)["roles/viewer"]
    assert google.http(token).get(f"/iam/v1/projects/{google.project}/serviceAccounts").status_code == 401
    unique = f"projects/-/serviceAccounts/{made['uniqueId']}"
    assert refused(accounts.undelete(name=unique)).status_code == 409


def test_after_30_days_a_deleted_account_is_gone(google: Emulated, accounts: Any) -> None:
    made = account(google, "worker-1")
    accounts.delete(name=made["name"]).execute()
    google.advance(30 * 86400)
    unique = f"projects/{google.project}/serviceAccounts/{made['uniqueId']}"
    again = iam(google).projects().serviceAccounts()
    assert refused(again.undelete(name=unique)).status_code == 404


def test_a_policy_names_only_accounts_that_there_are(google: Emulated) -> None:
    """Source: GoogleCloudPlatform/genai-for-marketing#139, "Service account … does not exist"."""
    email = f"nobody@{google.project}.iam.gserviceaccount.com"
    policy = {"bindings": [{"role": "roles/viewer", "members": [f"serviceAccount:{email}"]}]}
    resource = account(google, "worker-1")["name"]
    error = refused(iam(google).projects().serviceAccounts().setIamPolicy(resource=resource, body={"policy": policy}))
    assert (error.status_code, error.reason) == (400, f"Service account {email} does not exist.")


# -- keys ----------------------------------------------------------------------------------------------------------


def test_a_key_is_googles_file_and_its_public_half_fits(google: Emulated, accounts: Any) -> None:
    """Source: https://cloud.google.com/iam/docs/keys-create-delete"""
    made = account(google, "worker-1")
    key = accounts.keys().create(name=made["name"], body={}).execute()
    file = json.loads(base64.b64decode(key["privateKeyData"]))
    assert (file["type"], file["client_email"], file["client_id"]) == (
        "service_account",
        made["email"],
        made["oauth2ClientId"],
    )
    assert file["token_uri"] == f"{google.address}/token"
    assert key["name"] == f"{made['name']}/keys/{file['private_key_id']}"
    read = accounts.keys().get(name=key["name"], publicKeyType="TYPE_RAW_PUBLIC_KEY").execute()
    assert "privateKeyData" not in read
    signature = crypt.RSASigner.from_string(file["private_key"]).sign(b"text")  # type: ignore[no-untyped-call]
    assert crypt.verify_signature(b"text", signature, base64.b64decode(read["publicKeyData"]))  # type: ignore[no-untyped-call]


def test_keys_are_listed_by_who_manages_them_and_googles_own_stays(google: Emulated, accounts: Any) -> None:
    made = account(google, "worker-1")
    small = {"keyAlgorithm": "KEY_ALG_RSA_1024"}
    key = accounts.keys().create(name=made["name"], body=small).execute()
    keys = accounts.keys().list(name=made["name"]).execute()["keys"]
    assert sorted(each["keyType"] for each in keys) == ["SYSTEM_MANAGED", "USER_MANAGED"]
    mine = accounts.keys().list(name=made["name"], keyTypes="USER_MANAGED").execute()["keys"]
    assert [each["name"] for each in mine] == [key["name"]]
    googles = next(each for each in keys if each["keyType"] == "SYSTEM_MANAGED")
    assert refused(accounts.keys().delete(name=googles["name"])).status_code == 400
    accounts.keys().disable(name=key["name"], body={}).execute()
    assert accounts.keys().get(name=key["name"]).execute()["disabled"] is True
    accounts.keys().enable(name=key["name"], body={}).execute()
    assert "disabled" not in accounts.keys().get(name=key["name"]).execute()
    accounts.keys().delete(name=key["name"]).execute()
    assert refused(accounts.keys().get(name=key["name"])).status_code == 404


def test_an_account_has_at_most_ten_keys(google: Emulated, accounts: Any) -> None:
    """Sources: https://cloud.google.com/iam/quotas#limits; googleapis/google-api-dotnet-client#2027."""
    name = account(google, "worker-1")["name"]
    body = {"keyAlgorithm": "KEY_ALG_RSA_1024"}
    for _ in range(10):
        accounts.keys().create(name=name, body=body).execute()
    error = refused(accounts.keys().create(name=name, body=body))
    assert (error.status_code, error.reason) == (400, "Precondition check failed.")


def test_what_is_not_emulated_says_so(google: Emulated, accounts: Any) -> None:
    name = account(google, "worker-1")["name"]
    pkcs12 = accounts.keys().create(name=name, body={"privateKeyType": "TYPE_PKCS12_FILE"})
    upload = accounts.keys().upload(name=name, body={"publicKeyData": "AAAA"})
    testable = client(google, "iam.v1").permissions().queryTestablePermissions(body={})
    assert [refused(each).status_code for each in (pkcs12, upload, testable)] == [501, 501, 501]
