from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from blocks.agent.config import UNQUOTABLE
from blocks.agent.mark import Bucket
from blocks.errors import Blocked
from blocks.host.home import LONGEST, Home, claim, faults, remove, sweep

ROOT = Path(__file__).resolve().parents[2]
KILLED = """
import os, pathlib, shutil, signal, sys
from blocks.host import home
owner, _, name = sys.argv[1].rpartition(".")
setattr(eval(owner), name, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
getattr(home, sys.argv[2])(home.Home(pathlib.Path(sys.argv[3])), "prefect")
"""

AS_ROOT = pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")


@contextmanager
def killed_at(step: str, verb: Callable[..., object], home: Home) -> Iterator[None]:
    """`verb` in a process of its own, which is killed where it first comes to `step`."""
    argv = [sys.executable, "-c", KILLED, step, verb.__name__, str(home.root)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    yield


def test_claim_makes_the_folder_and_marks_it_once(home: Home) -> None:
    assert claim(home, "prefect")
    mark = home.mark.read_bytes()
    assert not claim(home, "prefect")
    assert home.mark.read_bytes() == mark
    assert home.owner() == "prefect"
    assert stat.S_IMODE(home.root.stat().st_mode) == 0o711
    assert sorted(json.loads(mark)) == ["created", "id", "stack"]


def test_a_mark_says_in_which_bucket_the_objects_of_a_stack_lie(home: Home, tmp_path: Path) -> None:
    bucket = Bucket("prefect-1f2e", "acme-data-42", "europe-west1")
    claim(home, "prefect", "id-1", bucket)
    said = json.loads(home.mark.read_bytes())
    assert said | {"created": ""} == {
        "stack": "prefect",
        "id": "id-1",
        "created": "",
        "store": "gs://prefect-1f2e",
        "project": "acme-data-42",
        "region": "europe-west1",
    }
    assert home.bucket == bucket
    assert home.store == home.root / "artifacts"
    elsewhere = Home(tmp_path / "elsewhere")
    claim(elsewhere, "prefect", store=tmp_path / "objects")
    assert (elsewhere.bucket, elsewhere.store) == (None, tmp_path / "objects")


def test_no_mark_no_owner(home: Home) -> None:
    assert home.owner() is None
    assert home.identity() is None


def test_identity_is_of_this_home_alone(home: Home) -> None:
    claim(home, "prefect")
    first = home.identity()
    assert first == json.loads(home.mark.read_bytes())["id"]
    remove(home, "prefect")
    claim(home, "prefect")
    assert home.identity() not in (first, None)


def test_a_mark_put_back_by_hand_has_no_identity(home: Home) -> None:
    home.root.mkdir()
    home.mark.write_text('{"stack": "prefect"}')
    assert (home.owner(), home.identity()) == ("prefect", None)


def test_a_claim_killed_before_its_mark_is_taken_up_again(home: Home) -> None:
    with killed_at("os.fsync", claim, home):
        assert [each.name[:12] for each in home.root.iterdir()] == [".stack.json."]
    assert faults(home, "prefect") == []
    assert claim(home, "prefect")
    assert list(home.root.iterdir()) == [home.mark]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"owner": 1}', b"\xff\xfe", b"null"])
def test_damaged_mark_is_told(home: Home, content: bytes) -> None:
    home.root.mkdir()
    home.mark.write_bytes(content)
    with pytest.raises(Blocked, match="is damaged") as caught:
        home.owner()
    assert home.identity() is None
    assert "put back" in caught.value.hint


def test_nothing_is_wrong_with_a_folder_to_be_made(home: Home) -> None:
    assert faults(home, "prefect") == []
    assert not home.root.exists()


def test_nothing_is_wrong_with_an_empty_folder_or_our_own(home: Home) -> None:
    home.root.mkdir()
    assert faults(home, "prefect") == []
    home.lease.touch()  # a lease is taken before the mark is set
    assert faults(home, "prefect") == []
    claim(home, "prefect")
    assert faults(home, "prefect") == []


def test_refuses_another_stacks_home(home: Home) -> None:
    claim(home, "theirs")
    (fault,) = faults(home, "ours")
    assert "belongs to the stack 'theirs', not 'ours'" in fault
    assert "--name theirs" in fault


def test_refuses_a_folder_with_something_in_it(home: Home) -> None:
    home.root.mkdir()
    (home.root / "thesis.tex").touch()
    assert "is not empty and carries no mark of ours" in faults(home, "prefect")[0]


def test_refuses_a_file(home: Home) -> None:
    home.root.touch()
    assert "is not a folder you can write to" in faults(home, "prefect")[0]


def test_refuses_a_home_below_a_file(home: Home) -> None:
    home.root.touch()
    assert "cannot be made" in faults(Home(home.root / "below"), "prefect")[0]


@AS_ROOT
def test_refuses_a_folder_that_is_not_ours_to_write(home: Home) -> None:
    home.root.mkdir(mode=0o500)
    assert "not a folder you can write to" in faults(home, "prefect")[0]


def test_refuses_a_path_too_long_for_sockets() -> None:
    assert "choose a shorter --home" in faults(Home(Path("/" + "x" * LONGEST)), "prefect")[0]


@pytest.mark.parametrize("character", list(UNQUOTABLE))
def test_refuses_a_path_which_circus_cannot_handle(home: Home, character: str) -> None:
    (fault,) = faults(Home(home.root / f"a{character}b"), "prefect")
    assert "which Circus cannot handle: choose another --home" in fault
    assert "\n" not in fault and "\r" not in fault


def test_remove_takes_all_of_ours(home: Home, tmp_path: Path) -> None:
    claim(home, "prefect")
    (home.secrets / "deep").mkdir(parents=True)
    (home.secrets / "deep/file").touch()
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    (home.root / "link").symlink_to(outside)
    remove(home, "prefect")
    assert not home.root.exists()
    assert (outside / "kept").exists()


@pytest.mark.parametrize("step", ["shutil.rmtree", "pathlib.Path.unlink", "pathlib.Path.rmdir"])
def test_a_killed_removal_is_finished_by_the_next(home: Home, step: str) -> None:
    claim(home, "prefect")
    home.lease.touch()
    home.secrets.mkdir()
    with killed_at(step, remove, home):
        assert home.mark.exists() == (step != "pathlib.Path.rmdir")  # without it the folder is empty, and free
    if home.mark.exists():
        remove(home, "prefect")
        assert not home.root.exists()
    assert faults(home, "prefect") == []


@pytest.mark.parametrize("owner", ["theirs", None])
def test_remove_refuses_what_is_not_ours(home: Home, owner: str | None) -> None:
    if owner:
        claim(home, owner)
    home.secrets.mkdir(parents=True)
    with pytest.raises(Blocked, match="does not carry the mark of stack 'ours'"):
        remove(home, "ours")
    assert home.secrets.exists()


def test_what_a_killed_one_was_writing_is_swept_and_nothing_else(tmp_path: Path) -> None:
    home = Home(tmp_path / "stack")
    claim(home, "ours")
    home.secrets.mkdir()
    (home.root / "bin").mkdir()
    kept = [home.secrets / "auth-string", home.root / "bin/selfhost", home.root / ".keep"]
    left = [
        home.secrets / "..auth-string.ab.1-2.new",
        home.secrets / ".auth-string.ab",
        home.root / ".wanted.json.1-2.new",
    ]
    for each in (*kept, *left):
        each.touch()
    sweep(home)
    assert all(each.exists() for each in kept) and not any(each.exists() for each in left)
