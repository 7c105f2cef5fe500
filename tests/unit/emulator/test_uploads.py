"""Uploads, in one request and resumable. Source: https://cloud.google.com/storage/docs/performing-resumable-uploads"""

from __future__ import annotations

import io
import json

import httpx
import pytest
from google.api_core.exceptions import BadRequest, PreconditionFailed
from google.cloud import storage

from tests.unit.emulator.conftest import Emulated

CHUNK = 256 * 1024


@pytest.fixture
def bucket(google: Emulated) -> storage.Bucket:
    client = storage.Client(google.project, google.credentials, client_options=google.options("storage"))
    return client.create_bucket(f"{google.project}-bucket")


def session(google: Emulated, bucket: storage.Bucket, query: str = "") -> str:
    """The address of a new session for the object `big`."""
    place = f"/storage/upload/storage/v1/b/{bucket.name}/o?uploadType=resumable&name=big{query}"
    began = google.http().post(place, json={"contentType": "text/plain"}, headers={"X-Upload-Content-Type": "x/y"})
    assert began.status_code == 200
    return began.headers["location"]


def put(upload: str, content: bytes, span: str) -> httpx.Response:
    """A chunk, sent by nobody: the address is all it takes."""
    return httpx.put(upload, content=content, headers={"Content-Range": f"bytes {span}"})


def test_the_content_alone(google: Emulated, bucket: storage.Bucket) -> None:
    place = f"/storage/upload/storage/v1/b/{bucket.name}/o?uploadType=media&name=a%2Fb"
    answer = google.http().post(place, content=b"hello", headers={"Content-Type": "text/x"})
    assert (answer.json()["name"], answer.json()["contentType"], answer.json()["size"]) == ("a/b", "text/x", "5")
    assert bucket.blob("a/b").download_as_bytes() == b"hello"


@pytest.mark.parametrize("end, quote", [("\r\n", '"'), ("\r\n", ""), ("\n", "'")])
def test_two_parts(google: Emulated, bucket: storage.Bucket, end: str, quote: str) -> None:
    """Source: RFC 2387; the last is what gcloud sends."""
    content = b"first\r\nsecond\n--not the boundary\r"
    head = [b"--mark", b"Content-Type: application/json", b"", json.dumps({"name": "one"}).encode(), b"--mark"]
    body = end.encode().join([*head, b"content-type: text/x", b"", content, b"--mark--"])
    place = f"/storage/upload/storage/v1/b/{bucket.name}/o?uploadType=multipart"
    answer = google.http().post(
        place, content=body, headers={"Content-Type": f"multipart/related; boundary={quote}mark{quote}"}
    )
    assert answer.json()["contentType"] == "text/x"
    assert bucket.blob("one").download_as_bytes() == content


@pytest.mark.parametrize("metadata", [b"{", b'{"name": "one", "colour": "red"}', b'{"name": ["one"]}'])
def test_metadata_that_is_none(google: Emulated, bucket: storage.Bucket, metadata: bytes) -> None:
    body = b"--m\r\n\r\n" + metadata + b"\r\n--m\r\n\r\nhello\r\n--m--"
    place = f"/storage/upload/storage/v1/b/{bucket.name}/o?uploadType=multipart"
    answer = google.http().post(place, content=body, headers={"Content-Type": "multipart/related; boundary=m"})
    assert answer.status_code == 400
    assert list(bucket.list_blobs()) == []


def test_parts_that_are_none(google: Emulated, bucket: storage.Bucket) -> None:
    """Source: Byron/google-apis-rs#291 (words, no JSON)"""
    place = f"/storage/upload/storage/v1/b/{bucket.name}/o?uploadType=multipart&name=one"
    answer = google.http().post(place, content=b"x", headers={"Content-Type": "multipart/related; boundary=m"})
    assert (answer.status_code, answer.text) == (400, "Malformed multipart body.")


def test_a_name_is_required(google: Emulated, bucket: storage.Bucket) -> None:
    answer = google.http().post(f"/storage/upload/storage/v1/b/{bucket.name}/o?uploadType=media", content=b"x")
    assert (answer.status_code, answer.json()["error"]["errors"][0]["reason"]) == (400, "required")


def test_checksums_are_checked(bucket: storage.Bucket) -> None:
    """Source: googleapis/python-storage#1541"""
    blob = bucket.blob("one")
    blob.crc32c = "AAAAAA=="
    with pytest.raises(BadRequest, match=r"Provided CRC32C .*AAAAAA==.* doesn't match calculated CRC32C .*mnG7TA==.*"):
        blob.upload_from_string("hello", checksum=None)
    blob = bucket.blob("one")
    blob.md5_hash = "AAAAAAAAAAAAAAAAAAAAAA=="
    with pytest.raises(BadRequest, match="Provided MD5 hash"):
        blob.upload_from_string("hello", checksum=None)
    assert not bucket.blob("one").exists()


def test_a_client_sends_chunks(google: Emulated, bucket: storage.Bucket) -> None:
    content = bytes(range(256)) * 3000
    blob = bucket.blob("big", chunk_size=CHUNK)
    blob.metadata = {"colour": "red"}
    blob.upload_from_file(io.BytesIO(content), content_type="text/x")
    assert (blob.size, blob.metadata, blob.content_type) == (len(content), {"colour": "red"}, "text/x")
    assert bucket.blob("big").download_as_bytes() == content
    puts = [each for each in google.cloud.received if bucket.name in each.resource and each.status == 308]
    assert {each.method for each in puts} == {"storage.objects.insert"}
    assert len(puts) == 2


