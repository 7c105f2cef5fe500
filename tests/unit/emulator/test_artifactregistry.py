"""Artifact Registry through google-cloud-artifact-registry.

Source: https://cloud.google.com/artifact-registry/docs/reference/rest/v1 and the pages named at each test.
"""

from __future__ import annotations

import pytest
from google.api_core.exceptions import BadRequest, Conflict, Forbidden, MethodNotImplemented, NotFound
from google.cloud import artifactregistry_v1 as registry
from google.iam.v1 import iam_policy_pb2, policy_pb2
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask

from tests.unit.emulator.conftest import Emulated

DIGEST = "sha256:" + "0a" * 32
OTHER = "sha256:" + "0b" * 32


@pytest.fixture
def client(google: Emulated) -> registry.ArtifactRegistryClient:
    return client_of(google)


def client_of(google: Emulated) -> registry.ArtifactRegistryClient:
    return registry.ArtifactRegistryClient(
        credentials=google.credentials, client_options=google.options("artifactregistry"), transport="rest"
    )


def parent_of(google: Emulated) -> str:
    return f"projects/{google.project}/locations/us-central1"


def made(google: Emulated, client: registry.ArtifactRegistryClient, name: str = "images") -> registry.Repository:
    body = registry.Repository(format_=registry.Repository.Format.DOCKER, labels={"stack": "one"})
    operation = client.create_repository(parent=parent_of(google), repository_id=name, repository=body)
    repository: registry.Repository = operation.result(timeout=10)
    return repository


def pushed(google: Emulated, image: str, **more: object) -> None:
    where = f"us-central1-docker.pkg.dev/{google.project}/images/{image}"
    google.http().post("/_emulator/images", json={"image": where, **more}).raise_for_status()


def test_a_repository_from_making_to_deleting(google: Emulated, client: registry.ArtifactRegistryClient) -> None:
    repository = made(google, client)
    assert repository.name == f"{parent_of(google)}/repositories/images"
    assert repository.mode == registry.Repository.Mode.STANDARD_REPOSITORY
    assert repository.registry_uri == f"us-central1-docker.pkg.dev/{google.project}/images"
    assert client.get_repository(name=repository.name).labels == {"stack": "one"}
    assert [each.name for each in client.list_repositories(parent=parent_of(google))] == [repository.name]
    client.delete_repository(name=repository.name).result(timeout=10)
    with pytest.raises(NotFound, match="Requested entity was not found"):
        client.get_repository(name=repository.name)


def test_making_one_takes_its_time(slow_google: Emulated) -> None:
    client = client_of(slow_google)
    body = registry.Repository(format_=registry.Repository.Format.DOCKER)
    operation = client.create_repository(parent=parent_of(slow_google), repository_id="images", repository=body)
    assert not operation.done()
    slow_google.advance(60)
    assert operation.done()


def test_a_name_is_taken_once(google: Emulated, client: registry.ArtifactRegistryClient) -> None:
    made(google, client)
    with pytest.raises(Conflict, match="the repository already exists"):
        made(google, client)


def test_an_update_changes_what_its_mask_names(google: Emulated, client: registry.ArtifactRegistryClient) -> None:
    """Cleanup policies: https://cloud.google.com/artifact-registry/docs/repositories/cleanup-policy"""
    name = made(google, client).name
    keep = registry.CleanupPolicy(
        id="keep",
        action=registry.CleanupPolicy.Action.KEEP,
        most_recent_versions=registry.CleanupPolicyMostRecentVersions(keep_count=3),
    )
    old = registry.CleanupPolicy(
        id="old",
        action=registry.CleanupPolicy.Action.DELETE,
        condition=registry.CleanupPolicyCondition(
            tag_state=registry.CleanupPolicyCondition.TagState.UNTAGGED, older_than=Duration(seconds=86400)
        ),
    )
    changed = registry.Repository(name=name, cleanup_policies={"keep": keep, "old": old}, description="not in the mask")
    client.update_repository(repository=changed, update_mask=FieldMask(paths=["cleanup_policies"]))
    seen = client.get_repository(name=name)
    assert seen.cleanup_policies["keep"].most_recent_versions.keep_count == 3
    assert seen.cleanup_policies["old"].condition.tag_state == registry.CleanupPolicyCondition.TagState.UNTAGGED
    assert (seen.description, seen.labels) == ("", {"stack": "one"})


def test_most_recent_versions_goes_with_keep_alone(google: Emulated, client: registry.ArtifactRegistryClient) -> None:
    policy = registry.CleanupPolicy(
        id="bad",
        action=registry.CleanupPolicy.Action.DELETE,
        most_recent_versions=registry.CleanupPolicyMostRecentVersions(keep_count=3),
    )
    body = registry.Repository(format_=registry.Repository.Format.DOCKER, cleanup_policies={"bad": policy})
    with pytest.raises(BadRequest, match="Keep action"):
        client.create_repository(parent=parent_of(google), repository_id="images", repository=body)


@pytest.mark.parametrize(
    "body",
    [
        registry.Repository(format_=registry.Repository.Format.PYTHON),
        registry.Repository(format_=registry.Repository.Format.DOCKER, mode=registry.Repository.Mode.REMOTE_REPOSITORY),
        registry.Repository(format_=registry.Repository.Format.DOCKER, kms_key_name="projects/p/…"),
    ],
)
def test_what_is_not_emulated_says_so(
    google: Emulated, client: registry.ArtifactRegistryClient, body: registry.Repository
) -> None:
    with pytest.raises(MethodNotImplemented, match="is not emulated"):
        client.create_repository(parent=parent_of(google), repository_id="images", repository=body)


