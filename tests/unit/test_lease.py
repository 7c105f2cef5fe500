from __future__ import annotations

import fcntl
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from blocks.errors import Blocked, Conflict
from blocks.host.lease import INHERITED, acquire, end_orphans, held, holder, is_free

HOLD = "import sys; from pathlib import Path; from blocks.host.lease import acquire; "
HOLD += "lease = acquire(Path(sys.argv[1]), 'bootstrap'); print('held', flush=True); sys.stdin.read()"

BECOME = "import os, sys; from pathlib import Path; from blocks.host.lease import acquire; "
BECOME += "lease = acquire(Path(sys.argv[1]), 'before'); os.environ.update(lease.keep_over_exec()); "
BECOME += "os.execv(sys.executable, [sys.executable, '-c', sys.argv[2], sys.argv[1]])"

BECAME = "import os, sys; from pathlib import Path; from blocks.host.lease import acquire; "
BECAME += "lease = acquire(Path(sys.argv[1]), 'after'); "
BECAME += "print('held', os.get_inheritable(lease.descriptor), flush=True); sys.stdin.read()"

OPEN_EARLY = "import fcntl, sys; from pathlib import Path; from blocks.host import lease; flock = fcntl.flock\n"
OPEN_EARLY += (
    "def late(*given):\n  fcntl.flock = flock; print('open', flush=True); sys.stdin.readline(); flock(*given)\n"
)
OPEN_EARLY += "fcntl.flock = late; held = lease.acquire(Path(sys.argv[1]), 'other')\n"
OPEN_EARLY += "print('held', flush=True); sys.stdin.read()"

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lease.json"


def started(*argv: str) -> subprocess.Popen[str]:
    """A process of ours which has said that it holds the lease, and ends with its standard input."""
    process = subprocess.Popen(
        [sys.executable, "-c", *argv], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("held")
    return process


def test_says_who_and_why(path: Path) -> None:
    lease = acquire(path, "bootstrap")
    found = holder(path)
    assert (found["pid"], found["reason"]) == (os.getpid(), "bootstrap")
    assert "@" in found["owner"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", found["since"])
    lease.release()


def test_refuses_a_second_and_says_who_holds_it(path: Path) -> None:
    with started(HOLD, str(path)) as process:
        with pytest.raises(Conflict) as caught:
            acquire(path, "destroy")
        assert f"process {process.pid}" in caught.value.what
        assert "for: bootstrap" in caught.value.what
        assert "since 2" in caught.value.what
        assert holder(path)["reason"] == "bootstrap"  # a refused one does not overwrite it


def test_two_takers_in_one_process_are_refused_too(path: Path) -> None:
    lease = acquire(path, "first")
    with pytest.raises(Conflict, match="first"):
        acquire(path, "second")
    lease.release()


def test_who_only_looks_whether_it_is_free_makes_nobody_fail(path: Path) -> None:
    """As a status does, at the moment a nightly flow begins."""
    with path.open("w") as looking:
        fcntl.flock(looking, fcntl.LOCK_EX)
        threading.Timer(0.2, fcntl.flock, (looking, fcntl.LOCK_UN)).start()
        assert not is_free(path)  # to look is quick
        lease = acquire(path, "backup")
    assert holder(path)["reason"] == "backup"
    lease.release()


def test_released_is_free_and_says_nobody(path: Path) -> None:
    acquire(path, "first").release()
    assert holder(path) == {}
    acquire(path, "second").release()


def test_killed_holder_frees_it(path: Path) -> None:
    with started(HOLD, str(path)) as process:
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    assert holder(path)["pid"] == process.pid  # its text is still there and does not count
    acquire(path, "next").release()


def test_a_file_removed_by_its_holder_is_no_lease(path: Path) -> None:
    """A destroy removes the lease with the home, just when another process has opened it and not yet locked it."""
    destroying = acquire(path, "destroy")
    with subprocess.Popen(
        [sys.executable, "-c", OPEN_EARLY, str(path)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as late:
        assert late.stdin is not None and late.stdout is not None
        assert late.stdout.readline() == b"open\n"
        path.unlink()
        destroying.release()
        late.stdin.write(b"\n")
        late.stdin.flush()
        assert late.stdout.readline() == b"held\n"
        with pytest.raises(Conflict, match=f"process {late.pid}"):
            acquire(path, "bootstrap")


def test_a_home_that_is_gone_is_told(tmp_path: Path) -> None:
    with pytest.raises(Conflict, match="is gone"):
        acquire(tmp_path / "gone/lease.json", "bootstrap")


def test_survives_becoming_another_program(path: Path) -> None:
    with started(BECOME, str(path), BECAME) as process, pytest.raises(Conflict, match=f"process {process.pid}"):
        acquire(path, "destroy")
    acquire(path, "next").release()


def test_inherited_lease_is_not_handed_on_to_children(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = acquire(path, "before")
    monkeypatch.setenv(INHERITED, first.keep_over_exec()[INHERITED])
    second = acquire(path, "after")
    assert second.descriptor == first.descriptor
    assert not os.get_inheritable(second.descriptor)
    assert INHERITED not in os.environ
    second.release()


def test_descriptor_of_another_file_is_no_lease(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "other").open("w") as other:
        monkeypatch.setenv(INHERITED, str(other.fileno()))
        lease = acquire(path, "mine")
        assert lease.descriptor != other.fileno()
        lease.release()


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"x"'])
def test_damaged_text_is_nobody(path: Path, text: str) -> None:
    path.write_text(text)
    assert holder(path) == {}
    acquire(path, "next").release()


def test_others_can_neither_read_nor_lock_it_and_one_of_an_older_stack_is_closed(path: Path) -> None:
    """Whoever may read a file may lock it, and then nobody could change the stack any more."""
    acquire(path, "bootstrap").release()
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o644)
    assert is_free(path)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_link_in_its_place_is_not_followed(path: Path, tmp_path: Path) -> None:
    (tmp_path / "ours").write_text("precious")
    path.symlink_to(tmp_path / "ours")
    with pytest.raises(Blocked, match=r"lease\.json cannot be opened"):
        acquire(path, "bootstrap")
    assert (tmp_path / "ours").read_text() == "precious"


LEAVE = "import subprocess, sys; from pathlib import Path; from blocks.host.lease import acquire; "
LEAVE += "lease = acquire(Path(sys.argv[1]), 'restore'); "
LEAVE += "child = subprocess.Popen(['sleep', '1000'], pass_fds=(lease.descriptor,), stdin=subprocess.DEVNULL, "
LEAVE += "stdout=subprocess.DEVNULL); print('held', child.pid, flush=True); sys.stdin.read()"


def test_what_a_dead_holder_left_at_work_holds_the_lease_until_it_is_broken(path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", LEAVE, str(path)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    child = int(process.stdout.readline().split()[1])
    with pytest.raises(Blocked, match=f"its holder lives: .*process {process.pid}"):
        end_orphans(path)
    process.kill()
    process.wait()
    assert not is_free(path)
    assert end_orphans(path) == [child]
    assert is_free(path)
    assert end_orphans(path) == []


def test_a_lease_is_held_as_long_as_the_context_lasts(path: Path) -> None:
    with held(path, "backup"):
        assert not is_free(path)
    assert is_free(path)
