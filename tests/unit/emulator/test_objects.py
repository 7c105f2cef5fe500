"""Objects through google-cloud-storage: reading, changing, deleting, versions, preconditions.

Source: https://cloud.google.com/storage/docs/json_api/v1/objects and the pages named below
"""

from __future__ import annotations

import gzip
from datetime import UTC, datetime

import httpx
import pytest
from google.api_core.exceptions import BadRequest, Forbidden, NotFound, NotModified, PreconditionFailed
from google.cloud import storage
from google.cloud.exceptions import RequestRangeNotSatisfiable
from google.oauth2 import service_account

from tests.emulator.server import key_of
from tests.unit.emulator.conftest import Emulated


@pytest.fixture
def bucket(google: Emulated) -> storage.Bucket:
    client = storage.Client(google.project, google.credentials, client_options=google.options("storage"))
    return client.create_bucket(f"{google.project}-bucket")


def written(bucket: storage.Bucket, name: str, text: str = "hello") -> storage.Blob:
    blob = bucket.blob(name)
    blob.upload_from_string(text)
    return blob


def keep_versions(bucket: storage.Bucket) -> None:
    bucket.versioning_enabled = True
    bucket.patch()


def test_an_object_shows_what_it_is(bucket: storage.Bucket) -> None:
    written(bucket, "a/b c#?.txt")
    found = bucket.get_blob("a/b c#?.txt")
    assert (found.size, found.content_type, found.storage_class) == (5, "text/plain", "STANDARD")
    assert (found.md5_hash, found.crc32c) == ("XUFAKrxLKna5cZ2REBfFkg==", "mnG7TA==")
    assert found.id == f"{bucket.name}/a/b c#?.txt/{found.generation}"
    assert found.download_as_bytes() == b"hello"


def test_what_is_not_there(bucket: storage.Bucket) -> None:
    assert bucket.get_blob("none") is None
    with pytest.raises(NotFound, match=f"No such object: {bucket.name}/none"):
        bucket.blob("none").delete()


@pytest.mark.parametrize("first, last, text", [(1, 3, b"ell"), (3, None, b"lo"), (-2, None, b"lo"), (2, 99, b"llo")])
def test_a_range(bucket: storage.Bucket, first: int, last: int | None, text: bytes) -> None:
    assert written(bucket, "one").download_as_bytes(start=first, end=last) == text


def test_a_range_behind_the_end(bucket: storage.Bucket) -> None:
    blob = written(bucket, "one")
    with pytest.raises(RequestRangeNotSatisfiable):
        blob.download_as_bytes(start=5)


def test_a_download_of_nothing_is_told_in_words(google: Emulated, bucket: storage.Bucket) -> None:
    """Source: firebase/firebase-tools#3647"""
    place = f"/storage/storage/v1/b/{bucket.name}/o/none"
    media = google.http().get(f"{place}?alt=media")
    assert (media.status_code, media.text) == (404, f"No such object: {bucket.name}/none")
    assert media.headers["content-type"].startswith("text/html")
    assert google.http().get(place).json()["error"]["message"] == media.text


def test_what_is_stored_compressed_is_sent_as_the_caller_takes_it(google: Emulated, bucket: storage.Bucket) -> None:
    """Source: https://cloud.google.com/storage/docs/transcoding"""
    blob = bucket.blob("one")
    blob.content_encoding = "gzip"
    blob.upload_from_string(gzip.compress(b"hello"), content_type="text/plain")
    assert blob.download_as_bytes(raw_download=True)[:2] == b"\x1f\x8b"
    place = f"/storage/storage/v1/b/{bucket.name}/o/one?alt=media"
    plain = google.http().get(place, headers={"Accept-Encoding": "identity"})
    assert (plain.content, plain.headers["x-goog-stored-content-encoding"]) == (b"hello", "gzip")
    assert "content-encoding" not in plain.headers


def test_a_patch_of_metadata(bucket: storage.Bucket) -> None:
    blob = written(bucket, "one")
    blob.metadata = {"colour": "red", "shape": "round"}
    blob.cache_control = "no-store"
    blob.patch()
    blob.metadata = {"colour": None}
    blob.patch()
    blob.reload()
    assert (blob.metadata, blob.cache_control, blob.metageneration) == ({"shape": "round"}, "no-store", 3)


def test_an_update_replaces_metadata(bucket: storage.Bucket) -> None:
    blob = written(bucket, "one")
    blob.metadata = {"colour": "red"}
    blob.patch()
    blob.metadata = {"shape": "round"}
    blob.update()
    assert bucket.get_blob("one").metadata == {"shape": "round"}


def test_custom_time_only_moves_on(bucket: storage.Bucket) -> None:
    """Source: https://cloud.google.com/storage/docs/metadata#custom-time"""
    blob = written(bucket, "one")
    blob.custom_time = datetime(2026, 2, 1, tzinfo=UTC)
    blob.patch()
    blob.custom_time = datetime(2026, 1, 1, tzinfo=UTC)
    with pytest.raises(BadRequest, match="Custom time"):
        blob.patch()


