"""Lists of objects. Source: https://cloud.google.com/storage/docs/json_api/v1/objects/list"""

from __future__ import annotations

import pytest
from google.cloud import storage

from tests.emulator.services.storage.listing import pattern_of
from tests.unit.emulator.conftest import Emulated

NAMES = ["a/1", "a/2", "a/b/3", "c", "d/", "d/4"]


@pytest.fixture
def bucket(google: Emulated) -> storage.Bucket:
    client = storage.Client(google.project, google.credentials, client_options=google.options("storage"))
    made = client.create_bucket(f"{google.project}-bucket")
    for name in NAMES:
        made.blob(name).upload_from_string(name)
    return made


def names(bucket: storage.Bucket, **asked: object) -> list[str]:
    return [each.name for each in bucket.list_blobs(**asked)]


def test_all_in_order_and_in_pages(bucket: storage.Bucket) -> None:
    assert names(bucket) == NAMES
    assert names(bucket, page_size=2) == NAMES
    assert [len(list(page)) for page in bucket.list_blobs(page_size=4).pages] == [4, 2]
    assert names(bucket, max_results=3) == NAMES[:3]


def test_a_delimiter_makes_prefixes(bucket: storage.Bucket) -> None:
    found = bucket.list_blobs(delimiter="/")
    assert [each.name for each in found] == ["c"]
    assert found.prefixes == {"a/", "d/"}
    under = bucket.list_blobs(prefix="a/", delimiter="/")
    assert ([each.name for each in under], under.prefixes) == (["a/1", "a/2"], {"a/b/"})


def test_pages_with_prefixes_give_each_once(bucket: storage.Bucket) -> None:
    found = bucket.list_blobs(delimiter="/", page_size=1)
    assert ([each.name for each in found], found.prefixes) == (["c"], {"a/", "d/"})


def test_a_name_that_ends_in_the_delimiter_can_be_both(bucket: storage.Bucket) -> None:
    found = bucket.list_blobs(delimiter="/", include_trailing_delimiter=True)
    assert ([each.name for each in found], found.prefixes) == (["c", "d/"], {"a/", "d/"})


def test_offsets(bucket: storage.Bucket) -> None:
    assert names(bucket, start_offset="a/2", end_offset="d/") == ["a/2", "a/b/3", "c"]


@pytest.mark.parametrize(
    "glob, found",
    [("a/*", ["a/1", "a/2"]), ("a/**", ["a/1", "a/2", "a/b/3"]), ("**/3", ["a/b/3"]), ("{c,d/}", ["c", "d/"]),
     ("?", ["c"]), ("a/[!1]", ["a/2"]), ("a/[0-1]", ["a/1"])],
)  # fmt: skip
def test_globs(bucket: storage.Bucket, glob: str, found: list[str]) -> None:
    assert names(bucket, match_glob=glob) == found


def test_a_glob_takes_signs_as_they_are() -> None:
    assert pattern_of("a.b+") == r"a\.b\+"
    assert pattern_of(r"a\*") == r"a\*"


def test_versions_are_in_order(bucket: storage.Bucket) -> None:
    bucket.versioning_enabled = True
    bucket.patch()
    bucket.blob("c").upload_from_string("new")
    found = [(each.name, each.generation) for each in bucket.list_blobs(versions=True, prefix="c")]
    assert len(found) == 2
    assert found == sorted(found)
    assert names(bucket, prefix="c") == ["c"]


def test_a_wrong_token(google: Emulated, bucket: storage.Bucket) -> None:
    assert google.http().get(f"/storage/storage/v1/b/{bucket.name}/o?pageToken=%21").status_code == 400


def test_soft_deleted_objects_are_not_emulated(google: Emulated, bucket: storage.Bucket) -> None:
    assert google.http().get(f"/storage/storage/v1/b/{bucket.name}/o?softDeleted=true").status_code == 501
