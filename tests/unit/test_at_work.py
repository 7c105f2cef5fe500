"""The lock on a home's `lease.json`, which ends with the last process that is at work."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from blocks.errors import Blocked, Conflict
from blocks.host.at_work import INHERITED, claim_in, is_free, lock, pass_on, unlock

OPEN_EARLY = "import fcntl, os, sys; from pathlib import Path; from blocks.host import at_work; flock = fcntl.flock\n"
OPEN_EARLY += (
    "def late(*given):\n  fcntl.flock = flock; print('open', flush=True); sys.stdin.readline(); flock(*given)\n"
)
OPEN_EARLY += "fcntl.flock = late; held = at_work.lock(Path(sys.argv[1]), {'pid': os.getpid()})\n"
OPEN_EARLY += "print('held', flush=True); sys.stdin.read()"

ROOT = Path(__file__).resolve().parents[2]
CLAIM = {"owner": "me@here", "pid": 1, "since": "2026-11-30 02:00:00 UTC", "reason": "backup"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lease.json"


def test_its_text_says_who_and_why_as_long_as_it_is_held(path: Path) -> None:
    held = lock(path, CLAIM)
    assert claim_in(path) == CLAIM and not is_free(path)
    with pytest.raises(Conflict, match=r"held by me@here \(process 1\) since 2026-11-30 02:00:00 UTC for: backup"):
        lock(path, {})
    unlock(held)
    assert claim_in(path) == {} and is_free(path)


def test_who_only_looks_whether_it_is_free_makes_nobody_fail(path: Path) -> None:
    """As a status does, at the moment a nightly flow begins."""
    with path.open("w") as looking:
        fcntl.flock(looking, fcntl.LOCK_EX)
        threading.Timer(0.2, fcntl.flock, (looking, fcntl.LOCK_UN)).start()
        assert not is_free(path)  # to look is quick
        held = lock(path, CLAIM)
    unlock(held)


def test_a_file_removed_by_its_holder_is_no_lease(path: Path) -> None:
    """A destroy removes the lease with the home, just when another process has opened it and not yet locked it."""
    destroying = lock(path, CLAIM)
    with subprocess.Popen(
        [sys.executable, "-c", OPEN_EARLY, str(path)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as late:
        assert late.stdin is not None and late.stdout is not None
        assert late.stdout.readline() == b"open\n"
        path.unlink()
        unlock(destroying)
        late.stdin.write(b"\n")
        late.stdin.flush()
        assert late.stdout.readline() == b"held\n"
        with pytest.raises(Conflict, match=f"process {late.pid}"):
            lock(path, CLAIM)


def test_a_home_that_is_gone_is_told(tmp_path: Path) -> None:
    with pytest.raises(Conflict, match="is gone"):
        lock(tmp_path / "gone/lease.json", CLAIM)


def test_inherited_lease_is_not_handed_on_to_children(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = lock(path, CLAIM)
    monkeypatch.setenv(INHERITED, pass_on(first)[INHERITED])
    assert lock(path, CLAIM) == first
    assert not os.get_inheritable(first)
    assert INHERITED not in os.environ
    unlock(first)


def test_descriptor_of_another_file_is_no_lease(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "other").open("w") as other:
        monkeypatch.setenv(INHERITED, str(other.fileno()))
        held = lock(path, CLAIM)
        assert held != other.fileno()
        unlock(held)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"x"'])
def test_damaged_text_is_nobody(path: Path, text: str) -> None:
    path.write_text(text)
    assert claim_in(path) == {}
    unlock(lock(path, CLAIM))


def test_others_can_neither_read_nor_lock_it_and_one_of_an_older_stack_is_closed(path: Path) -> None:
    """Whoever may read a file may lock it, and then nobody could change the stack any more."""
    unlock(lock(path, CLAIM))
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o644)
    assert is_free(path)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_link_in_its_place_is_not_followed(path: Path, tmp_path: Path) -> None:
    (tmp_path / "ours").write_text("precious")
    path.symlink_to(tmp_path / "ours")
    with pytest.raises(Blocked, match=r"lease\.json cannot be opened"):
        lock(path, CLAIM)
    assert (tmp_path / "ours").read_text() == "precious"
