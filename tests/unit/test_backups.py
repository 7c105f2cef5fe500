"""Which backups count, which may go, and what a manifest that cannot be trusted is called."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st

from blocks import backups
from blocks.backups import Catalogue, Drill, Manifest, compare, expired, read_manifest, recent
from blocks.database import Content
from blocks.errors import Blocked
from blocks.local.object_store import LocalObjectStore
from blocks.spec import Backup as Policy

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
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
        key=backups.key_mark("key"),
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
    assert expired(found, policy, NOW) == [found[3], found[2]]


def test_the_newest_stay_however_old() -> None:
    assert expired(days_old(100, 200), Policy(keep=2, window_days=1, minimum_redundancy=1), NOW) == []


def test_verified_ones_stay_until_there_are_enough_newer() -> None:
    unverified = [backup(24 * each, verified=False) for each in (1, 2, 3)]
    verified = days_old(40, 50, 60)
    leaving = expired([*unverified, *verified], Policy(keep=3, window_days=1, minimum_redundancy=2), NOW)
    assert leaving == [verified[2]]


AGES = st.lists(st.tuples(st.integers(0, 5000), st.booleans()), max_size=12)


@given(AGES, st.integers(1, 6), st.integers(1, 60), st.integers(1, 4))
def test_expiry_never_takes_what_must_stay(ages: list[tuple[int, bool]], keep: int, days: int, least: int) -> None:
    found = [backup(hours, verified=verified) for hours, verified in ages]
    policy = Policy(keep=keep, window_days=days, minimum_redundancy=least)
    leaving = expired(found, policy, NOW)
    left = [each for each in found if each not in leaving]
    verified = [each for each in found if each.verified]
    assert len(left) >= min(keep, len(found))
    assert len([each for each in left if each.verified]) >= min(least, len(verified))
    assert all(NOW - each.moment > timedelta(days=days) for each in leaving)
    assert expired(left, policy, NOW) == []


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
    assert recent(found, Policy(), made, NOW).status is well


def test_a_whole_copy_lacks_nothing() -> None:
    assert compare(backup(1), CONTENT) == []


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (replace(CONTENT, schema_revision=None), "schema None instead of abc"),
        (replace(CONTENT, rows={"flow": 2, "log": 2}), "log: 2 rows instead of 3"),
        (replace(CONTENT, rows={"flow": 2}), "log: no rows instead of 3"),
        (replace(CONTENT, digests={"flow": "17", "log": "-5"}), "log: other rows than were dumped"),
    ],
)
def test_what_differs_is_named(found: Content, words: str) -> None:
    assert compare(backup(1), found) == [words]


@pytest.fixture
def catalogue(tmp_path: Path) -> Catalogue:
    (tmp_path / "scratch").mkdir()
    return Catalogue(LocalObjectStore(folder=tmp_path / "store"), tmp_path / "scratch")


def dumped(tmp_path: Path, catalogue: Catalogue, hours: float = 1) -> Manifest:
    dump = tmp_path / "dump"
    dump.write_bytes(b"dump")
    manifest = replace(backup(hours), sha256=backups.digest(dump))
    catalogue.add(manifest, dump)
    return manifest


def test_what_is_added_is_listed_fetched_and_removed(tmp_path: Path, catalogue: Catalogue) -> None:
    older, newer = dumped(tmp_path, catalogue, 2), dumped(tmp_path, catalogue, 1)
    assert catalogue.all() == [older, newer]
    catalogue.fetch(newer, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"dump"
    catalogue.remove(older)
    assert catalogue.all() == [newer]
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


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1}', '{"format": "x"}'])
def test_a_damaged_manifest_is_named(text: str) -> None:
    with pytest.raises(Blocked, match="the manifest here is damaged"):
        read_manifest(text, "here")


def test_a_newer_manifest_is_named() -> None:
    with pytest.raises(Blocked, match="written by a newer selfhost"):
        read_manifest(json.dumps(asdict(replace(backup(1), format=backups.FORMAT + 1))), "here")


def test_the_mark_of_a_key_gives_nothing_away() -> None:
    key = Fernet.generate_key().decode()
    assert backups.key_mark(key) == backups.key_mark(key) != backups.key_mark(Fernet.generate_key().decode())
    assert len(backups.key_mark(key)) == 16
