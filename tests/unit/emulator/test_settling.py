"""What Google has accepted and does not yet know everywhere, on a virtual clock at scale 1.

Sources: https://cloud.google.com/iam/docs/access-change-propagation, https://cloud.google.com/iam/docs/overview#consistency,
https://cloud.google.com/iam/docs/service-accounts-create, and the public issues named at each test.
"""

from __future__ import annotations

from typing import Any

import pytest
from google.api_core.exceptions import Forbidden
from google.cloud import compute_v1

from tests.emulator.clock import VirtualClock
from tests.emulator.cloud import Cloud
from tests.unit.emulator.api_clients import account, changed_policy, client, iam, refused
from tests.unit.emulator.conftest import Emulated

PERSON = "user:person@example.com"


def networks(google: Emulated, member: str) -> list[str]:
    client = compute_v1.NetworksClient(
        credentials=google.credentials_of(member), client_options=google.options("compute")
    )
    return [each.name for each in client.list(project=google.project)]


def test_a_grant_takes_effect_minutes_later(slow_google: Emulated) -> None:
    """Source: access-change-propagation, "typically propagate in 2 minutes"."""
    with changed_policy(slow_google) as policy:
        policy["bindings"].append({"role": "roles/compute.viewer", "members": [PERSON]})
    slow_google.advance(100)
    with pytest.raises(Forbidden):
        networks(slow_google, PERSON)
    slow_google.advance(30)
    assert networks(slow_google, PERSON) == []


def test_what_was_taken_away_holds_for_minutes(slow_google: Emulated) -> None:
    """Source: access-change-propagation, "might still be able to use a recently revoked role"."""
    slow_google.grant("roles/compute.viewer", PERSON)
    with changed_policy(slow_google) as policy:
        policy["bindings"] = [each for each in policy["bindings"] if PERSON not in each["members"]]
    assert networks(slow_google, PERSON) == []
    slow_google.advance(130)
    with pytest.raises(Forbidden):
        networks(slow_google, PERSON)


def test_changes_come_into_force_one_after_the_other(slow_google: Emulated) -> None:
    for role in ("roles/run.viewer", "roles/compute.viewer"):
        with changed_policy(slow_google) as policy:
            policy["bindings"].append({"role": role, "members": [PERSON]})
        slow_google.advance(60)
    slow_google.advance(10)
    asked = {"permissions": ["run.services.list", "compute.networks.list"]}
    theirs = client(slow_google, "cloudresourcemanager.v3", slow_google.credentials_of(PERSON)).projects()
    resource = f"projects/{slow_google.project}"
    assert theirs.testIamPermissions(resource=resource, body=asked).execute() == {"permissions": ["run.services.list"]}
    slow_google.advance(60)
    assert theirs.testIamPermissions(resource=resource, body=asked).execute() == asked


def test_a_read_may_show_the_policy_of_before(slow_google: Emulated) -> None:
    """Its etag is the old one: written back, it is a conflict. Source: IAM's reference, "eventually consistent"."""
    projects = client(slow_google, "cloudresourcemanager.v3").projects()
    resource = f"projects/{slow_google.project}"
    before = projects.getIamPolicy(resource=resource).execute()
    with changed_policy(slow_google) as policy:
        policy["bindings"].append({"role": "roles/run.viewer", "members": [PERSON]})
    read = projects.getIamPolicy(resource=resource).execute()
    assert read == before
    assert refused(projects.setIamPolicy(resource=resource, body={"policy": read})).status_code == 409
    slow_google.advance(3)
    assert projects.getIamPolicy(resource=resource).execute() != before


def test_a_new_account_is_404_then_403_then_there(slow_google: Emulated) -> None:
    """Sources: hashicorp/terraform-provider-google#18087 (404), #15042 (403), #6758."""
    name = account(slow_google, "worker-1")["name"]
    accounts = iam(slow_google).projects().serviceAccounts()
    assert refused(accounts.get(name=name)).status_code == 404
    again = accounts.create(name=f"projects/{slow_google.project}", body={"accountId": "worker-1"})
    assert refused(again).status_code == 409
    slow_google.advance(40)
    assert refused(accounts.get(name=name)).status_code == 403
    slow_google.advance(30)
    assert accounts.get(name=name).execute()["name"] == name


def test_a_new_account_is_no_member_yet(slow_google: Emulated) -> None:
    """Source: GoogleCloudPlatform/magic-modules#1408, "errors when you try to apply IAM roles"."""
    member = f"serviceAccount:{account(slow_google, 'worker-1')['email']}"
    projects = client(slow_google, "cloudresourcemanager.v3").projects()
    resource = f"projects/{slow_google.project}"
    policy = projects.getIamPolicy(resource=resource).execute()
    policy["bindings"].append({"role": "roles/run.viewer", "members": [member]})
    error = refused(projects.setIamPolicy(resource=resource, body={"policy": policy}))
    assert (error.status_code, "does not exist" in error.reason) == (400, True)
    slow_google.advance(70)
    projects.setIamPolicy(resource=resource, body={"policy": policy}).execute()


def test_an_api_just_enabled_is_refused_for_a_while(slow_google: Emulated) -> None:
    """Sources: hashicorp/terraform-provider-google#2129, #11020: Service Usage says ENABLED, the service does not."""
    project = f"{slow_google.project}-bare"
    token = slow_google.cloud.add_project(project)
    http = slow_google.http(token)
    name = f"/serviceusage/v1/projects/{project}/services/secretmanager.googleapis.com"
    assert http.post(f"{name}:enable").status_code == 200
    slow_google.advance(25)
    assert http.get(name).json()["state"] == "ENABLED"
    secrets = f"/secretmanager/v1/projects/{project}/secrets"
    refusal: dict[str, Any] = http.get(secrets).json()["error"]
    assert (refusal["code"], "If you enabled this API recently, wait" in refusal["message"]) == (403, True)
    slow_google.advance(60)
    assert http.get(secrets).status_code == 200


def test_a_test_of_something_else_says_why_it_has_everything_at_once() -> None:
    cloud = Cloud(VirtualClock(), scale=1, at_once="the clock does not move here")
    assert cloud.world.settling.until("settle.grant") == cloud.world.clock.now()
    assert Cloud(VirtualClock(), scale=1).world.settling.until("settle.grant") > cloud.world.clock.now()
