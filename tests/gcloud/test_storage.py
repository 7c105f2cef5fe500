"""Buckets and objects. Source: https://cloud.google.com/sdk/gcloud/reference/storage"""

from __future__ import annotations

from pathlib import Path

import pytest
from google.cloud import storage

from tests.gcloud.conftest import Gcloud, Refused


def client_of(gcloud: Gcloud) -> storage.Client:
    return storage.Client(gcloud.project, gcloud.credentials, client_options=gcloud.options("storage"))


def test_a_bucket_from_making_to_deleting(gcloud: Gcloud, tmp_path: Path) -> None:
    url = f"gs://{gcloud.project}-bucket"
    gcloud("storage", "buckets", "create", url, "--location=europe-west1", "--uniform-bucket-level-access")
    made = client_of(gcloud).get_bucket(f"{gcloud.project}-bucket")
    assert made.iam_configuration.uniform_bucket_level_access_enabled
    assert [each["name"] for each in gcloud("storage", "buckets", "list")] == [made.name]
    rules = tmp_path / "lifecycle.json"
    rules.write_text('{"rule": [{"action": {"type": "Delete"}, "condition": {"age": 30}}]}')
    update = ("--versioning", "--update-labels=team=data", f"--lifecycle-file={rules}")
    gcloud("storage", "buckets", "update", url, *update)
    made.reload()
    assert [(rule["action"], rule["condition"]) for rule in made.lifecycle_rules] == [({"type": "Delete"}, {"age": 30})]
    shown = gcloud("storage", "buckets", "describe", url)
    assert (shown["versioning_enabled"], shown["labels"], shown["location"]) == (True, {"team": "data"}, "EUROPE-WEST1")
    member = "--member=user:ann@example.com"
    gcloud("storage", "buckets", "add-iam-policy-binding", url, member, "--role=roles/storage.objectViewer")
    roles = {each["role"]: each["members"] for each in made.get_iam_policy().bindings}
    assert roles["roles/storage.objectViewer"] == {"user:ann@example.com"}
    gcloud("storage", "buckets", "remove-iam-policy-binding", url, member, "--role=roles/storage.objectViewer")
    told = gcloud("storage", "buckets", "get-iam-policy", url)
    assert "roles/storage.objectViewer" not in {each["role"] for each in told["bindings"]}
    gcloud("storage", "buckets", "delete", url)
    with pytest.raises(Refused, match="not found: 404"):
        gcloud("storage", "buckets", "describe", url)


def test_objects_from_copying_to_removing(gcloud: Gcloud, tmp_path: Path) -> None:
    bucket = client_of(gcloud).create_bucket(f"{gcloud.project}-bucket")
    url, source, target = f"gs://{bucket.name}", tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"hello")
    gcloud("storage", "cp", str(source), f"{url}/a/one.txt")
    blob = bucket.get_blob("a/one.txt")
    assert (blob.download_as_bytes(), blob.size) == (b"hello", 5)
    bucket.blob("a/two.txt").upload_from_string("two")
    listed = gcloud("storage", "objects", "list", f"{url}/a/*")
    assert [each["name"] for each in listed] == ["a/one.txt", "a/two.txt"]
    assert gcloud("storage", "buckets", "describe", url)["name"] == bucket.name
    assert gcloud.text("storage", "ls", f"{url}/a/").split() == [f"{url}/a/one.txt", f"{url}/a/two.txt"]
    assert gcloud.text("storage", "cat", f"{url}/a/two.txt") == "two"
    gcloud("storage", "cp", f"{url}/a/two.txt", str(target))
    assert target.read_text() == "two"
    gcloud("storage", "objects", "update", f"{url}/a/one.txt", "--cache-control=no-store")
    shown = gcloud("storage", "objects", "describe", f"{url}/a/one.txt")
    assert (shown["cache_control"], shown["size"]) == ("no-store", 5)
    gcloud("storage", "objects", "compose", f"{url}/a/one.txt", f"{url}/a/two.txt", f"{url}/both.txt")
    assert bucket.blob("both.txt").download_as_bytes() == b"hellotwo"
    gcloud("storage", "mv", f"{url}/a/one.txt", f"{url}/b.txt")
    gcloud("storage", "rm", f"{url}/a/two.txt")
    assert [each.name for each in bucket.list_blobs()] == ["b.txt", "both.txt"]
    agent = client_of(gcloud).get_service_account_email()
    assert gcloud.text("storage", "service-agent").strip() == agent


def test_a_large_object_goes_resumably(gcloud: Gcloud, tmp_path: Path) -> None:
    bucket = client_of(gcloud).create_bucket(f"{gcloud.project}-bucket")
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(bytes(range(256)) * 4096 * 9)
    gcloud("storage", "cp", str(source), f"gs://{bucket.name}/big")
    assert bucket.get_blob("big").size == 9 * 1024 * 1024
    gcloud("storage", "cp", f"gs://{bucket.name}/big", str(target))
    assert target.read_bytes() == source.read_bytes()


def test_refusals(gcloud: Gcloud, tmp_path: Path) -> None:
    bucket = client_of(gcloud).create_bucket(f"{gcloud.project}-bucket")
    bucket.blob("one").upload_from_string("1")
    with pytest.raises(Refused, match="409"):
        gcloud("storage", "buckets", "create", f"gs://{bucket.name}")
    with pytest.raises(Refused, match="not empty"):
        gcloud("storage", "buckets", "delete", f"gs://{bucket.name}")
    source = tmp_path / "source"
    source.write_text("2")
    with pytest.raises(Refused, match="pre-conditions"):
        gcloud("storage", "cp", str(source), f"gs://{bucket.name}/one", "--if-generation-match=0")