def test_a_client_sends_what_has_no_known_length(bucket: storage.Bucket) -> None:
    blob = bucket.blob("big", chunk_size=CHUNK)
    with blob.open("wb", ignore_flush=True) as out:
        for _ in range(3):
            out.write(b"x" * 200_000)
    assert bucket.get_blob("big").size == 600_000


def test_nothing_can_be_sent_resumably(bucket: storage.Bucket) -> None:
    blob = bucket.blob("empty", chunk_size=CHUNK)
    blob.upload_from_file(io.BytesIO(b""))
    assert bucket.get_blob("empty").size == 0


def test_a_session_tells_how_far_it_has_got(google: Emulated, bucket: storage.Bucket) -> None:
    upload = session(google, bucket)
    asked = put(upload, b"", "*/*")
    assert (asked.status_code, "range" in asked.headers) == (308, False)
    first = put(upload, b"x" * CHUNK, f"0-{CHUNK - 1}/*")
    assert (first.status_code, first.headers["range"]) == (308, f"bytes=0-{CHUNK - 1}")
    assert put(upload, b"", "*/*").headers["range"] == f"bytes=0-{CHUNK - 1}"
    last = put(upload, b"y", f"{CHUNK}-{CHUNK}/{CHUNK + 1}")
    assert (last.status_code, last.json()["size"], last.json()["contentType"]) == (200, f"{CHUNK + 1}", "text/plain")
    again = put(upload, b"", "*/*")
    assert (again.status_code, again.json()["generation"]) == (200, last.json()["generation"])


def test_only_whole_pieces_are_kept(google: Emulated, bucket: storage.Bucket) -> None:
    """Source: "#chunked-upload": multiples of 256 KiB, but for the last; `Range` says what was kept."""
    upload = session(google, bucket)
    part = put(upload, b"x" * (CHUNK + 7), f"0-{CHUNK + 6}/*")
    assert part.headers["range"] == f"bytes=0-{CHUNK - 1}"


def test_bytes_sent_twice_are_passed_over(google: Emulated, bucket: storage.Bucket) -> None:
    upload = session(google, bucket)
    put(upload, b"x" * CHUNK, f"0-{CHUNK - 1}/*")
    last = put(upload, b"x" * CHUNK + b"y", f"0-{CHUNK}/{CHUNK + 1}")
    assert last.json()["size"] == f"{CHUNK + 1}"
    assert bucket.blob("big").download_as_bytes() == b"x" * CHUNK + b"y"


def test_a_gap_and_a_wrong_length_are_refused(google: Emulated, bucket: storage.Bucket) -> None:
    """Sources: talkiq/gcloud-aio#860, firebase/firebase-tools#10325 (words, no JSON)"""
    upload = session(google, bucket)
    gap = put(upload, b"xx", "7-8/9")
    assert (gap.status_code, gap.text) == (400, "Invalid chunk position. The next chunk should start at offset 0.")
    wrong = put(upload, b"xx", "0-8/9")
    assert wrong.status_code == 400
    assert wrong.text.startswith("Invalid request.  There were 2 byte(s) in the request body.")
    unread = put(upload, b"xx", "one-two/three")
    assert (unread.status_code, unread.text) == (400, "Failed to parse Content-Range header.")


def test_a_session_can_be_cancelled(google: Emulated, bucket: storage.Bucket) -> None:
    """Source: "#cancel-upload": 499"""
    upload = session(google, bucket)
    assert httpx.delete(upload).status_code == 499
    assert put(upload, b"x", "0-0/1").status_code == 499
    assert not bucket.blob("big").exists()


def test_a_session_lasts_a_week(google: Emulated, bucket: storage.Bucket) -> None:
    upload = session(google, bucket)
    google.advance(7 * 24 * 3600)
    assert put(upload, b"x", "0-0/1").status_code == 410


def test_preconditions_are_checked_at_both_ends(google: Emulated, bucket: storage.Bucket) -> None:
    upload = session(google, bucket, "&ifGenerationMatch=0")
    bucket.blob("big").upload_from_string("faster")
    assert put(upload, b"x", "0-0/1").status_code == 412
    with pytest.raises(PreconditionFailed):
        bucket.blob("big", chunk_size=CHUNK).upload_from_file(io.BytesIO(b"x"), if_generation_match=0)
    assert bucket.blob("big").download_as_bytes() == b"faster"


def test_a_fault_strikes_a_chunk(google: Emulated, bucket: storage.Bucket) -> None:
    """A client asks how far it has got and goes on, as google-cloud-storage does after a 503."""
    rule = {"kind": "error", "service": "storage", "method": "storage.objects.insert", "nth": 3, "code": 503}
    google.http().post("/_emulator/faults", json=rule).raise_for_status()
    content = b"z" * (3 * CHUNK)
    bucket.blob("big", chunk_size=CHUNK).upload_from_file(io.BytesIO(content))
    assert bucket.blob("big").download_as_bytes() == content
