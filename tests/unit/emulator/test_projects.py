"""Projects and their policies through google-api-python-client, versions 3 and 1.

Sources: https://cloud.google.com/resource-manager/reference/rest/v3/projects,
https://cloud.google.com/resource-manager/reference/rest/v1/projects/setIamPolicy (the constraints),
https://cloud.google.com/iam/docs/policies
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.emulator.cloud import OWNER
from tests.unit.emulator.api_clients import account, changed_policy, client, policy_of, refused
from tests.unit.emulator.conftest import Emulated

PERSON = "user:person@example.com"


@pytest.fixture
def projects(google: Emulated) -> Any:
    return client(google, "cloudresourcemanager.v3").projects()


@pytest.fixture
def older(google: Emulated) -> Any:
    return client(google, "cloudresourcemanager.v1").projects()


def set_policy(google: Emulated, projects: Any, *bindings: tuple[str, str], **more: Any) -> Any:
    """A request for a policy of the owner's and these bindings."""
    told = [{"role": role, "members": [member]} for role, member in (("roles/owner", OWNER), *bindings)]
    return projects.setIamPolicy(
        resource=f"projects/{google.project}", body={"policy": {"bindings": told, "etag": "", **more}}
    )


def test_a_project_is_read_by_id_and_by_number_in_both_versions(google: Emulated, projects: Any, older: Any) -> None:
    number = google.cloud.world.projects[google.project].number
    by_id = projects.get(name=f"projects/{google.project}").execute()
    assert (by_id["name"], by_id["projectId"], by_id["state"]) == (f"projects/{number}", google.project, "ACTIVE")
    assert projects.get(name=f"projects/{number}").execute() == by_id
    told = older.get(projectId=google.project).execute()
    assert (told["projectNumber"], told["lifecycleState"]) == (str(number), "ACTIVE")
    ancestry = older.getAncestry(projectId=google.project, body={}).execute()
    assert ancestry == {"ancestor": [{"resourceId": {"type": "project", "id": google.project}}]}


def test_who_may_not_see_a_project_learns_no_more_than_of_one_that_is_not(google: Emulated) -> None:
    """Source: https://cloud.google.com/resource-manager/docs/troubleshooting"""
    theirs = client(google, "cloudresourcemanager.v3", google.credentials_of(PERSON)).projects()
    mine = refused(theirs.get(name=f"projects/{google.project}"))
    assert (mine.status_code, mine.error_details[0]["metadata"]["permission"]) == (403, "resourcemanager.projects.get")
    assert refused(theirs.get(name="projects/no-such-project")).status_code == 403


def test_a_caller_finds_the_projects_it_may_see(google: Emulated) -> None:
    finder = "user:finder@example.com"
    google.grant("roles/browser", finder)
    public = f"{google.project}-public"
    google.cloud.add_project(public)
    google.cloud.access.grant(f"projects/{public}", "roles/compute.imageUser", "allAuthenticatedUsers")
    held = google.credentials_of(finder)
    found = client(google, "cloudresourcemanager.v3", held).projects()
    visible = {each["projectId"] for each in found.search().execute()["projects"]}
    assert visible == {google.project}
    assert found.search(query=f"projectId={google.project} state:ACTIVE").execute()["projects"]
    assert found.search(query="id:other").execute() == {}
    assert refused(found.search(query="labels.x>1")).status_code == 501
    listed = client(google, "cloudresourcemanager.v1", held).projects().list(filter="lifecycleState:ACTIVE")
    assert [each["projectId"] for each in listed.execute()["projects"]] == [google.project]
    assert refused(found.list(parent="organizations/1")).status_code == 403


def test_a_policy_is_changed_in_a_read_modify_write(google: Emulated, projects: Any) -> None:
    with changed_policy(google) as policy:
        policy["bindings"].append({"role": "roles/viewer", "members": [PERSON]})
    assert policy_of(google)["roles/viewer"] == {PERSON}
    stale = projects.getIamPolicy(resource=f"projects/{google.project}").execute()
    with changed_policy(google) as policy:
        policy["bindings"] = [each for each in policy["bindings"] if each["role"] != "roles/viewer"]
    error = refused(projects.setIamPolicy(resource=f"projects/{google.project}", body={"policy": stale}))
    assert (error.status_code, "concurrent policy changes" in error.reason) == (409, True)
    assert "roles/viewer" not in policy_of(google)


def test_bindings_of_one_role_become_one(google: Emulated, projects: Any) -> None:
    two = (("roles/viewer", PERSON), ("roles/viewer", "group:g@example.com"), ("roles/viewer", PERSON))
    set_policy(google, projects, *two).execute()
    policy = projects.getIamPolicy(resource=f"projects/{google.project}").execute()
    assert policy["version"] == 1
    assert [each["members"] for each in policy["bindings"] if each["role"] == "roles/viewer"] == [
        [PERSON, "group:g@example.com"]
    ]


