"""Lifecycle rules, on a clock that tests move. Source: https://cloud.google.com/storage/docs/lifecycle"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from google.cloud import storage

from tests.unit.emulator.conftest import Emulated

DAY = 24 * 3600
DELETE = {"type": "Delete"}


def client_of(google: Emulated) -> storage.Client:
    return storage.Client(google.project, google.credentials, client_options=google.options("storage"))


def made(google: Emulated, versions: bool, *rules: dict[str, Any]) -> storage.Bucket:
    wanted = client_of(google).bucket(f"{google.project}-bucket")
    wanted.versioning_enabled = versions
    wanted.lifecycle_rules = rules
    return client_of(google).create_bucket(wanted)


def texts(google: Emulated, bucket: storage.Bucket) -> list[tuple[str, bool]]:
    """Names with whether they are live, after the clock has moved."""
    blobs = client_of(google).list_blobs(bucket.name, versions=True)
    return [(each.name, each.time_deleted is None) for each in blobs]


def test_age(google: Emulated) -> None:
    bucket = made(google, False, {"action": DELETE, "condition": {"age": 2}})
    bucket.blob("old").upload_from_string("1")
    google.advance(DAY)
    bucket = client_of(google).bucket(bucket.name)
    bucket.blob("new").upload_from_string("1")
    assert texts(google, bucket) == [("new", True), ("old", True)]
    google.advance(DAY)
    assert texts(google, bucket) == [("new", True)]


def test_a_live_object_of_a_versioned_bucket_becomes_noncurrent_first(google: Emulated) -> None:
    bucket = made(google, True, {"action": DELETE, "condition": {"age": 1, "isLive": True}},
                  {"action": DELETE, "condition": {"daysSinceNoncurrentTime": 3}})  # fmt: skip
    bucket.blob("one").upload_from_string("1")
    google.advance(DAY)
    assert texts(google, bucket) == [("one", False)]
    google.advance(3 * DAY)
    assert texts(google, bucket) == []


def test_newer_versions(google: Emulated) -> None:
    bucket = made(google, True, {"action": DELETE, "condition": {"numNewerVersions": 2}})
    for text in ("1", "2", "3", "4"):
        bucket.blob("one").upload_from_string(text)
    found = list(client_of(google).list_blobs(bucket.name, versions=True))
    assert [each.download_as_bytes() for each in found] == [b"3", b"4"]


def test_all_conditions_of_a_rule_must_hold(google: Emulated) -> None:
    condition = {"age": 1, "matchesPrefix": ["logs/"], "matchesSuffix": [".txt"]}
    bucket = made(google, False, {"action": DELETE, "condition": condition})
    for name in ("logs/1.txt", "logs/1.json", "1.txt"):
        bucket.blob(name).upload_from_string("1")
    google.advance(DAY)
    assert [name for name, _ in texts(google, bucket)] == ["1.txt", "logs/1.json"]


def test_custom_time(google: Emulated) -> None:
    bucket = made(google, False, {"action": DELETE, "condition": {"daysSinceCustomTime": 1}})
    blob = bucket.blob("one")
    blob.custom_time = google.cloud.world.clock.now() + timedelta(days=2)
    blob.upload_from_string("1")
    bucket.blob("two").upload_from_string("1")
    google.advance(2 * DAY)
    assert [name for name, _ in texts(google, bucket)] == ["one", "two"]
    google.advance(DAY)
    assert [name for name, _ in texts(google, bucket)] == ["two"]


def test_a_class_is_set(google: Emulated) -> None:
    rule = {"action": {"type": "SetStorageClass", "storageClass": "COLDLINE"}, "condition": {"age": 1}}
    bucket = made(google, False, rule)
    bucket.blob("one").upload_from_string("1")
    google.advance(DAY)
    assert client_of(google).bucket(bucket.name).get_blob("one").storage_class == "COLDLINE"


def test_a_hold_is_stronger(google: Emulated) -> None:
    bucket = made(google, False, {"action": DELETE, "condition": {"age": 1}})
    blob = bucket.blob("one")
    blob.upload_from_string("1")
    blob.temporary_hold = True
    blob.patch()
    google.advance(2 * DAY)
    assert texts(google, bucket) == [("one", True)]


def test_a_rule_for_uploads_in_parts_is_taken(google: Emulated) -> None:
    rule = {"action": {"type": "AbortIncompleteMultipartUpload"}, "condition": {"age": 1}}
    bucket = made(google, False, rule)
    assert list(client_of(google).get_bucket(bucket.name).lifecycle_rules) == [rule]


@pytest.mark.parametrize(
    "rule",
    [
        {"action": {"type": "Delete"}, "condition": {}},
        {"action": {"type": "Burn"}, "condition": {"age": 1}},
        {"action": {"type": "SetStorageClass"}, "condition": {"age": 1}},
        {"action": {"type": "SetStorageClass", "storageClass": "FROZEN"}, "condition": {"age": 1}},
        {"action": {"type": "Delete"}, "condition": {"age": -1}},
        {"action": {"type": "Delete"}, "condition": {"createdBefore": "yesterday"}},
        {"action": {"type": "Delete"}, "condition": {"colour": "red"}},
        {"action": {"type": "AbortIncompleteMultipartUpload"}, "condition": {"numNewerVersions": 1}},
    ],
)
def test_a_rule_that_is_none(google: Emulated, rule: dict[str, Any]) -> None:
    body = {"name": f"{google.project}-bucket", "lifecycle": {"rule": [rule]}}
    assert google.http().post(f"/storage/storage/v1/b?project={google.project}", json=body).status_code == 400
