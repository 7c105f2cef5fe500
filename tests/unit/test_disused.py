"""Which releases can go, and what of the store: what nobody lists, runs from, or has open."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from blocks.agent.spec import Artifact, Release
from blocks.host import disused
from blocks.host.disused import OFFERED, REMOVED


class Place:
    """A folder of releases and a store, filled as an installation leaves them."""

    def __init__(self, folder: Path) -> None:
        self.root, self.store = folder / "releases", folder / "store"
        self.root.mkdir()
        for name in ("sha256", "locks"):
            (self.store / name).mkdir(parents=True)

    def artifact(self, content: str) -> Artifact:
        found = Artifact(content, hashlib.sha256(content.encode()).hexdigest())
        (self.store / "sha256" / found.sha256).write_text(content)
        return found

    def install(self, name: str) -> Release:
        lock, wheel = self.artifact(f"lock of {name}"), self.artifact(f"wheel of {name}")
        (self.store / "locks" / f"{name}.txt").write_text(lock.name)
        made = Release(name, lock, (wheel,))
        (self.root / name / "bin").mkdir(parents=True)
        (self.root / name / "bin/program").write_bytes(os.urandom(100_000))
        (self.root / name / "complete").write_text(json.dumps({"lock": lock.sha256, "wheels": [wheel.sha256]}))
        return made

    def find(self, *listed: Release) -> disused.Disused:
        return disused.find(self.root, self.store, listed)

    def left(self) -> set[str]:
        return {each.name for each in self.root.iterdir()}

    def stored(self) -> set[str]:
        return {each.read_text() for each in self.store.rglob("*") if each.is_file() and each.name != OFFERED}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@contextmanager
def running_from(place: Place, name: str) -> Iterator[None]:
    program = place.root / name / "bin/sleep"
    shutil.copy(shutil.which("sleep") or "", program)
    with subprocess.Popen([program, "1000"]) as process:
        try:
            yield
        finally:
            process.kill()


def test_what_nobody_lists_goes_with_what_only_it_was_made_from(place: Place) -> None:
    old, new = place.install("old"), place.install("new")
    shared = place.artifact("wheel of new")
    assert shared in new.wheels
    found = place.find(new)
    assert [each.name for each in found.releases] == ["old"]
    found.remove()
    assert place.left() == {"new"}
    assert place.stored() == {"lock of new", "wheel of new"}
    assert not place.find(new), "a second look finds nothing"
    assert place.find(old).releases == (place.root / "new",)


def test_what_runs_or_is_held_stays_and_so_does_what_it_was_made_from(place: Place) -> None:
    new = place.install("new")
    for each in ("runs", "held", "old"):
        place.install(each)
    with running_from(place, "runs"), disused.held(place.root, ["held"]):
        place.find(new).remove()
    assert place.left() == {"new", "runs", "held"}
    assert place.stored() == {f"{what} of {name}" for what in ("lock", "wheel") for name in ("new", "runs", "held")}
    place.find(new).remove()
    assert place.left() == {"new"}


def test_the_wheel_that_was_brought_last_stays(place: Place) -> None:
    new, offered = place.install("new"), place.artifact("offered")
    (place.store / OFFERED).write_text(offered.sha256)
    assert not place.find(new)


def test_an_interrupted_removal_and_a_release_that_is_not_whole_go(place: Place) -> None:
    new = place.install("new")
    place.install("half")
    (place.root / "half").rename(place.root / f".half{REMOVED}")
    (place.root / "broken/bin").mkdir(parents=True)
    (place.root / ".new.lock").touch()
    found = place.find(new)
    assert str(found).startswith("half, broken, 3 of the store's locks and wheels: ")
    found.remove()
    assert place.left() == {"new", ".new.lock"}


def test_freed_is_only_what_no_other_name_has(place: Place, tmp_path: Path) -> None:
    new = place.install("new")
    place.install("old")
    alone = place.find(new).size()
    assert 100_000 <= alone <= 130_000
    os.link(place.root / "old/bin/program", place.root / "old/bin/twin")
    assert place.find(new).size() == alone
    os.link(place.root / "old/bin/program", tmp_path / "cache")
    assert place.find(new).size() <= alone - 100_000
