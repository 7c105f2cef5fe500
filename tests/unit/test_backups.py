"""Which backups count, which may go, and what a manifest that cannot be trusted is called."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st

from blocks import backups, signature
from blocks.backups import Catalogue, Drill, Found, Manifest, Owner, compare, expired, read_manifest, recent
from blocks.database import Content
from blocks.errors import Blocked
from blocks.local.object_store import LocalObjectStore
from blocks.signature import key_mark
from blocks.spec import Backup as Policy
from flows.backup import rows

NOW = datetime(2025, 11, 24, 12, tzinfo=UTC)
KEY = Fernet.generate_key().decode()
CONTENT = Content("abc", {"flow": 2, "log": 3}, {"flow": "17", "log": "-4"})


def backup(hours: float, *, verified: bool = True) -> Manifest:
    """One that was made so many hours ago."""
    made = NOW - timedelta(hours=hours)
    return Manifest(
        id=backups.new_id(made),
        stack="prefect",
        home="0",
        made=made.isoformat(),
        reason="by hand",
        prefect_version="3.8.8",
        schema_revision="abc",
        size=4,
        sha256="",
        key=key_mark("key"),
        rows=CONTENT.rows,
        digests=CONTENT.digests,
        seconds=1.0,
        drill=Drill(NOW.isoformat(), 1.0) if verified else None,
    )


def days_old(*days: int) -> list[Manifest]:
    return [backup(24 * each) for each in days]


def test_what_is_neither_new_nor_young_goes_the_oldest_first() -> None:
    found = days_old(1, 2, 20, 30)
    policy = Policy(keep=1, window_days=10, minimum_redundancy=1)
    assert expired(Found(found), policy, NOW) == [found[3], found[2]]


def test_the_newest_stay_however_old() -> None:
    assert expired(Found(days_old(100, 200)), Policy(keep=2, window_days=1, minimum_redundancy=1), NOW) == []


def test_verified_ones_stay_until_there_are_enough_newer() -> None:
    unverified = [backup(24 * each, verified=False) for each in (1, 2, 3)]
    verified = days_old(40, 50, 60)
    leaving = expired(Found([*unverified, *verified]), Policy(keep=3, window_days=1, minimum_redundancy=2), NOW)
    assert leaving == [verified[2]]


AGES = st.lists(st.tuples(st.integers(0, 5000), st.booleans()), max_size=12)


@given(AGES, st.integers(1, 6), st.integers(1, 60), st.integers(1, 4))
def test_expiry_never_takes_what_must_stay(ages: list[tuple[int, bool]], keep: int, days: int, least: int) -> None:
    found = [backup(hours, verified=verified) for hours, verified in ages]
    policy = Policy(keep=keep, window_days=days, minimum_redundancy=least)
    leaving = expired(Found(found), policy, NOW)
    left = [each for each in found if each not in leaving]
    verified = [each for each in found if each.verified]
    assert len(left) >= min(keep, len(found))
    assert len([each for each in left if each.verified]) >= min(least, len(verified))
    assert all(NOW - each.moment > timedelta(days=days) for each in leaving)
    assert expired(Found(left), policy, NOW) == []


@pytest.mark.parametrize(
    ("found", "made_hours_ago", "well"),
    [
        ([backup(35)], 1000, True),
        ([backup(37)], 1000, False),
        ([backup(1, verified=False)], 1000, False),
        ([], 1000, False),
        ([], 1, True),
        ([], None, False),
    ],
)
def test_the_last_verified_backup_must_be_young(found: list[Manifest], made_hours_ago: int | None, well: bool) -> None:
    made = NOW - timedelta(hours=made_hours_ago) if made_hours_ago is not None else None
    assert recent(Found(found), Policy(), made, NOW).status is well


def test_what_is_foreign_or_of_the_future_neither_counts_nor_goes_nor_keeps_others_from_going() -> None:
    old, older = days_old(30, 40)
    ahead, foreign = backup(-24 * 400), replace(backup(1), home="1")
    found, policy = Found([older, old, ahead], [foreign]), Policy(keep=1, window_days=1, minimum_redundancy=1)
    assert expired(found, policy, NOW) == [older]
    assert expired(Found([ahead], [replace(older, home="1")]), policy, NOW) == []
    said = recent(found, Policy(), NOW - timedelta(days=50), NOW)
    assert not said.status and f"{ahead.id} does not count: it is dated in the future" in said.message
    assert found.latest(NOW) == old
    with pytest.raises(Blocked, match=f"no verified backup of this stack; {ahead.id} is dated in the future"):
        Found([ahead]).latest(NOW)


def test_a_clock_that_is_a_little_off_is_no_fault() -> None:
    ahead = backup(-0.1)
    assert recent(Found([ahead]), Policy(), None, NOW).status is True
    assert Found([ahead]).latest(NOW) == ahead


def test_a_manifest_that_cannot_be_read_is_not_well_however_young_the_others_are() -> None:
    said = recent(Found([backup(1)], unreadable={"x": "the manifest x is damaged"}), Policy(), None, NOW)
    assert (said.status, said.reason) == (False, "Unreadable")
    assert "the last verified backup is 1.0 hours old" in said.message and "the manifest x is damaged" in said.message


def test_a_whole_copy_lacks_nothing() -> None:
    assert compare(backup(1), CONTENT) == []


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (replace(CONTENT, schema_revision=None), "schema None instead of abc"),
        (replace(CONTENT, rows={"flow": 2, "log": 2}), "log: 2 rows instead of 3"),
        (replace(CONTENT, rows=CONTENT.rows | {"planted": 1}), "planted: it was not in the dump"),
        (replace(CONTENT, rows={"flow": 2}), "log: no rows instead of 3"),
        (replace(CONTENT, digests={"flow": "17", "log": "-5"}), "log: other rows than were dumped"),
    ],
)
def test_what_differs_is_named(found: Content, words: str) -> None:
    assert compare(backup(1), found) == [words]


@pytest.fixture
def catalogue(tmp_path: Path) -> Catalogue:
    (tmp_path / "scratch").mkdir()
    return catalogue_of(tmp_path, KEY)


def catalogue_of(tmp_path: Path, key: str, *older: str) -> Catalogue:
    return Catalogue(
        LocalObjectStore(folder=tmp_path / "store"), tmp_path / "scratch", Owner("prefect", "0"), [*older, key]
    )


def dumped(tmp_path: Path, catalogue: Catalogue, hours: float = 1) -> Manifest:
    dump = tmp_path / "dump"
    dump.write_bytes(b"dump")
    manifest = replace(backup(hours), sha256=backups.digest(dump))
    catalogue.add(manifest, dump)
    return manifest


def test_what_is_added_is_listed_fetched_and_removed(tmp_path: Path, catalogue: Catalogue) -> None:
    older, newer = dumped(tmp_path, catalogue, 2), dumped(tmp_path, catalogue, 1)
    assert catalogue.all() == Found([older, newer])
    catalogue.fetch(newer, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"dump"
    catalogue.remove(older)
    assert catalogue.all() == Found([newer])
    assert [each for each in (tmp_path / "store").rglob("*") if older.id in str(each) and each.is_file()] == []


@pytest.mark.parametrize("content", [b"dumb", b"dum", b""])
def test_a_damaged_or_truncated_dump_is_refused(tmp_path: Path, catalogue: Catalogue, content: bytes) -> None:
    manifest = dumped(tmp_path, catalogue)
    (tmp_path / f"store/backups/{manifest.id}/dump").write_bytes(content)
    with pytest.raises(Blocked, match=f"backup {manifest.id} is damaged"):
        catalogue.fetch(manifest, tmp_path / "copy")


def test_what_a_killed_backup_left_is_swept_and_nothing_else(tmp_path: Path, catalogue: Catalogue) -> None:
    manifest = dumped(tmp_path, catalogue)
    left = tmp_path / "store/backups/20260101T000000Z-000000/dump"
    left.parent.mkdir()
    left.write_bytes(b"half")
    catalogue.sweep()
    assert not left.exists()
    catalogue.fetch(manifest, tmp_path / "copy")


DAMAGED = [b"", b"{", b"[]", b'{"format": 99}', b"\xff\xfe\x00"]


@pytest.mark.parametrize("content", DAMAGED)
def test_one_bad_manifest_keeps_nobody_from_the_others(tmp_path: Path, catalogue: Catalogue, content: bytes) -> None:
    older, bad, newer = (dumped(tmp_path, catalogue, hours) for hours in (3, 2, 1))
    folder = tmp_path / f"store/backups/{bad.id}"
    (folder / "manifest.json").write_bytes(content)
    catalogue.sweep()
    assert (folder / "dump").exists()
    found = catalogue.all()
    assert (found.own, list(found.unreadable)) == ([older, newer], [bad.id])
    assert f"backups/{bad.id}/manifest.json" in found.unreadable[bad.id]
    with pytest.raises(Blocked, match="which backup is the latest cannot be told") as caught:
        catalogue.find("latest")
    assert bad.id in caught.value.what
    assert catalogue.find(newer.id) == newer
    catalogue.remove(older)
    assert (folder / "manifest.json").read_bytes() == content


def test_a_copy_in_a_folder_of_another_name_is_left_and_named(tmp_path: Path, catalogue: Catalogue) -> None:
    manifest = dumped(tmp_path, catalogue)
    copy = tmp_path / f"store/backups/{manifest.id}-keep"
    shutil.copytree(copy.with_name(manifest.id), copy)
    catalogue.sweep()
    assert sorted(each.name for each in copy.iterdir()) == ["dump", "manifest.json"]
    found = catalogue.all()
    assert found.own == [manifest] and f"the manifest of the backup '{manifest.id}'" in found.unreadable[copy.name]
    with pytest.raises(Blocked, match="which its folder is not called"):
        catalogue.find(copy.name)


def test_one_of_another_stack_or_home_is_foreign(tmp_path: Path, catalogue: Catalogue) -> None:
    manifest = dumped(tmp_path, catalogue)
    others = [replace(backup(hours), **changed) for hours, changed in ((3, {"stack": "other"}), (2, {"home": "1"}))]  # type: ignore[arg-type]
    for each in others:
        catalogue.add(each, tmp_path / "dump")
    assert catalogue.all() == Found([manifest], others)
    assert catalogue.find("latest") == manifest
    catalogue.remove(manifest)
    with pytest.raises(Blocked, match="there is no verified backup of this stack"):
        catalogue.find("latest")


FORGERIES: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "another table's rows": lambda data: data | {"rows": {"flow": 1, "log": 3}},
    "another dump": lambda data: data | {"sha256": "0" * 64},
    "another moment": lambda data: data | {"made": NOW.isoformat()},
    "never drilled": lambda data: data | {"drill": {"at": NOW.isoformat(), "seconds": 1.0}, "seconds": 2.0},
    "more than we know": lambda data: data | {"more": 1},
    "no signature": lambda data: {name: each for name, each in data.items() if name != "signature"},
    "an older selfhost's": lambda data: {
        name: each for name, each in (data | {"format": 1}).items() if name != "signature"
    },
    "a signature of no text": lambda data: data | {"signature": 7},
    "signed with another key": lambda data: signature.signed(data, "another"),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_what_this_stack_has_not_signed_is_shown_counts_for_nothing_and_needs_a_word(
    tmp_path: Path, catalogue: Catalogue, forgery: str
) -> None:
    manifest, other = dumped(tmp_path, catalogue, 1), dumped(tmp_path, catalogue, 2)
    assert catalogue.find("latest") == manifest
    path = tmp_path / f"store/backups/{manifest.id}/manifest.json"
    path.write_text(json.dumps(FORGERIES[forgery](json.loads(path.read_text()))))
    found = catalogue.all()
    assert ([each.id for each in found.unsigned], found.own) == ([manifest.id], [other])
    assert catalogue.find("latest") == other
    told = {each["id"]: (each["signed"], each["verified"]) for each in rows(found, NOW)}
    assert told == {manifest.id: (False, False), other.id: (True, True)}
    with pytest.raises(Blocked, match="is not signed by this stack") as caught:
        catalogue.find(manifest.id)
    assert caught.value.hint.endswith(f"selfhost restore {manifest.id} --unsigned")
    assert catalogue.find(manifest.id, unsigned=True).id == manifest.id


def test_a_backup_that_was_forged_whole_is_not_even_one(tmp_path: Path, catalogue: Catalogue) -> None:
    """As it was done: no rows to compare, the sha256 of a planted dump, a drill that never was."""
    manifest = dumped(tmp_path, catalogue)
    folder = tmp_path / f"store/backups/{manifest.id}"
    (folder / "dump").write_bytes(b"planted")
    planted = asdict(replace(manifest, rows={}, digests={}, size=7, sha256=backups.digest(folder / "dump")))
    (folder / "manifest.json").write_text(json.dumps(planted))
    found = catalogue.all()
    assert (found.own, found.unsigned, list(found.unreadable)) == ([], [], [manifest.id])
    assert "rows and a digest for every table" in found.unreadable[manifest.id]


def test_a_stack_with_another_key_counts_no_backup_of_the_old_one(tmp_path: Path, catalogue: Catalogue) -> None:
    manifest = dumped(tmp_path, catalogue)
    assert catalogue_of(tmp_path, Fernet.generate_key().decode()).all().unsigned == [manifest]
    assert KEY not in (tmp_path / f"store/backups/{manifest.id}/manifest.json").read_text()


def test_a_backup_of_an_older_key_counts_while_the_stack_has_that_key(tmp_path: Path, catalogue: Catalogue) -> None:
    made = replace(dumped(tmp_path, catalogue), key=key_mark(KEY))
    catalogue.update(made)
    new = Fernet.generate_key().decode()
    rotated = catalogue_of(tmp_path, new, KEY)
    assert (rotated.all().own, rotated.key_of(made)) == ([made], KEY)
    drilled = replace(made, drill=Drill("2026-11-24T12:00:00+00:00", 1.0))
    rotated.update(drilled)
    assert catalogue.all().own == [drilled], "it is signed with the key it names"
    assert catalogue_of(tmp_path, new).all().unsigned == [drilled]


def test_unsigned_ones_make_nothing_recent_and_go_once_there_are_enough_others() -> None:
    """After an upgrade from a selfhost which did not sign, they are all there is."""
    policy = Policy(keep=1, window_days=10, minimum_redundancy=1)
    young, old = days_old(1, 20)
    said = recent(Found([], unsigned=[old, young]), policy, NOW - timedelta(days=50), NOW)
    assert not said.status and f"2 do not count: they are not signed by this stack ({young.id})" in said.message
    assert expired(Found([], unsigned=[old, young]), policy, NOW) == []
    own = days_old(1, 2)
    assert expired(Found(own, unsigned=[old, young]), policy, NOW) == [old]
    assert recent(Found(own, unsigned=[old, young]), policy, None, NOW).status
    with pytest.raises(Blocked, match="there is no verified backup of this stack"):
        Found([], unsigned=[old, young]).latest(NOW)


PLAIN = asdict(backup(1))


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"format": 1}',
        '{"format": "x"}',
        json.dumps({**PLAIN, "made": "yesterday"}),
        json.dumps({**PLAIN, "made": "2025-11-24T12:00:00"}),
        json.dumps({**PLAIN, "rows": 3}),
        json.dumps({**PLAIN, "rows": {}, "digests": {}}),
        json.dumps({**PLAIN, "digests": {"flow": "17"}}),
        json.dumps({**PLAIN, "drill": {"at": "now"}}),
        json.dumps({key: value for key, value in PLAIN.items() if key != "sha256"}),
    ],
)
def test_a_damaged_manifest_is_named(content: str) -> None:
    with pytest.raises(Blocked, match="the manifest here is damaged") as caught:
        read_manifest(content, "here")
    assert "\n" not in caught.value.what


def test_a_newer_manifest_is_named() -> None:
    with pytest.raises(Blocked, match="written by a newer selfhost"):
        read_manifest(json.dumps(asdict(replace(backup(1), format=backups.FORMAT + 1))), "here")


def test_the_mark_of_a_key_gives_nothing_away() -> None:
    key = Fernet.generate_key().decode()
    assert key_mark(key) == key_mark(key) != key_mark(Fernet.generate_key().decode())
    assert len(key_mark(key)) == 16