def test_what_a_policy_grants_holds_at_once_and_no_longer_than_it_says(google: Emulated, projects: Any) -> None:
    theirs = client(google, "cloudresourcemanager.v3", google.credentials_of(PERSON)).projects()
    asked = {"permissions": ["compute.networks.create", "compute.instances.create", "run.services.get"]}
    resource = f"projects/{google.project}"
    set_policy(google, projects, ("roles/compute.networkAdmin", PERSON)).execute()
    held = theirs.testIamPermissions(resource=resource, body=asked).execute()
    assert held == {"permissions": ["compute.networks.create"]}
    set_policy(google, projects).execute()
    assert theirs.testIamPermissions(resource=resource, body=asked).execute() == {}
    assert refused(theirs.testIamPermissions(resource=resource, body={"permissions": ["compute.*"]})).status_code == 400


def test_the_last_owner_among_people_stays(google: Emulated, projects: Any) -> None:
    """Source: the constraints in the reference; the details: googleapis/google-api-python-client#537"""
    owner = f"serviceAccount:{account(google, 'worker-1')['email']}"
    set_policy(google, projects, ("roles/owner", owner)).execute()
    alone = {"bindings": [{"role": "roles/owner", "members": [owner]}]}
    error = refused(projects.setIamPolicy(resource=f"projects/{google.project}", body={"policy": alone}))
    assert (error.status_code, error.error_details[0]["type"]) == (400, "SOLO_REQUIRE_TOS_ACCEPTOR")
    assert policy_of(google)["roles/owner"] == {OWNER, owner}


@pytest.mark.parametrize(
    ("member", "kind"),
    [(PERSON, "SOLO_MUST_INVITE_OWNERS"), ("group:g@example.com", "SOLO_GROUP_OWNERS_DISALLOWED")],
)
def test_who_cannot_be_made_an_owner(google: Emulated, projects: Any, member: str, kind: str) -> None:
    error = refused(set_policy(google, projects, ("roles/owner", member)))
    assert error.reason == "Request contains an invalid argument."
    assert [(each["type"], each["member"]) for each in error.error_details] == [(kind, member)]


@pytest.mark.parametrize("member", ["allUsers", "person@example.com", "user:", "user:nobody", "robot:x@example.com"])
def test_who_is_no_member_of_a_project(google: Emulated, projects: Any, member: str) -> None:
    assert refused(set_policy(google, projects, ("roles/viewer", member))).status_code == 400


def test_a_policy_names_at_most_1500_members(google: Emulated, projects: Any) -> None:
    """Source: https://cloud.google.com/iam/quotas#limits"""
    members = [f"user:{number}@example.com" for number in range(1500)]
    bindings = [{"role": "roles/owner", "members": [OWNER]}, {"role": "roles/viewer", "members": members}]
    resource = f"projects/{google.project}"
    error = refused(projects.setIamPolicy(resource=resource, body={"policy": {"bindings": bindings}}))
    assert (error.status_code, "(1501)" in error.reason) == (400, True)
    members.pop()
    projects.setIamPolicy(resource=resource, body={"policy": {"bindings": bindings}}).execute()


def test_what_would_be_without_effect_is_refused(google: Emulated, projects: Any) -> None:
    condition = {"title": "t", "expression": "request.time.getHours('Europe/Berlin') < 9"}
    binding = {"role": "roles/run.viewer", "members": [PERSON], "condition": condition}
    resource = f"projects/{google.project}"
    owner = {"role": "roles/owner", "members": [OWNER]}
    conditional = {"policy": {"version": 3, "bindings": [owner, binding]}}
    assert refused(projects.setIamPolicy(resource=resource, body=conditional)).status_code == 501
    assert refused(set_policy(google, projects, version=2)).status_code == 400
    asked = {"options": {"requestedPolicyVersion": 2}}
    assert refused(projects.getIamPolicy(resource=resource, body=asked)).status_code == 400
    assert refused(projects.delete(name=resource)).status_code == 501


def test_who_administers_a_policy_and_who_does_not(google: Emulated) -> None:
    google.grant("roles/editor", PERSON)
    theirs = client(google, "cloudresourcemanager.v1", google.credentials_of(PERSON)).projects()
    policy = theirs.getIamPolicy(resource=google.project).execute()
    error = refused(theirs.setIamPolicy(resource=google.project, body={"policy": policy}))
    assert (error.status_code, error.reason) == (403, "Policy update access denied.")  # skypilot-org/skypilot#964
    google.grant("roles/resourcemanager.projectIamAdmin", PERSON)
    theirs.setIamPolicy(resource=google.project, body={"policy": policy | {"etag": ""}}).execute()
