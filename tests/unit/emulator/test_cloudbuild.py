"""Cloud Build through google-api-python-client.

Source: https://cloud.google.com/build/docs/api/reference/rest/v1/projects.builds and what each test names.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from google.cloud import artifactregistry_v1
from googleapiclient import discovery
from googleapiclient.errors import HttpError

from tests.emulator.clock import VirtualClock
from tests.emulator.cloud import Cloud
from tests.emulator.server import running
from tests.unit.emulator.conftest import Emulated, in_project

DIGEST = "sha256:" + "0a" * 32


class Builder:
    """A real part that makes every image that a build names, and fails where a step is called `fail`."""

    def start(self, name: str, body: dict[str, Any]) -> None:
        if body["steps"][0]["name"] == "fail":
            raise RuntimeError('build step 0 "fail" failed: step exited with non-zero status: 1')
        body["results"] = {"images": [{"name": each, "digest": DIGEST} for each in body.get("images", [])]}

    def change(self, name: str, body: dict[str, Any]) -> None: ...

    def stop(self, name: str, body: dict[str, Any]) -> None: ...

    def remove(self, name: str) -> None: ...


@pytest.fixture(scope="module")
def real() -> Iterator[tuple[Cloud, str]]:
    cloud = Cloud(VirtualClock(), scale=0, parts={"cloudbuild.builds": Builder()})
    with running(cloud) as address:
        yield cloud, address


@pytest.fixture
def backed(real: tuple[Cloud, str]) -> Iterator[Emulated]:
    """A project in an emulator that has a builder."""
    yield from in_project(real)


def builds(google: Emulated, member: str = "") -> Any:
    return cloudbuild(google, member).projects().locations().builds()


def cloudbuild(google: Emulated, member: str = "") -> Any:
    return discovery.build(
        "cloudbuild",
        "v1",
        static_discovery=True,
        credentials=google.credentials_of(member) if member else google.credentials,
        client_options=google.options("cloudbuild"),
    )


def parent_of(google: Emulated) -> str:
    return f"projects/{google.project}/locations/us-central1"


def submitted(google: Emulated, **more: Any) -> dict[str, Any]:
    body = {"steps": [{"name": "gcr.io/cloud-builders/docker"}], **more}
    operation: dict[str, Any] = builds(google).create(parent=parent_of(google), body=body).execute()
    return operation


def ended(google: Emulated, operation: dict[str, Any]) -> dict[str, Any]:
    """The operation once it is done: a builder works on a thread of its own."""
    operations = cloudbuild(google).projects().locations().operations()
    while not operation.get("done"):
        operation = operations.get(name=operation["name"]).execute()
    return operation


def build_of(google: Emulated, operation: dict[str, Any]) -> dict[str, Any]:
    name = f"{parent_of(google)}/builds/{operation['metadata']['build']['id']}"
    build: dict[str, Any] = builds(google).get(name=name).execute()
    return build


def with_repository(google: Emulated) -> str:
    registry = artifactregistry_v1.ArtifactRegistryClient(
        credentials=google.credentials, client_options=google.options("artifactregistry"), transport="rest"
    )
    body = artifactregistry_v1.Repository(format_=artifactregistry_v1.Repository.Format.DOCKER)
    registry.create_repository(parent=parent_of(google), repository_id="images", repository=body).result(timeout=10)
    return f"us-central1-docker.pkg.dev/{google.project}/images"


def test_without_a_builder_a_build_fails_and_says_why(google: Emulated) -> None:
    operation = submitted(google, images=[f"{with_repository(google)}/proxy:1"])
    assert (operation["done"], operation["error"]["code"]) == (True, 2)
    build = build_of(google, operation)
    assert build["status"] == "FAILURE"
    assert build["statusDetail"] == "The emulator of Google Cloud has no builder: nothing was built."
    assert "results" not in build


def test_what_a_builder_made_is_in_the_repository(backed: Emulated) -> None:
    """Variables: https://cloud.google.com/build/docs/configuring-builds/substitute-variable-values"""
    where = with_repository(backed)
    image = "${LOCATION}-docker.pkg.dev/$PROJECT_ID/images/proxy:$_TAG"
    operation = ended(backed, submitted(backed, images=[image], substitutions={"_TAG": "7"}))
    assert operation["response"]["status"] == "SUCCESS"
    assert build_of(backed, operation)["results"]["images"] == [{"name": f"{where}/proxy:7", "digest": DIGEST}]
    registry = artifactregistry_v1.ArtifactRegistryClient(
        credentials=backed.credentials, client_options=backed.options("artifactregistry"), transport="rest"
    )
    repository = f"{parent_of(backed)}/repositories/images"
    assert [list(each.tags) for each in registry.list_docker_images(parent=repository)] == [["7"]]