def test_create_only_if_absent(bucket: storage.Bucket) -> None:
    """Source: https://cloud.google.com/storage/docs/request-preconditions: generation 0 is that of what is not there"""
    bucket.blob("one").upload_from_string("1", if_generation_match=0)
    with pytest.raises(PreconditionFailed, match="At least one of the pre-conditions you specified did not hold"):
        bucket.blob("one").upload_from_string("2", if_generation_match=0)
    assert bucket.blob("one").download_as_bytes() == b"1"


def test_replace_only_what_was_read(bucket: storage.Bucket) -> None:
    first = written(bucket, "one").generation
    second = bucket.blob("one")
    second.upload_from_string("2", if_generation_match=first)
    with pytest.raises(PreconditionFailed):
        bucket.blob("one").upload_from_string("3", if_generation_match=first)
    with pytest.raises(PreconditionFailed):
        bucket.blob("one").delete(if_generation_match=first)
    assert second.generation > first


def test_reads_with_preconditions(bucket: storage.Bucket) -> None:
    blob = written(bucket, "one")
    with pytest.raises(NotModified):
        bucket.blob("one").download_as_bytes(if_generation_not_match=blob.generation)
    with pytest.raises(NotModified):
        bucket.blob("one").reload(if_etag_not_match=blob.etag)
    with pytest.raises(PreconditionFailed):
        bucket.blob("one").reload(if_metageneration_match=2)
    bucket.blob("one").reload(if_etag_match=blob.etag)


def test_without_versions_what_is_replaced_is_gone(bucket: storage.Bucket) -> None:
    first = written(bucket, "one").generation
    written(bucket, "one", "2")
    assert bucket.get_blob("one", generation=first) is None


def test_versions_stay_until_they_are_deleted_by_number(google: Emulated, bucket: storage.Bucket) -> None:
    """Source: https://cloud.google.com/storage/docs/object-versioning"""
    keep_versions(bucket)
    first = written(bucket, "one", "1").generation
    second = written(bucket, "one", "2").generation
    bucket.delete_blob("one")
    assert bucket.get_blob("one") is None
    versions = list(bucket.list_blobs(versions=True))
    assert [each.generation for each in versions] == [first, second]
    assert all(each.time_deleted is not None for each in versions)
    assert bucket.blob("one", generation=first).download_as_bytes() == b"1"
    bucket.delete_blob("one", generation=first)
    assert [each.generation for each in bucket.list_blobs(versions=True)] == [second]
    assert f"storage/b/{bucket.name}/o/one#{second}" in google.cloud.world.records


def test_a_live_version_deleted_by_number_is_gone(bucket: storage.Bucket) -> None:
    keep_versions(bucket)
    blob = written(bucket, "one")
    bucket.delete_blob("one", generation=blob.generation)
    assert list(bucket.list_blobs(versions=True)) == []


@pytest.mark.parametrize("hold, words", [("event_based_hold", "Event-Based"), ("temporary_hold", "Temporary")])
def test_a_hold_keeps_an_object(bucket: storage.Bucket, hold: str, words: str) -> None:
    """Source: https://cloud.google.com/storage/docs/object-holds"""
    blob = written(bucket, "one")
    setattr(blob, hold, True)
    blob.patch()
    with pytest.raises(Forbidden, match=f"is under active {words} hold and cannot be deleted"):
        blob.delete()
    setattr(blob, hold, False)
    blob.patch()
    blob.delete()


def test_partial_answers(google: Emulated, bucket: storage.Bucket) -> None:
    written(bucket, "one")
    answer = google.http().get(f"/storage/storage/v1/b/{bucket.name}/o?fields=items(name,size)")
    assert answer.json() == {"items": [{"name": "one", "size": "5"}]}


def test_what_is_not_emulated_says_so(google: Emulated, bucket: storage.Bucket) -> None:
    written(bucket, "one")
    http, place = google.http(), f"/storage/storage/v1/b/{bucket.name}/o/one"
    assert http.get(f"{place}/acl").status_code == 501
    assert http.get(f"{place}?softDeleted=true&generation=1").status_code == 501
    assert http.patch(place, json={"retention": {"mode": "Locked"}}).status_code == 501


@pytest.mark.parametrize("verb", ["GET", "PUT", "DELETE"])
def test_signed_urls_are_not_emulated(google: Emulated, bucket: storage.Bucket, verb: str) -> None:
    """Source: https://cloud.google.com/storage/docs/access-control/signed-urls"""
    key = key_of(google.cloud, google.project, "signer", google.address)
    signer = service_account.Credentials.from_service_account_info(key)  # type: ignore[no-untyped-call]
    url = bucket.blob("one").generate_signed_url(
        expiration=600, method=verb, version="v4", credentials=signer, api_access_endpoint=google.address
    )
    answer = httpx.request(verb, url)
    assert answer.status_code == 501
    assert "a signed URL, is not emulated" in answer.json()["error"]["message"]
