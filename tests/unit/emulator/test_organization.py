"""A project of an organization made since May 2024, and callers without keys.

Sources: https://cloud.google.com/resource-manager/docs/secure-by-default-organizations,
https://cloud.google.com/docs/authentication/application-default-credentials, and the public issues at each test.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import httpx
import pytest
from google.api_core.exceptions import PreconditionFailed
from google.auth import impersonated_credentials
from google.auth.exceptions import RefreshError
from google.cloud import compute_v1, storage
from google.oauth2.credentials import Credentials

from tests.emulator.cloud import OWNER
from tests.unit.emulator.api_clients import account, client, iam, policy_of, refused
from tests.unit.emulator.conftest import Emulated
from tests.unit.emulator.machines import Machines

EVERYTHING = "https://www.googleapis.com/auth/cloud-platform"


@pytest.fixture
def hardened(google: Emulated) -> Emulated:
    project = f"{google.project}-hard"
    token = google.cloud.add_project(project, ("all",), organization="example.com")
    return replace(google, project=project, token=token)


def test_the_default_account_is_no_editor(hardened: Emulated) -> None:
    """constraints/iam.automaticIamGrantsForDefaultServiceAccounts"""
    number = hardened.cloud.world.projects[hardened.project].number
    editors = policy_of(hardened).get("roles/editor", set())
    assert f"serviceAccount:{number}-compute@developer.gserviceaccount.com" not in editors


def test_an_account_gets_no_key(hardened: Emulated) -> None:
    """Sources: GaloyMoney/galoy-infra#242, google/create-service-account#21."""
    made = account(hardened, "worker-1")
    error = refused(iam(hardened).projects().serviceAccounts().keys().create(name=made["name"], body={}))
    assert (error.status_code, error.reason) == (400, "Key creation is not allowed on this service account.")
    violation = error.error_details[0]["violations"][0]
    assert violation["type"] == "constraints/iam.disableServiceAccountKeyCreation"


@pytest.mark.parametrize(
    "member",
    [
        "allUsers",
        "allAuthenticatedUsers",
        "user:me@elsewhere.org",
        "domain:elsewhere.org",
        "serviceAccount:service-b-1@gcp-sa-logging.iam.gserviceaccount.com",
    ],
)
def test_nobody_from_outside_is_a_member(hardened: Emulated, member: str) -> None:
    """Source: terraform-google-modules/terraform-example-foundation#1454."""
    projects = client(hardened, "cloudresourcemanager.v3").projects()
    resource = f"projects/{hardened.project}"
    policy = projects.getIamPolicy(resource=resource).execute()
    policy["bindings"].append({"role": "roles/run.viewer", "members": [member]})
    error = refused(projects.setIamPolicy(resource=resource, body={"policy": policy}))
    assert (error.status_code, "do not belong to a permitted customer" in error.reason) == (400, True)
    assert error.error_details[0]["violations"][0]["type"] == "constraints/iam.allowedPolicyMemberDomains"
    accounts = iam(hardened).projects().serviceAccounts()
    bindings = [{"role": "roles/iam.serviceAccountUser", "members": [member]}]
    body = {"policy": {"bindings": bindings}}
    assert refused(accounts.setIamPolicy(resource=account(hardened, "worker-1")["name"], body=body)).status_code == 400


def test_own_people_accounts_and_agents_are(hardened: Emulated) -> None:
    number = hardened.cloud.world.projects[hardened.project].number
    members = [
        "user:me@example.com",
        "group:all@example.com",
        f"serviceAccount:{account(hardened, 'worker-1')['email']}",
        f"serviceAccount:service-{number}@compute-system.iam.gserviceaccount.com",
    ]
    projects = client(hardened, "cloudresourcemanager.v3").projects()
    resource = f"projects/{hardened.project}"
    policy = projects.getIamPolicy(resource=resource).execute()
    policy["bindings"].append({"role": "roles/run.viewer", "members": members})
    projects.setIamPolicy(resource=resource, body={"policy": policy}).execute()
    assert policy_of(hardened)["roles/run.viewer"] == set(members)


