"""Objects made of objects. Source: https://cloud.google.com/storage/docs/copying-renaming-moving-objects"""

from __future__ import annotations

import pytest
from google.api_core.exceptions import BadRequest, Forbidden, NotFound, PreconditionFailed
from google.cloud import storage

from tests.unit.emulator.conftest import Emulated

ANN = "user:ann@example.com"
MEGABYTE = 1024 * 1024


def client_of(google: Emulated, member: str = "") -> storage.Client:
    credentials = google.credentials_of(member) if member else google.credentials
    return storage.Client(google.project, credentials, client_options=google.options("storage"))


@pytest.fixture
def bucket(google: Emulated) -> storage.Bucket:
    return client_of(google).create_bucket(f"{google.project}-bucket")


def written(bucket: storage.Bucket, name: str, text: str) -> storage.Blob:
    blob = bucket.blob(name)
    blob.metadata = {"colour": "red"}
    blob.upload_from_string(text, content_type="text/x")
    return blob


def test_a_copy_has_content_and_metadata(google: Emulated, bucket: storage.Bucket) -> None:
    other = client_of(google).create_bucket(f"{google.project}-other")
    made = bucket.copy_blob(written(bucket, "one", "hello"), other, "a/two")
    assert (made.download_as_bytes(), made.content_type, made.metadata) == (b"hello", "text/x", {"colour": "red"})


def test_a_rename_leaves_nothing_behind(bucket: storage.Bucket) -> None:
    bucket.rename_blob(written(bucket, "one", "hello"), "two")
    assert [each.name for each in bucket.list_blobs()] == ["two"]


def test_a_copy_of_what_is_not_there(bucket: storage.Bucket) -> None:
    with pytest.raises(NotFound, match="No such object"):
        bucket.copy_blob(bucket.blob("none"), bucket, "two")


def test_a_copy_has_two_sets_of_preconditions(bucket: storage.Bucket) -> None:
    one, two = written(bucket, "one", "1"), written(bucket, "two", "2")
    with pytest.raises(PreconditionFailed):
        bucket.copy_blob(one, bucket, "two", if_source_generation_match=one.generation + 1)
    with pytest.raises(PreconditionFailed):
        bucket.copy_blob(one, bucket, "two", if_generation_match=0)
    bucket.copy_blob(one, bucket, "two", if_generation_match=two.generation, if_source_generation_match=one.generation)
    assert bucket.blob("two").download_as_bytes() == b"1"


def test_a_rewrite_tells_how_much_it_wrote(bucket: storage.Bucket) -> None:
    """Source: https://cloud.google.com/storage/docs/json_api/v1/objects/rewrite"""
    source = bucket.blob("one")
    source.upload_from_string(b"x" * (2 * MEGABYTE + 1))
    made = bucket.blob("two")
    token, written_, total = made.rewrite(source)
    assert (token, written_, total) == (None, 2 * MEGABYTE + 1, 2 * MEGABYTE + 1)
    assert made.size == 2 * MEGABYTE + 1


def test_a_rewrite_by_the_megabyte(google: Emulated, bucket: storage.Bucket) -> None:
    bucket.blob("one").upload_from_string(b"x" * (MEGABYTE + 1))
    place = f"/storage/storage/v1/b/{bucket.name}/o/one/rewriteTo/b/{bucket.name}/o/two"
    first = google.http().post(f"{place}?maxBytesRewrittenPerCall={MEGABYTE}").json()
    assert (first["done"], first["totalBytesRewritten"]) == (False, f"{MEGABYTE}")
    assert not bucket.blob("two").exists()
    token = first["rewriteToken"]
    last = google.http().post(f"{place}?maxBytesRewrittenPerCall={MEGABYTE}&rewriteToken={token}").json()
    assert (last["done"], last["resource"]["size"]) == (True, f"{MEGABYTE + 1}")


def test_a_rewrite_changes_the_storage_class(bucket: storage.Bucket) -> None:
    blob = written(bucket, "one", "1")
    blob.update_storage_class("NEARLINE")
    assert bucket.get_blob("one").storage_class == "NEARLINE"


def test_a_composition(bucket: storage.Bucket) -> None:
    """Source: https://cloud.google.com/storage/docs/composite-objects"""
    parts = [written(bucket, name, name) for name in ("a", "b")]
    made = bucket.blob("all")
    made.content_type = "text/y"
    made.compose([*parts, parts[0]])
    assert (made.download_as_bytes(), made.component_count, made.md5_hash) == (b"aba", 3, None)
    assert made.content_type == "text/y"
    made.compose([made, parts[1]])
    assert (made.download_as_bytes(), made.component_count) == (b"abab", 4)


def test_a_composition_has_limits(bucket: storage.Bucket) -> None:
    part = written(bucket, "a", "a")
    with pytest.raises(BadRequest, match="source components"):
        bucket.blob("all").compose([part] * 33)
    with pytest.raises(PreconditionFailed):
        bucket.blob("all").compose([part], if_source_generation_match=[part.generation + 1])


def test_a_copy_needs_both_permissions(google: Emulated, bucket: storage.Bucket) -> None:
    """Source: https://cloud.google.com/storage/docs/access-control/iam-json (objects.copy)"""
    other = client_of(google).create_bucket(f"{google.project}-anns")
    policy = other.get_iam_policy()
    policy.bindings.append({"role": "roles/storage.objectAdmin", "members": {ANN}})
    other.set_iam_policy(policy)
    one = written(bucket, "one", "1")
    seen = client_of(google, ANN)
    with pytest.raises(Forbidden, match=r"storage.objects.get access"):
        seen.bucket(bucket.name).copy_blob(one, seen.bucket(other.name), "one")
