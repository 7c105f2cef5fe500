"""What speaks against restoring a backup, by name, and which one is the latest."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from blocks import backups
from blocks.backups import Catalogue, Drill, Manifest, Owner
from blocks.errors import Blocked
from blocks.host.restore_record import Record, RestoreFolder
from blocks.local.object_store import LocalObjectStore
from blocks.restorable import Facts, disk_faults, faults, needed_bytes
from blocks.signature import key_mark

FACTS = Facts("prefect", "home-1", frozenset(map(key_mark, ("old key", "key"))), "3.8.8", frozenset({"a", "b"}))
DUMP = b"a dump"


def manifest(id: str, *, verified: bool = True, reason: str = "by hand") -> Manifest:
    return Manifest(
        id=id,
        stack="prefect",
        home="home-1",
        made=f"{id[:4]}-{id[4:6]}-{id[6:8]}T00:00:00+00:00",
        reason=reason,
        prefect_version="3.8.3",
        schema_revision="a",
        size=len(DUMP),
        sha256="1dbd41cc8b2f6d1e3e9fcfa6e6f5b1d1",
        key=key_mark("key"),
        rows={"flow": 1},
        digests={"flow": "1"},
        seconds=1.0,
        drill=Drill("2026-11-24T00:00:00+00:00", 1.0) if verified else None,
    )


OURS = manifest("20251120T000000Z-000000")


def test_one_of_ours_of_an_older_schema_is_fine() -> None:
    assert faults(OURS, FACTS) == []


def test_one_of_a_key_before_the_last_rotation_is_fine() -> None:
    assert faults(replace(OURS, key=key_mark("old key")), FACTS) == []


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"stack": "other"}, "foreign, made by the stack 'other'"),
        ({"home": "home-2"}, "foreign, made by the stack 'prefect' of the home 'home-2'"),
        ({"schema_revision": "z", "prefect_version": "3.9.0"}, "schema z (Prefect 3.9.0) is newer than what"),
        ({"key": key_mark("another")}, "encrypted with another key"),
    ],
)
def test_each_refusal_has_its_name(changed: dict[str, str], said: str) -> None:
    (found,) = faults(replace(OURS, **changed), FACTS)  # type: ignore[arg-type]
    assert said in found


def test_all_refusals_are_told_together() -> None:
    assert len(faults(replace(OURS, home="x", key="x", schema_revision="x"), FACTS)) == 3


def test_the_disk_must_hold_a_backup_of_what_is_there_and_the_copy() -> None:
    needed = needed_bytes(OURS, 10_000_000_000)
    assert needed > 20_000_000_000
    assert disk_faults(OURS, needed, 10_000_000_000) == []
    (said,) = disk_faults(OURS, needed - 1, 10_000_000_000)
    assert "are free" in said and "are needed" in said


def test_a_database_kept_elsewhere_takes_no_disk_here() -> None:
    assert needed_bytes(OURS, 0) < 1_000_000_000


@pytest.fixture
def catalogue(tmp_path: Path) -> Catalogue:
    (tmp_path / "scratch").mkdir()
    return Catalogue(
        LocalObjectStore(folder=tmp_path / "store"), tmp_path / "scratch", Owner("prefect", "home-1"), ["key"]
    )


def keep(catalogue: Catalogue, tmp_path: Path, *found: Manifest) -> None:
    for each in found:
        (tmp_path / "dump").write_bytes(DUMP)
        catalogue.add(each, tmp_path / "dump")


def test_the_latest_is_the_newest_verified_one_that_no_restore_made(catalogue: Catalogue, tmp_path: Path) -> None:
    wanted = manifest("20251122T000000Z-000001")
    saved = manifest("20251123T000000Z-000002", reason=backups.BEFORE_RESTORE + OURS.id)
    unverified = manifest("20251124T000000Z-000003", verified=False)
    keep(catalogue, tmp_path, OURS, wanted, saved, unverified)
    assert catalogue.find("latest") == wanted
    assert [catalogue.find(each.id) for each in (saved, unverified)] == [saved, unverified]


def test_no_backup_at_all_is_said(catalogue: Catalogue, tmp_path: Path) -> None:
    with pytest.raises(Blocked, match="there is no verified backup"):
        catalogue.find("latest")
    with pytest.raises(Blocked, match=r"there is no backup '\.\./secrets'"):
        catalogue.find("../secrets")


def test_one_is_found_though_the_manifest_of_another_is_damaged(catalogue: Catalogue, tmp_path: Path) -> None:
    keep(catalogue, tmp_path, OURS, manifest("20251123T000000Z-000002"))
    (tmp_path / "store/backups/20251123T000000Z-000002/manifest.json").write_text("{")
    assert catalogue.find(OURS.id) == OURS
    with pytest.raises(Blocked, match=r"20251123T000000Z-000002/manifest\.json is damaged"):
        catalogue.find("20251123T000000Z-000002")


def test_a_manifest_of_a_newer_selfhost_is_refused(catalogue: Catalogue, tmp_path: Path) -> None:
    keep(catalogue, tmp_path, OURS)
    path = tmp_path / f"store/backups/{OURS.id}/manifest.json"
    path.write_text(json.dumps(asdict(OURS) | {"format": 99}))
    with pytest.raises(Blocked, match=r"written by a newer selfhost \(format 99\)"):
        catalogue.find(OURS.id)


@pytest.mark.parametrize(("content", "said"), [(DUMP[:3], "3 bytes instead of 6"), (b"a dumb", "sha256")])
def test_a_cut_or_changed_dump_is_damaged(catalogue: Catalogue, tmp_path: Path, content: bytes, said: str) -> None:
    keep(catalogue, tmp_path, OURS)
    (tmp_path / f"store/backups/{OURS.id}/dump").write_bytes(content)
    with pytest.raises(Blocked, match=f"is damaged: .*{said}"):
        catalogue.fetch(OURS, tmp_path / "target")


def test_what_a_restore_noted_is_read_back(tmp_path: Path) -> None:
    folder = RestoreFolder(tmp_path / "restoring")
    assert folder.record() is None
    folder.path.mkdir()
    noted = Record(OURS.id, OURS.made, 1, "", "20251124T000000Z", "2026-11-24T00:00:00+00:00", {"dump": 1.5})
    folder.note(noted)
    assert folder.record() == noted
    (folder.path / "restore.json").write_text("{")
    with pytest.raises(Blocked, match=r"restore\.json is damaged"):
        folder.record()


def test_a_record_is_forgotten_and_one_of_an_older_selfhost_is_read(tmp_path: Path) -> None:
    folder = RestoreFolder(tmp_path / "restoring")
    folder.forget()
    folder.path.mkdir()
    noted = Record(OURS.id, OURS.made, 1, "", "20261124T000000Z", "2026-11-24T00:00:00+00:00", {})
    older = {key: value for key, value in asdict(noted).items() if key != "finishing"}
    (folder.path / "restore.json").write_text(json.dumps(older))
    assert folder.has_record() and folder.record() == noted
    folder.forget()
    assert not folder.has_record() and folder.record() is None
