"""Whom a call is counted against. Source: https://cloud.google.com/docs/quotas/quota-project, and the issues named."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.emulator.api_clients import account
from tests.unit.emulator.conftest import Emulated

PERSON = "user:person@example.com"


def get(google: Emulated, path: str, member: str, **headers: str) -> Any:
    token = google.cloud.access.mint(member)
    return google.http(token).get(path.format(google.project), headers={"X-Goog-User-Project": "", **headers})


PROJECT = "/cloudresourcemanager/v3/projects/{}"


def test_an_account_needs_the_api_in_its_own_project(google: Emulated) -> None:
    """Whatever it asks about. Source: quota-project, "client-based"; hashicorp/terraform-provider-google#8214."""
    home = f"{google.project}-home"
    google.cloud.add_project(home, ("iam.googleapis.com",))
    member = f"serviceAccount:{account(_in(google, home), 'worker-1')['email']}"
    google.grant("roles/viewer", member)
    number = google.cloud.world.projects[home].number
    answer = get(google, PROJECT, member)
    error = answer.json()["error"]
    assert (answer.status_code, error["details"][0]["reason"]) == (403, "SERVICE_DISABLED")
    assert error["details"][0]["metadata"]["consumer"] in (f"projects/{home}", f"projects/{number}")
    google.cloud.world.projects[home].services.add("cloudresourcemanager.googleapis.com")
    assert get(google, PROJECT, member).status_code == 200


def _in(google: Emulated, project: str) -> Emulated:
    return Emulated(google.cloud, google.address, project, google.token)


def test_a_person_without_a_quota_project(google: Emulated) -> None:
    """Sources: golang/oauth2#702, hashicorp/terraform-provider-google#15066; gcloud's own login has no such trouble."""
    google.grant("roles/viewer", PERSON)
    told = google.http().post("/_emulator/adc", json={"member": PERSON}).json()
    sent = {
        "grant_type": "refresh_token",
        **{key: told[key] for key in ("client_id", "client_secret", "refresh_token")},
    }
    token = google.http().post("/token", data=sent).json()["access_token"]
    path = PROJECT.format(google.project)
    error = google.http(token).get(path).json()["error"]
    assert "requires a quota project, which is not set by default" in error["message"]
    assert error["details"][0]["metadata"]["consumer"] == "projects/764086051850"
    named = google.http(token).get(path, headers={"X-Goog-User-Project": google.project})
    assert (named.status_code, named.json()["error"]["details"][0]["reason"]) == (403, "USER_PROJECT_DENIED")
    google.grant("roles/serviceusage.serviceUsageConsumer", PERSON)
    assert google.http(token).get(path, headers={"X-Goog-User-Project": google.project}).status_code == 200
    assert get(google, PROJECT, PERSON).status_code == 200
    assert google.http(token).get(f"/compute/compute/v1/projects/{google.project}/global/networks").status_code == 200


@pytest.mark.parametrize("path", ["/compute/compute/v1/projects/{}/global/networks", PROJECT])
def test_the_project_that_is_named_must_be_the_callers_to_use(google: Emulated, path: str) -> None:
    """Sources: google-github-actions/auth#250, hashicorp/terraform-provider-google#17938."""
    google.grant("roles/viewer", PERSON)
    words = f"Caller does not have required permission to use project {google.project}."
    answer = get(google, path, PERSON, **{"X-Goog-User-Project": google.project})
    assert (answer.status_code, words in answer.json()["error"]["message"]) == (403, True)
    google.grant("roles/serviceusage.serviceUsageConsumer", PERSON)
    assert get(google, path, PERSON, **{"X-Goog-User-Project": google.project}).status_code == 200


def test_the_project_that_is_named_must_have_the_api(google: Emulated) -> None:
    other = f"{google.project}-other"
    google.cloud.add_project(other, owner=PERSON)
    google.grant("roles/viewer", PERSON)
    path = "/compute/compute/v1/projects/{}/global/networks"
    answer = get(google, path, PERSON, **{"X-Goog-User-Project": other})
    assert (answer.status_code, other in answer.json()["error"]["message"]) == (403, True)
    assert get(google, path, PERSON).status_code == 200


def test_storage_says_it_in_its_own_words(google: Emulated) -> None:
    """Source: googleapis/google-cloud-ruby#6456."""
    google.grant("roles/storage.admin", PERSON)
    path = "/storage/storage/v1/b?project={0}&userProject={0}"
    answer = get(google, path, PERSON)
    words = "person@example.com does not have serviceusage.services.use access to the Google Cloud project."
    assert (answer.status_code, words in answer.json()["error"]["message"]) == (403, True)


def test_calls_in_a_minute(google: Emulated) -> None:
    """Sources: cyrilgdn/terraform-provider-postgresql#163, GoogleCloudPlatform/cloud-sql-jdbc-socket-factory#979."""
    sent = {"project": google.project, "metric": "calls.sqladmin", "limit": 3}
    google.http().post("/_emulator/quotas", json=sent).raise_for_status()
    path = "/sqladmin/v1/projects/{}/instances"
    answers = [get(google, path, "user:owner@example.com") for _ in range(4)]
    assert [each.status_code for each in answers] == [200, 200, 200, 429]
    error = answers[-1].json()["error"]
    assert "of service 'sqladmin.googleapis.com' for consumer 'project_number:" in error["message"]
    assert (error["errors"][0]["reason"], error["details"][0]["reason"]) == ("rateLimitExceeded", "RATE_LIMIT_EXCEEDED")
    google.advance(61)
    assert get(google, path, "user:owner@example.com").status_code == 200
