"""Who may do what with a bucket. Source: https://cloud.google.com/storage/docs/access-control/iam"""

from __future__ import annotations

import httpx
import pytest
from google.api_core.exceptions import BadRequest, Forbidden, NotFound, PreconditionFailed
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from google.cloud.storage.blob import Blob

from tests.emulator.cloud import OWNER
from tests.unit.emulator.conftest import Emulated

ANN = "user:ann@example.com"


def client_of(google: Emulated, member: str = OWNER) -> storage.Client:
    return storage.Client(google.project, google.credentials_of(member), client_options=google.options("storage"))


@pytest.fixture
def bucket(google: Emulated) -> storage.Bucket:
    client = client_of(google)
    wanted = client.bucket(f"{google.project}-bucket")
    wanted.iam_configuration.uniform_bucket_level_access_enabled = True
    made = client.create_bucket(wanted)
    made.blob("one").upload_from_string("1")
    return made


def add(bucket: storage.Bucket, role: str, *members: str) -> None:
    policy = bucket.get_iam_policy(requested_policy_version=3)
    policy.bindings.append({"role": role, "members": set(members)})
    bucket.set_iam_policy(policy)


def seen_by(google: Emulated, member: str, bucket: storage.Bucket) -> Blob:
    return client_of(google, member).bucket(bucket.name).blob("one")


def test_a_new_bucket_is_its_projects(google: Emulated, bucket: storage.Bucket) -> None:
    bindings = {each["role"]: each["members"] for each in bucket.get_iam_policy().bindings}
    assert bindings["roles/storage.legacyBucketReader"] == {f"projectViewer:{google.project}"}
    assert bindings["roles/storage.legacyObjectOwner"] == {
        f"projectEditor:{google.project}",
        f"projectOwner:{google.project}",
    }


def test_a_viewer_of_the_project_reads_and_writes_nothing(google: Emulated, bucket: storage.Bucket) -> None:
    google.grant("roles/viewer", ANN)
    assert seen_by(google, ANN, bucket).download_as_bytes() == b"1"
    with pytest.raises(Forbidden, match=r"storage.objects.create"):
        client_of(google, ANN).bucket(bucket.name).blob("two").upload_from_string("2")


def test_a_role_on_the_bucket_opens_that_bucket(google: Emulated, bucket: storage.Bucket) -> None:
    with pytest.raises(
        Forbidden,
        match=r"ann@example.com does not have storage.objects.get access to the Google Cloud Storage object. "
        r"Permission 'storage.objects.get' denied on resource",
    ):
        seen_by(google, ANN, bucket).download_as_bytes()
    add(bucket, "roles/storage.objectViewer", ANN)
    assert seen_by(google, ANN, bucket).download_as_bytes() == b"1"
    with pytest.raises(Forbidden, match=r"storage.buckets.get access to the Google Cloud Storage bucket"):
        client_of(google, ANN).get_bucket(bucket.name)


def test_to_make_a_bucket_is_a_permission_of_the_project(google: Emulated) -> None:
    with pytest.raises(Forbidden, match=r"does not have storage.buckets.create access to the Google Cloud project"):
        client_of(google, ANN).create_bucket(f"{google.project}-anns")


def test_overwriting_needs_delete(google: Emulated, bucket: storage.Bucket) -> None:
    """Source: https://cloud.google.com/storage/docs/access-control/iam-json (objects.insert)"""
    add(bucket, "roles/storage.objectCreator", ANN)
    client_of(google, ANN).bucket(bucket.name).blob("two").upload_from_string("2")
    with pytest.raises(Forbidden, match=r"storage.objects.delete"):
        client_of(google, ANN).bucket(bucket.name).blob("two").upload_from_string("3")


def test_who_may_not_list_learns_not_that_an_object_is_missing(google: Emulated, bucket: storage.Bucket) -> None:
    """Source: googleapis/google-cloud-go#1638"""
    add(bucket, "roles/storage.legacyObjectReader", ANN)
    with pytest.raises(Forbidden, match=r"storage.objects.list"):
        client_of(google, ANN).bucket(bucket.name).blob("none").download_as_bytes()
    add(bucket, "roles/storage.objectViewer", ANN)
    with pytest.raises(NotFound, match="No such object"):
        client_of(google, ANN).bucket(bucket.name).blob("none").reload()


def test_without_a_name(google: Emulated, bucket: storage.Bucket) -> None:
    anonymous = storage.Client(
        google.project,
        AnonymousCredentials(),  # type: ignore[no-untyped-call]
        client_options=google.options("storage"),
    )
    answer = httpx.get(f"{google.address}/storage/storage/v1/b/{bucket.name}/o/one")
    assert answer.status_code == 401
    assert "Anonymous caller does not have storage.objects.get access" in answer.json()["error"]["message"]
    add(bucket, "roles/storage.objectViewer", "allUsers")
    assert anonymous.bucket(bucket.name).blob("one").download_as_bytes() == b"1"


def test_public_access_can_be_prevented(bucket: storage.Bucket) -> None:
    """Source: https://cloud.google.com/storage/docs/public-access-prevention"""
    bucket.iam_configuration.public_access_prevention = "enforced"
    bucket.patch()
    with pytest.raises(PreconditionFailed, match="not allowed since public access prevention is enforced"):
        add(bucket, "roles/storage.objectViewer", "allUsers")


def test_a_stale_policy_is_refused(bucket: storage.Bucket) -> None:
    """Source: hashicorp/terraform-provider-google#7853"""
    stale = bucket.get_iam_policy()
    add(bucket, "roles/storage.objectViewer", ANN)
    with pytest.raises(PreconditionFailed):
        bucket.set_iam_policy(stale)


def test_basic_roles_are_not_for_buckets(bucket: storage.Bucket) -> None:
    """Source: hashicorp/terraform-provider-google#9130"""
    with pytest.raises(BadRequest, match="Role roles/viewer is not supported for this resource"):
        add(bucket, "roles/viewer", ANN)


def test_permissions_are_told(google: Emulated, bucket: storage.Bucket) -> None:
    add(bucket, "roles/storage.objectViewer", ANN)
    seen = client_of(google, ANN).bucket(bucket.name)
    asked = ["storage.objects.get", "storage.objects.delete", "storage.buckets.get"]
    assert seen.test_iam_permissions(asked) == ["storage.objects.get"]


def test_a_policy_goes_with_its_bucket(google: Emulated, bucket: storage.Bucket) -> None:
    add(bucket, "roles/storage.objectViewer", ANN)
    bucket.delete(force=True)
    again = client_of(google).create_bucket(bucket.name)
    again.blob("one").upload_from_string("2")
    with pytest.raises(Forbidden):
        seen_by(google, ANN, bucket).download_as_bytes()


def test_without_uniform_access_the_project_has_the_default_list(google: Emulated) -> None:
    """Source: https://cloud.google.com/storage/docs/access-control/lists#default (projectPrivate)"""
    fine = client_of(google).create_bucket(f"{google.project}-fine")
    fine.blob("one").upload_from_string("1")
    google.grant("roles/viewer", ANN)
    assert seen_by(google, ANN, fine).download_as_bytes() == b"1"
    assert "roles/storage.legacyObjectReader" not in {each["role"] for each in fine.get_iam_policy().bindings}
