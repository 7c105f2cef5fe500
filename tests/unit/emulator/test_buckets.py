"""Buckets through google-cloud-storage. Source: https://cloud.google.com/storage/docs/buckets"""

from __future__ import annotations

import pytest
from google.api_core.exceptions import BadRequest, Conflict, Forbidden, NotFound, NotModified, PreconditionFailed
from google.cloud import storage

from tests.unit.emulator.conftest import Emulated


def client_of(google: Emulated) -> storage.Client:
    return storage.Client(google.project, google.credentials, client_options=google.options("storage"))


@pytest.fixture
def client(google: Emulated) -> storage.Client:
    return client_of(google)


@pytest.fixture
def bucket(google: Emulated, client: storage.Client) -> storage.Bucket:
    return client.create_bucket(f"{google.project}-bucket", location="europe-west1")


def test_a_bucket_is_made_read_listed_and_deleted(
    google: Emulated, client: storage.Client, bucket: storage.Bucket
) -> None:
    found = client.get_bucket(bucket.name)
    assert (found.location, found.location_type, found.storage_class) == ("EUROPE-WEST1", "region", "STANDARD")
    assert found.project_number == google.cloud.world.projects[google.project].number
    assert found.soft_delete_policy.retention_duration_seconds == 7 * 24 * 3600
    assert [each.name for each in client.list_buckets()] == [bucket.name]
    found.delete()
    with pytest.raises(NotFound, match="The specified bucket does not exist"):
        client.get_bucket(bucket.name)


@pytest.mark.parametrize("location, kind", [("US", "multi-region"), ("eur4", "dual-region"), ("us-east1", "region")])
def test_a_location_has_a_type(google: Emulated, client: storage.Client, location: str, kind: str) -> None:
    made = client.create_bucket(f"{google.project}-{kind}", location=location)
    assert (made.location, made.location_type) == (location.upper(), kind)


def test_a_location_must_exist(google: Emulated, client: storage.Client) -> None:
    with pytest.raises(BadRequest, match="The specified location constraint is not valid"):
        client.create_bucket(f"{google.project}-nowhere", location="nowhere")


def test_a_storage_class_must_exist(google: Emulated, client: storage.Client) -> None:
    body = {"name": f"{google.project}-class", "storageClass": "FROZEN"}
    assert google.http().post(f"/storage/storage/v1/b?project={google.project}", json=body).status_code == 400


@pytest.mark.parametrize(
    "name", ["ab", "Upper-case", "-begins", "ends-", "1.2.3.4", "goog-mine", "my-g00gle-bucket", "a" * 64, "sp ace"]
)
def test_a_name_follows_the_rules(google: Emulated, name: str) -> None:
    """Source: https://cloud.google.com/storage/docs/buckets#naming (by plain HTTP: the client has rules too)"""
    answer = google.http().post(f"/storage/storage/v1/b?project={google.project}", json={"name": name})
    assert (answer.status_code, answer.json()["error"]["message"]) == (400, f"Invalid bucket name: '{name}'")


def test_a_domain_is_somebody_elses(client: storage.Client) -> None:
    """Source: https://cloud.google.com/storage/docs/domain-name-verification"""
    with pytest.raises(Forbidden, match=r"Another user owns the domain example.com or a parent domain"):
        client.create_bucket("example.com")


def test_a_name_is_taken_for_all_projects(google: Emulated, client: storage.Client, bucket: storage.Bucket) -> None:
    with pytest.raises(Conflict, match="you already own it"):
        client.create_bucket(bucket.name)
    google.cloud.add_project(f"{google.project}-other", owner="user:other@example.com")
    other = storage.Client(
        f"{google.project}-other",
        google.credentials_of("user:other@example.com"),
        client_options=google.options("storage"),
    )
    with pytest.raises(Conflict, match="The requested bucket name is not available"):
        other.create_bucket(bucket.name)


def test_a_bucket_with_an_object_is_not_deleted(bucket: storage.Bucket) -> None:
    bucket.blob("one").upload_from_string("1")
    with pytest.raises(Conflict, match="The bucket you tried to delete was not empty"):
        bucket.delete()
    bucket.delete(force=True)
    assert not bucket.exists()


def test_a_patch_merges_and_null_removes(bucket: storage.Bucket) -> None:
    bucket.labels = {"one": "1", "two": "2"}
    bucket.versioning_enabled = True
    bucket.patch()
    bucket.labels = {"one": "1"}
    bucket.patch()
    bucket.reload()
    assert (bucket.labels, bucket.versioning_enabled, bucket.metageneration) == ({"one": "1"}, True, 3)


