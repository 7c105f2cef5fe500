"""What is too fast for Cloud Storage. Source: https://cloud.google.com/storage/quotas and the issues at each test."""

from __future__ import annotations

import pytest
from google.api_core.exceptions import PreconditionFailed, TooManyRequests
from google.cloud import storage

from tests.unit.emulator.conftest import Emulated


@pytest.fixture
def client(slow_google: Emulated) -> storage.Client:
    options = slow_google.options("storage")
    return storage.Client(slow_google.project, credentials=slow_google.credentials, client_options=options)


def test_buckets_are_made_and_deleted_too_fast(slow_google: Emulated, client: storage.Client) -> None:
    """Source: GoogleCloudPlatform/python-docs-samples#4033, googleapis/google-cloud-python#2161 (429)."""
    made = [client.create_bucket(f"{slow_google.project}-{number}", retry=None) for number in range(4)]
    made[0].delete(retry=None)
    with pytest.raises(TooManyRequests, match="The project exceeded the rate limit for creating and deleting buckets"):
        client.create_bucket(f"{slow_google.project}-more", retry=None)
    slow_google.advance(11)
    client.create_bucket(f"{slow_google.project}-more", retry=None)


def test_one_object_is_written_too_fast(slow_google: Emulated, client: storage.Client) -> None:
    """Sources: delta-io/delta-rs#2451, pingcap/tiflow#9602: one write a second for each name; others go on."""
    bucket = client.create_bucket(f"{slow_google.project}-lease")
    lease = bucket.blob("lease")
    for number in range(5):
        lease.upload_from_string(str(number), retry=None)
    words = f"The object {bucket.name}/lease exceeded the rate limit for object mutation operations"
    with pytest.raises(TooManyRequests, match=words):
        lease.upload_from_string("more", retry=None)
    with pytest.raises(TooManyRequests, match=words):
        lease.delete(retry=None)
    with pytest.raises(PreconditionFailed):
        lease.upload_from_string("more", if_generation_match=1, retry=None)
    bucket.blob("other").upload_from_string("one", retry=None)
    assert lease.download_as_bytes() == b"4"
    slow_google.advance(5)
    lease.delete(retry=None)