def test_a_location_must_exist(google: Emulated, client: registry.ArtifactRegistryClient) -> None:
    body = registry.Repository(format_=registry.Repository.Format.DOCKER)
    with pytest.raises(Forbidden, match="Permission denied on 'locations/moon-1'"):
        client.create_repository(
            parent=f"projects/{google.project}/locations/moon-1", repository_id="images", repository=body
        )


def test_locations_are_listed(google: Emulated, client: registry.ArtifactRegistryClient) -> None:
    found = client.list_locations({"name": f"projects/{google.project}"}).locations
    assert {"us", "us-central1", "europe-west1"} <= {each.location_id for each in found}


def test_a_policy_lets_another_read(google: Emulated, client: registry.ArtifactRegistryClient) -> None:
    """https://cloud.google.com/artifact-registry/docs/access-control, https://cloud.google.com/iam/docs/policies#etag"""
    name = made(google, client).name
    reader = f"projects/{google.project}/roles/reader"
    google.cloud.access.custom_roles[reader] = {"artifactregistry.repositories.get"}
    policy = client.get_iam_policy(iam_policy_pb2.GetIamPolicyRequest(resource=name))
    policy.bindings.append(policy_pb2.Binding(role=reader, members=["user:a@example.com"]))
    stale = policy.etag
    client.set_iam_policy(iam_policy_pb2.SetIamPolicyRequest(resource=name, policy=policy))
    other = registry.ArtifactRegistryClient(
        credentials=google.credentials_of("user:a@example.com"),
        client_options=google.options("artifactregistry"),
        transport="rest",
    )
    assert other.get_repository(name=name).name == name
    asked = ["artifactregistry.repositories.get", "artifactregistry.repositories.delete"]
    answer = other.test_iam_permissions(iam_policy_pb2.TestIamPermissionsRequest(resource=name, permissions=asked))
    assert list(answer.permissions) == asked[:1]
    with pytest.raises(Forbidden, match=r"repositories\.delete. denied"):
        other.delete_repository(name=name)
    with pytest.raises(Conflict, match="concurrent policy changes"):
        again = policy_pb2.Policy(etag=stale, bindings=policy.bindings)
        client.set_iam_policy(iam_policy_pb2.SetIamPolicyRequest(resource=name, policy=again))


def test_an_image_is_seen_as_image_package_version_and_tag(
    google: Emulated, client: registry.ArtifactRegistryClient
) -> None:
    name = made(google, client).name
    pushed(google, "proxy:1", digest=DIGEST)
    image = next(iter(client.list_docker_images(parent=name)))
    assert image.uri == f"us-central1-docker.pkg.dev/{google.project}/images/proxy@{DIGEST}"
    assert list(client.get_docker_image(name=image.name).tags) == ["1"]
    package = next(iter(client.list_packages(parent=name))).name
    assert package == f"{name}/packages/proxy"
    assert [each.name for each in client.list_versions(parent=package)] == [f"{package}/versions/{DIGEST}"]
    full = client.get_version({"name": f"{package}/versions/{DIGEST}", "view": registry.VersionView.FULL})
    assert [each.name for each in full.related_tags] == [f"{package}/tags/1"]
    assert client.get_tag(name=f"{package}/tags/1").version == f"{package}/versions/{DIGEST}"
    assert [each.name for each in client.list_tags(parent=package)] == [f"{package}/tags/1"]


def test_a_tag_moves_to_the_newest_image(google: Emulated, client: registry.ArtifactRegistryClient) -> None:
    name = made(google, client).name
    pushed(google, "proxy:1", digest=DIGEST)
    pushed(google, "proxy:1", digest=OTHER, tags=["live"])
    tags = {each.uri.rpartition("@")[2]: list(each.tags) for each in client.list_docker_images(parent=name)}
    assert tags == {DIGEST: [], OTHER: ["1", "live"]}


def test_slashes_in_a_name_are_escaped(google: Emulated, client: registry.ArtifactRegistryClient) -> None:
    """Source: `name` of Package in the reference ("the slashes are escaped")."""
    name = made(google, client).name
    pushed(google, "stack/proxy", digest=DIGEST)
    package = next(iter(client.list_packages(parent=name))).name
    assert package == f"{name}/packages/stack%2Fproxy"
    assert client.get_package(name=package).display_name == "stack/proxy"
    assert client.get_tag(name=f"{package}/tags/latest").version.endswith(DIGEST)


def test_an_image_needs_its_repository(google: Emulated) -> None:
    answer = google.http().post(
        "/_emulator/images", json={"image": f"us-central1-docker.pkg.dev/{google.project}/none/proxy"}
    )
    assert answer.status_code == 400
    assert "no such repository" in answer.text


def test_deleting_a_repository_takes_its_images_along(
    google: Emulated, client: registry.ArtifactRegistryClient
) -> None:
    name = made(google, client).name
    pushed(google, "proxy:1", digest=DIGEST)
    client.delete_repository(name=name).result(timeout=10)
    made(google, client)
    assert list(client.list_docker_images(parent=name)) == []