def test_a_step_that_fails_fails_the_build(backed: Emulated) -> None:
    operation = ended(backed, submitted(backed, steps=[{"name": "fail"}]))
    build = build_of(backed, operation)
    assert (build["status"], build["failureInfo"]["type"]) == ("FAILURE", "USER_BUILD_STEP")
    assert "step exited with non-zero status: 1" in operation["error"]["message"]


@pytest.mark.parametrize(("image", "kind"), [("none/proxy", "PUSH_FAILED"), ("images/proxy", "PUSH_NOT_AUTHORIZED")])
def test_a_push_may_fail(backed: Emulated, image: str, kind: str) -> None:
    """`FailureType` in the reference of Build; accounts: …/build/docs/cloud-build-service-account-updates"""
    with_repository(backed)
    if kind == "PUSH_NOT_AUTHORIZED":
        policy = backed.cloud.access.policy(f"projects/{backed.project}")
        policy["bindings"] = [each for each in policy["bindings"] if each["role"] == "roles/owner"]
        backed.cloud.access.set_policy(f"projects/{backed.project}", policy)
    where = f"us-central1-docker.pkg.dev/{backed.project}"
    operation = ended(backed, submitted(backed, images=[f"{where}/{image}"]))
    assert build_of(backed, operation)["failureInfo"]["type"] == kind


def test_a_build_takes_its_time_and_can_be_cancelled(slow_google: Emulated) -> None:
    operation = submitted(slow_google)
    assert "done" not in operation
    assert build_of(slow_google, operation)["status"] == "WORKING"
    name = f"{parent_of(slow_google)}/builds/{operation['metadata']['build']['id']}"
    assert builds(slow_google).cancel(name=name, body={}).execute()["status"] == "CANCELLED"
    assert ended(slow_google, operation)["error"]["code"] == 1
    slow_google.advance(600)
    assert build_of(slow_google, operation)["status"] == "CANCELLED"
    with pytest.raises(HttpError, match="is done"):
        builds(slow_google).cancel(name=name, body={}).execute()


def test_builds_of_a_place_are_listed_the_newest_first(google: Emulated) -> None:
    made = [submitted(google)["metadata"]["build"]["id"] for _ in range(3)]
    page = builds(google).list(parent=parent_of(google), pageSize=2).execute()
    rest = builds(google).list(parent=parent_of(google), pageSize=2, pageToken=page["nextPageToken"]).execute()
    assert [each["id"] for each in page["builds"] + rest["builds"]] == made[::-1]
    assert cloudbuild(google).projects().builds().list(projectId=google.project).execute() == {}


def test_without_a_location_builds_are_global(google: Emulated) -> None:
    alone = cloudbuild(google)
    body = {"steps": [{"name": "gcr.io/cloud-builders/docker"}]}
    operation = alone.projects().builds().create(projectId=google.project, body=body).execute()
    assert operation["name"].startswith(f"operations/build/{google.project}/")
    assert alone.operations().get(name=operation["name"]).execute()["done"]
    build_id = operation["metadata"]["build"]["id"]
    assert alone.projects().builds().get(projectId=google.project, id=build_id).execute()["id"] == build_id


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"steps": []}, "needs steps"),
        ({"images": ["$_MISSING"]}, 'key in the template "_MISSING" is not a valid built-in substitution'),
        ({"artifacts": {"objects": {"location": "gs://b", "paths": ["*"]}}}, "is not emulated"),
        ({"serviceAccount": "projects/{project}/serviceAccounts/none@example.com"}, "does not exist"),
    ],
)
def test_a_build_follows_the_rules(google: Emulated, body: dict[str, Any], words: str) -> None:
    given = {
        key: value.format(project=google.project) if isinstance(value, str) else value for key, value in body.items()
    }
    with pytest.raises(HttpError, match=words):
        submitted(google, **given)


def test_an_account_of_one_s_own_needs_a_place_for_logs(google: Emulated) -> None:
    """https://cloud.google.com/build/docs/securing-builds/configure-user-specified-service-accounts"""
    number = google.cloud.world.projects[google.project].number
    account = f"projects/{google.project}/serviceAccounts/{number}-compute@developer.gserviceaccount.com"
    with pytest.raises(HttpError, match=r"if 'build.service_account' is specified, the build must either"):
        submitted(google, serviceAccount=account)
    operation = submitted(google, serviceAccount=account, options={"logging": "CLOUD_LOGGING_ONLY"})
    assert build_of(google, operation)["serviceAccount"] == account


def test_a_caller_needs_the_permission(google: Emulated) -> None:
    body = {"steps": [{"name": "a"}]}
    with pytest.raises(HttpError, match=r"cloudbuild\.builds\.create"):
        builds(google, "user:a@example.com").create(parent=parent_of(google), body=body).execute()
