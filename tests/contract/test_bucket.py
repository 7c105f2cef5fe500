"""A bucket of Google's as the store of a stack: its settings, whose it is, and what a lost answer does."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from blocks.errors import Blocked, Conflict, NotReady
from blocks.gcp.object_store import GcsObjectStore
from blocks.resource import Apply, plan, visit, visit_to_delete
from tests import google


@pytest.fixture
def project() -> google.Project:
    return google.project()


@pytest.fixture
def absent(project: google.Project) -> GcsObjectStore:
    return GcsObjectStore(project.seen_by(), "trial", f"{project.id}-trial", google.REGION)


@pytest.fixture
def store(absent: GcsObjectStore) -> GcsObjectStore:
    visit(*absent.outside(), Apply())
    return absent


def test_it_is_made_once_closed_to_the_public_with_its_versions_kept(absent: GcsObjectStore) -> None:
    assert [each.action for each in plan(absent.outside())] == ["create"]
    visit(*absent.outside(), Apply())
    assert plan(absent.outside()) == []
    bucket = absent.google.storage.get_bucket(absent.bucket)
    assert bucket.versioning_enabled and bucket.iam_configuration.uniform_bucket_level_access_enabled
    assert bucket.iam_configuration.public_access_prevention == "enforced"
    assert bucket.labels == {"prefect-selfhost": "trial"}
    assert bucket.location == google.REGION.upper()


def test_what_somebody_changed_of_it_is_seen_and_mended(store: GcsObjectStore) -> None:
    bucket = store.google.storage.get_bucket(store.bucket)
    bucket.versioning_enabled = False
    bucket.iam_configuration.public_access_prevention = "inherited"
    bucket.clear_lifecycle_rules()
    bucket.patch()
    (change,) = plan(store.outside())
    assert sorted(change.fields) == ["lifecycle", "public access", "versioning"]
    visit(*store.outside(), Apply())
    assert plan(store.outside()) == []


def test_anothers_bucket_is_neither_changed_nor_removed(store: GcsObjectStore) -> None:
    theirs = replace(store, stack="another")
    with pytest.raises(Blocked, match="not this stack's: its label prefect-selfhost is 'trial'"):
        plan(theirs.outside())
    assert visit_to_delete(*theirs.outside(), Apply()).action == "leave"
    assert store.listing() == []


def test_a_bucket_of_ours_by_its_label_in_anothers_project_is_not_believed(store: GcsObjectStore) -> None:
    """Anybody may make a bucket of that name with that label, and let us write to it."""
    elsewhere = replace(store, google=replace(google.project().seen_by()))
    with pytest.raises(Blocked, match="it is not in the project"):
        plan(elsewhere.outside())


def test_a_name_that_is_taken_where_we_may_not_look_is_blocked(project: google.Project, store: GcsObjectStore) -> None:
    stranger = replace(store, google=project.seen_by("user:stranger@example.com"))
    with pytest.raises(Blocked, match="reading the bucket") as caught:
        plan(stranger.outside())
    assert "role" in caught.value.hint


def test_it_stays_in_its_region(store: GcsObjectStore) -> None:
    moved = replace(store, region="us-central1")
    with pytest.raises(Blocked, match="is in europe-west1, not in us-central1") as caught:
        plan(moved.outside())
    assert caught.value.hint == "write region = 'europe-west1'"


def test_removed_with_all_objects_and_their_former_versions(store: GcsObjectStore) -> None:
    generation = store.write("ledger/wanted", b"1", if_generation=0)
    store.write("ledger/wanted", b"2", if_generation=generation)
    store.write("ledger/gone", b"3", if_generation=0)
    store.remove("ledger/gone")
    assert visit_to_delete(*store.outside(), Apply()).action == "delete"
    assert [each.action for each in plan(store.outside())] == ["create"]


def test_a_write_whose_answer_was_lost_is_not_taken_for_anothers(
    project: google.Project, store: GcsObjectStore
) -> None:
    with project.fault("reset-after", "storage.objects.insert"):
        generation = store.write("ledger/lease", b"ours", if_generation=0)
    found = store.read("ledger/lease")
    assert found is not None and (found.content, found.generation) == (b"ours", generation)
    with project.fault("reset-after", "storage.objects.insert"):
        assert store.write("ledger/lease", b"ours", if_generation=generation) > generation


def test_the_same_text_of_another_writer_is_anothers(store: GcsObjectStore) -> None:
    store.write("ledger/lease", b"same", if_generation=0)
    with pytest.raises(Conflict):
        store.write("ledger/lease", b"same", if_generation=0)


@pytest.mark.parametrize("kind", ["error", "reset-before", "reset-after"])
def test_each_call_is_tried_again(project: google.Project, store: GcsObjectStore, kind: str, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"dump")
    with project.fault(kind, "storage.objects.insert"):
        store.put("backups/1", tmp_path / "source")
    with project.fault(kind, "storage.objects.get"):
        store.get("backups/1", tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == b"dump"
    with project.fault(kind, "storage.objects.list"):
        assert store.listing() == ["backups/1"]
    with project.fault(kind, "storage.objects.delete"):
        store.remove("backups/1")
    assert store.listing() == []


def test_one_who_may_only_read_is_told_what_was_tried(project: google.Project, store: GcsObjectStore) -> None:
    store.write("ledger/wanted", b"{}", if_generation=0)
    project.cloud.access.grant(f"projects/{project.id}", "roles/storage.objectViewer", "user:reader@example.com")
    reader = replace(store, google=project.seen_by("user:reader@example.com"))
    found = reader.read("ledger/wanted")
    assert found is not None and found.content == b"{}"
    with pytest.raises(Blocked, match=f"writing gs://{store.bucket}: "):
        reader.write("ledger/wanted", b"mine", if_generation=found.generation)


def test_nobody_answering_is_not_ready(store: GcsObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = replace(store, google=replace(store.google, endpoint="http://127.0.0.1:9"))
    monkeypatch.setattr("google.cloud.storage.retry.DEFAULT_RETRY._timeout", 0.2)
    with pytest.raises(NotReady, match="Google does not answer"):
        nowhere.read("ledger/wanted")


def test_of_those_who_race_one_wins_each_time(project: google.Project, store: GcsObjectStore) -> None:
    store.write("count", b"0", if_generation=0)

    def count_to(_: int) -> None:
        own, won = replace(store, google=project.seen_by()), 0
        while won < 10:
            found = own.read("count")
            assert found is not None
            try:
                own.write("count", str(int(found.content) + 1).encode(), if_generation=found.generation)
            except Conflict:
                continue
            won += 1

    with ThreadPoolExecutor(3) as racers:
        list(racers.map(count_to, range(3)))
    found = store.read("count")
    assert found is not None and found.content == b"30"
