"""Every object store behaves the same; written from the port's docstrings."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from blocks.errors import Blocked, Conflict, WrongCall
from blocks.gcp.object_store import GcsObjectStore
from blocks.local.object_store import LocalObjectStore
from blocks.object_store import ObjectStore
from blocks.resource import Apply, visit
from tests import google

ADAPTERS: dict[str, Callable[[Path], ObjectStore]] = {
    "local": lambda folder: LocalObjectStore(folder=folder / "store"),
    "gcp": lambda _: in_bucket(google.project()),
}


def in_bucket(project: google.Project) -> GcsObjectStore:
    return GcsObjectStore(project.seen_by(), "trial", f"{project.id}-trial", google.REGION)


@pytest.fixture(params=ADAPTERS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    made = ADAPTERS[request.param](tmp_path)
    for resource in (*made.outside(), *made.on_host()):
        visit(resource, Apply())
    return made


def later(store: ObjectStore) -> None:
    """Let a moment pass, by the store's own clock."""
    if isinstance(store, GcsObjectStore):
        google.pass_seconds(1.5)
    else:
        time.sleep(0.1)


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


def test_an_object_that_is_not_there_is_none(store: ObjectStore) -> None:
    assert store.read("ledger/absent") is None


def test_what_was_written_is_read_with_its_generation(store: ObjectStore, tmp_path: Path) -> None:
    generation = store.write("ledger/one", b"first", if_generation=0)
    found = store.read("ledger/one")
    assert found is not None and generation > 0
    assert (found.content, found.generation) == (b"first", generation)
    store.get("ledger/one", tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == b"first"
    assert store.listing() == ["ledger/one"]


def test_each_write_has_a_greater_generation_also_after_a_removal(store: ObjectStore, source: Path) -> None:
    seen = [store.write("key", b"1", if_generation=0)]
    for content in (b"2", b"2"):
        seen.append(store.write("key", content, if_generation=seen[-1]))
    store.put("key", source)
    found = store.read("key")
    assert found is not None
    seen.append(found.generation)
    store.remove("key")
    seen.append(store.write("key", b"3", if_generation=0))
    assert seen == sorted(set(seen))


def test_an_object_grows_older_until_it_is_written_again(store: ObjectStore) -> None:
    def age() -> float:
        found = store.read("key")
        assert found is not None
        return found.age

    began = time.monotonic()
    generation = store.write("key", b"1", if_generation=0)
    first = age()
    later(store)
    second = age()
    assert 0 <= first < second <= time.monotonic() - began + 2  # times may be rounded to seconds
    store.write("key", b"2", if_generation=generation)
    assert age() <= second


def test_another_generation_is_a_conflict_and_changes_nothing(store: ObjectStore) -> None:
    first = store.write("key", b"1", if_generation=0)
    second = store.write("key", b"2", if_generation=first)
    for wrong in (0, first, second + 1):
        with pytest.raises(Conflict, match="key"):
            store.write("key", b"theirs", if_generation=wrong)
    found = store.read("key")
    assert found is not None and (found.content, found.generation) == (b"2", second)


def test_one_that_was_removed_is_a_conflict_and_is_not_made_again(store: ObjectStore) -> None:
    generation = store.write("ledger/key", b"1", if_generation=0)
    store.remove("ledger/key")
    with pytest.raises(Conflict):
        store.write("ledger/key", b"2", if_generation=generation)
    assert store.read("ledger/key") is None and store.listing() == []


COUNTING = """
import sys
from pathlib import Path
from blocks.errors import Conflict
from blocks.local.object_store import LocalObjectStore
store, won = LocalObjectStore(folder=Path(sys.argv[1])), 0
print("ready", flush=True)
sys.stdin.readline()
while won < 40:
    found = store.read("count")
    try:
        store.write("count", str(int(found.content) + 1).encode(), if_generation=found.generation)
        won += 1
    except Conflict:
        pass
"""
"""Adds 40 to a number, each time to what it has read: a write that was lost, or won twice, is missing in the end."""


def test_of_two_processes_that_race_one_wins_each_time(tmp_path: Path) -> None:
    store = LocalObjectStore(folder=tmp_path / "store")
    store.write("count", b"0", if_generation=0)
    argv = [sys.executable, "-c", COUNTING, str(store.folder)]
    here = Path(__file__).resolve().parents[2]
    racing = [subprocess.Popen(argv, cwd=here, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(2)]
    for each in racing:
        assert each.stdout is not None and each.stdout.readline() == b"ready\n"
    for each in racing:
        assert each.stdin is not None
        each.stdin.write(b"\n")
        each.stdin.flush()
    assert [each.wait(60) for each in racing] == [0, 0]
    found = store.read("count")
    assert found is not None and found.content == b"80"


@pytest.mark.parametrize("wrong", [-86_400, 86_400])
def test_generations_grow_whatever_the_clock_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: float
) -> None:
    """A day back, and a day ahead and then right again."""
    store = LocalObjectStore(folder=tmp_path / "store")
    seen = [store.write("a", b"", if_generation=0)]
    now = time.time_ns()
    with monkeypatch.context() as patched:
        patched.setattr(time, "time_ns", lambda: now + int(wrong * 1e9))
        seen += [store.write("b", b"", if_generation=0), store.write("a", b"", if_generation=seen[0])]
    store.remove("b")
    seen += [store.write("b", b"", if_generation=0), store.write("a", b"", if_generation=seen[2])]
    assert seen == sorted(set(seen))


def test_an_object_that_somebody_has_edited_is_another_generation(tmp_path: Path) -> None:
    store = LocalObjectStore(folder=tmp_path / "store")
    generation = store.write("key", b"1", if_generation=0)
    (store.folder / "key").write_bytes(b"edited")
    with pytest.raises(Conflict):
        store.write("key", b"2", if_generation=generation)


def test_objects_and_the_lock_are_ours_alone_to_read(tmp_path: Path) -> None:
    """Whoever may read a file may lock it."""
    store = LocalObjectStore(folder=tmp_path / "store")
    store.write("key", b"1", if_generation=0)
    assert {each.name: oct(each.stat().st_mode & 0o777) for each in store.folder.iterdir()} == {
        "key": "0o600",
        ".generations": "0o600",
    }
    with pytest.raises(WrongCall):
        store.write(".generations", b"", if_generation=0)
