"""Every object store behaves the same; written from the port's docstrings."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from blocks.errors import Blocked, WrongCall
from blocks.local.object_store import LocalObjectStore
from blocks.object_store import ObjectStore
from blocks.resource import Apply, visit

ADAPTERS: dict[str, Callable[[Path], ObjectStore]] = {
    "local": lambda folder: LocalObjectStore(folder=folder / "store"),
}


@pytest.fixture(params=ADAPTERS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    made = ADAPTERS[request.param](tmp_path)
    for resource in made.resources():
        visit(resource, Apply())
    return made


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(bytes(range(256)) * 5000)
    return path


def test_bytes_come_back_as_they_were_put(store: ObjectStore, source: Path, tmp_path: Path) -> None:
    store.put("sha256/00ff", source)
    store.get("sha256/00ff", tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == source.read_bytes()


OPENED = """
import os, sys
from pathlib import Path
from blocks.host import secret_files
from blocks.local.object_store import LocalObjectStore
folder, opened = Path(sys.argv[1]), set()
def note(event, given):
    if event == "open" and given[2] & os.O_DIRECTORY:
        opened.add(str(given[0]))
sys.addaudithook(note)
LocalObjectStore(folder=folder / "store").put("a/b/key", Path(sys.argv[2]))
secret_files.ensure(folder / "secrets", "password", lambda: "s3")
print(*sorted(opened))
"""
"""Prints which folders were opened as such (O_DIRECTORY), as one is to be flushed."""


def test_the_names_of_what_was_put_are_flushed_too(tmp_path: Path, source: Path) -> None:
    """After a power failure a backup that counted, or the key to it, would be gone."""
    (tmp_path / "store").mkdir()
    argv = [sys.executable, "-c", OPENED, str(tmp_path), str(source)]
    done = subprocess.run(argv, cwd=Path(__file__).resolve().parents[2], capture_output=True, text=True, check=True)
    wanted = {tmp_path / each for each in ("store", "store/a", "store/a/b", "secrets")}
    assert {str(each) for each in wanted} <= set(done.stdout.split())


def test_an_empty_object_is_one_too(store: ObjectStore, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    store.put("empty", tmp_path / "empty")
    store.get("empty", tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == b""


def test_put_replaces_what_is_there(store: ObjectStore, source: Path, tmp_path: Path) -> None:
    store.put("key", source)
    source.write_bytes(b"shorter")
    store.put("key", source)
    store.get("key", tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == b"shorter"
    assert store.listing() == ["key"]


def test_get_replaces_the_target(store: ObjectStore, source: Path, tmp_path: Path) -> None:
    store.put("key", source)
    (tmp_path / "target").write_bytes(b"x" * 10_000_000)
    store.get("key", tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == source.read_bytes()


def test_what_is_not_there_is_blocked_and_leaves_the_target(store: ObjectStore, tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"before")
    with pytest.raises(Blocked, match="absent/key"):
        store.get("absent/key", tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == b"before"


def test_a_prefix_is_no_object(store: ObjectStore, source: Path, tmp_path: Path) -> None:
    store.put("folder/key", source)
    with pytest.raises(Blocked):
        store.get("folder", tmp_path / "target")


def test_listing_is_sorted_and_by_prefix_of_the_text(store: ObjectStore, source: Path) -> None:
    assert store.listing() == []
    for key in ("backups/2", "backups/1", "backup", "sha256/aa"):
        store.put(key, source)
    assert store.listing() == ["backup", "backups/1", "backups/2", "sha256/aa"]
    assert store.listing("backups/") == ["backups/1", "backups/2"]
    assert store.listing("backup") == ["backup", "backups/1", "backups/2"]
    assert store.listing("absent") == []


def test_removing_is_idempotent_and_takes_one_object(store: ObjectStore, source: Path) -> None:
    store.put("a/1", source)
    store.put("a/2", source)
    store.remove("a/1")
    store.remove("a/1")
    store.remove("never/there")
    assert store.listing() == ["a/2"]


def test_a_source_that_is_not_there_puts_nothing(store: ObjectStore, source: Path, tmp_path: Path) -> None:
    store.put("key", source)
    with pytest.raises(FileNotFoundError):
        store.put("key", tmp_path / "absent")
    store.get("key", tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == source.read_bytes()
    assert store.listing() == ["key"]


@pytest.mark.parametrize("key", ["", "../outside", "/etc/passwd", "a/../../outside", "folder/"])
def test_a_key_that_leads_out_of_the_store_is_a_wrong_call(store: ObjectStore, key: str, source: Path) -> None:
    with pytest.raises(WrongCall, match="is not a key"):
        store.put(key, source)
    with pytest.raises(WrongCall):
        store.remove(key)


def test_a_reader_sees_the_old_bytes_or_the_new_ones(store: ObjectStore, tmp_path: Path) -> None:
    sources = []
    for letter in (b"a", b"b"):
        sources.append(tmp_path / letter.decode())
        sources[-1].write_bytes(letter * 1_000_000)
    store.put("key", sources[0])
    done = threading.Event()

    def rewrite() -> None:
        for _ in range(20):
            for source in sources:
                store.put("key", source)
        done.set()

    writer = threading.Thread(target=rewrite)
    writer.start()
    seen = set()
    while not done.is_set():
        store.get("key", tmp_path / "target")
        seen.add((tmp_path / "target").read_bytes())
    writer.join(30)
    assert seen <= {source.read_bytes() for source in sources}