def test_an_update_replaces(google: Emulated, bucket: storage.Bucket) -> None:
    bucket.labels = {"one": "1"}
    bucket.patch()
    answer = google.http().put(f"/storage/storage/v1/b/{bucket.name}", json={"storageClass": "NEARLINE"})
    assert (answer.json().get("labels"), answer.json()["storageClass"]) == (None, "NEARLINE")
    assert answer.json()["location"] == "EUROPE-WEST1"


def test_preconditions_are_of_the_metageneration(bucket: storage.Bucket) -> None:
    """Source: https://cloud.google.com/storage/docs/request-preconditions"""
    bucket.labels = {"one": "1"}
    with pytest.raises(PreconditionFailed, match="At least one of the pre-conditions you specified did not hold"):
        bucket.patch(if_metageneration_match=7)
    with pytest.raises(NotModified):
        bucket.reload(if_metageneration_not_match=1)
    with pytest.raises(PreconditionFailed):
        bucket.reload(if_metageneration_match=7)
    bucket.patch(if_metageneration_match=1)
    assert bucket.metageneration == 2


def test_uniform_access_is_shown_with_its_lock(google: Emulated, client: storage.Client) -> None:
    """Source: https://cloud.google.com/storage/docs/uniform-bucket-level-access"""
    wanted = client.bucket(f"{google.project}-uniform")
    wanted.iam_configuration.uniform_bucket_level_access_enabled = True
    wanted.iam_configuration.public_access_prevention = "enforced"
    made = client.create_bucket(wanted)
    access = made.iam_configuration
    assert access.uniform_bucket_level_access_enabled
    assert access.uniform_bucket_level_access_locked_time is not None
    assert access.public_access_prevention == "enforced"


def test_uniform_access_refuses_lists(google: Emulated, client: storage.Client) -> None:
    wanted = client.bucket(f"{google.project}-uniform")
    wanted.iam_configuration.uniform_bucket_level_access_enabled = True
    made = client.create_bucket(wanted)
    with pytest.raises(BadRequest, match="Cannot insert legacy ACL for an object when uniform bucket-level access"):
        made.blob("one").upload_from_string("1", predefined_acl="publicRead")


def test_pages_of_buckets(google: Emulated, client: storage.Client) -> None:
    names = [f"{google.project}-page-{number}" for number in range(3)]
    for name in names:
        client.create_bucket(name)
    assert [each.name for each in client.list_buckets(prefix=f"{google.project}-page", page_size=2)] == names


def test_a_retention_policy_keeps_objects(google: Emulated, bucket: storage.Bucket) -> None:
    """Source: https://cloud.google.com/storage/docs/bucket-lock"""
    bucket.retention_period = 3600
    bucket.patch()
    blob = bucket.blob("kept")
    blob.upload_from_string("1")
    with pytest.raises(Forbidden, match="is subject to bucket's retention policy and cannot be deleted, overwritten"):
        blob.delete()
    with pytest.raises(Forbidden, match="retention policy"):
        bucket.blob("kept").upload_from_string("2")
    google.advance(3601)
    client_of(google).bucket(bucket.name).blob("kept").delete()


def test_a_retention_policy_lets_a_live_version_become_noncurrent(bucket: storage.Bucket) -> None:
    """Source: https://cloud.google.com/storage/docs/bucket-lock, https://cloud.google.com/storage/docs/object-lock"""
    bucket.retention_period, bucket.versioning_enabled = 3600, True
    bucket.patch()
    first = bucket.blob("kept")
    first.upload_from_string("1")
    bucket.blob("kept").upload_from_string("2")
    with pytest.raises(Forbidden, match="retention policy"):
        bucket.delete_blob("kept", generation=first.generation)


def test_a_locked_retention_only_grows(bucket: storage.Bucket) -> None:
    bucket.retention_period = 3600
    bucket.patch()
    bucket.lock_retention_policy()
    assert bucket.retention_policy_locked
    bucket.retention_period = 1800
    with pytest.raises(Forbidden, match="Cannot reduce retention duration of a locked Retention Policy"):
        bucket.patch()
    bucket.reload()
    bucket.retention_period = 7200
    bucket.patch()
    assert bucket.retention_period == 7200


@pytest.mark.parametrize(
    "setting", [{"cors": [{"origin": ["*"]}]}, {"website": {"mainPageSuffix": "x"}}, {"autoclass": {"enabled": True}}]
)
def test_what_is_not_emulated_says_so(google: Emulated, setting: dict[str, object]) -> None:
    body = {"name": f"{google.project}-setting", **setting}
    assert google.http().post(f"/storage/storage/v1/b?project={google.project}", json=body).status_code == 501


def test_the_service_agent(google: Emulated, client: storage.Client) -> None:
    number = google.cloud.world.projects[google.project].number
    assert client.get_service_account_email() == f"service-{number}@gs-project-accounts.iam.gserviceaccount.com"