def test_a_bucket_has_uniform_access(hardened: Emulated) -> None:
    """Sources: pulumi/docs#12973, GaloyMoney/galoy-infra#241."""
    options = hardened.options("storage")
    buckets = storage.Client(hardened.project, credentials=hardened.credentials, client_options=options)
    words = "Request violates constraint 'constraints/storage.uniformBucketLevelAccess'"
    with pytest.raises(PreconditionFailed, match=words):
        buckets.create_bucket(f"{hardened.project}-one")
    bucket = buckets.bucket(f"{hardened.project}-one")
    bucket.iam_configuration.uniform_bucket_level_access_enabled = True
    bucket.create()
    bucket.iam_configuration.uniform_bucket_level_access_enabled = False
    with pytest.raises(PreconditionFailed, match=words):
        bucket.patch()


def test_the_organization_is_above_it(hardened: Emulated) -> None:
    shown = client(hardened, "cloudresourcemanager.v3").projects().get(name=f"projects/{hardened.project}").execute()
    older = client(hardened, "cloudresourcemanager.v1").projects()
    ancestors = older.getAncestry(projectId=hardened.project, body={}).execute()["ancestor"]
    assert [each["resourceId"]["type"] for each in ancestors] == ["project", "organization"]
    assert shown["parent"] == f"organizations/{ancestors[1]['resourceId']['id']}"


# -- callers without keys ------------------------------------------------------------------------------------------


def adc(google: Emulated, member: str, quota_project: str | None = None) -> Any:
    """As google.auth.default reads the file; that one's token endpoint is always Google's."""
    told = google.http().post("/_emulator/adc", json={"member": member}).json()
    return Credentials(  # type: ignore[no-untyped-call]
        None,
        refresh_token=told["refresh_token"],
        client_id=told["client_id"],
        client_secret=told["client_secret"],
        token_uri=f"{google.address}/token",
        quota_project_id=quota_project,
    )


def networks(google: Emulated, credentials: Any) -> list[str]:
    found = compute_v1.NetworksClient(credentials=credentials, client_options=google.options("compute"))
    return [each.name for each in found.list(project=google.project)]


def test_a_person_calls_with_what_gcloud_left(hardened: Emulated) -> None:
    assert networks(hardened, adc(hardened, OWNER)) == []
    assert hardened.cloud.received[-1].caller == OWNER
    answer = httpx.post(f"{hardened.address}/token", data={"grant_type": "refresh_token", "client_id": "none"})
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


def test_a_login_that_is_over(hardened: Emulated) -> None:
    """Source: googleworkspace/python-samples#1644: RefreshError, "Token has been expired or revoked."."""
    credentials = adc(hardened, OWNER)
    hardened.cloud.access.refreshes.clear()
    with pytest.raises(RefreshError, match="Token has been expired or revoked"):
        networks(hardened, credentials)


def test_a_person_acts_as_an_account(hardened: Emulated) -> None:
    """Source: https://cloud.google.com/docs/authentication/use-service-account-impersonation"""
    made = account(hardened, "worker-1")
    hardened.cloud.access.grant(made["name"], "roles/iam.serviceAccountTokenCreator", OWNER)
    hardened.grant("roles/compute.viewer", f"serviceAccount:{made['email']}")
    endpoint = f"{hardened.address}/iamcredentials/v1/projects/-/serviceAccounts/{{}}:generateAccessToken"
    credentials = impersonated_credentials.Credentials(  # type: ignore[no-untyped-call]
        adc(hardened, OWNER, hardened.project),
        made["email"],
        [EVERYTHING],
        iam_endpoint_override=endpoint.format(made["email"]),
    )
    assert networks(hardened, credentials) == []
    assert hardened.cloud.received[-1].caller == f"serviceAccount:{made['email']}"


def test_a_machine_calls_as_its_account(hardened: Emulated) -> None:
    """Source: https://cloud.google.com/compute/docs/access/authenticate-workloads"""
    made = account(hardened, "worker-1")
    hardened.grant("roles/compute.viewer", f"serviceAccount:{made['email']}")
    machines = Machines(hardened).prepare()
    machines.made("one", service_accounts=[compute_v1.ServiceAccount(email=made["email"], scopes=[EVERYTHING])])
    path = f"{hardened.address}/metadata/projects/{hardened.project}/zones/{machines.zone['zone']}/instances/one"
    asked = f"{path}/computeMetadata/v1/instance/service-accounts/default/token"
    token = httpx.get(asked, headers={"Metadata-Flavor": "Google"}).json()["access_token"]
    assert networks(hardened, Credentials(token)) == ["vpc"]  # type: ignore[no-untyped-call]
    assert hardened.cloud.received[-1].caller == f"serviceAccount:{made['email']}"
