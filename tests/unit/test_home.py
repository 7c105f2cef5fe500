from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from blocks.errors import Blocked
from blocks.host.home import LONGEST, Home, claim, faults, remove

AS_ROOT = pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")


def test_claim_makes_the_folder_and_marks_it_once(home: Home) -> None:
    assert claim(home, "prefect")
    mark = home.mark.read_bytes()
    assert not claim(home, "prefect")
    assert home.mark.read_bytes() == mark
    assert home.owner() == "prefect"
    assert stat.S_IMODE(home.root.stat().st_mode) == 0o711
    assert sorted(json.loads(mark)) == ["created", "id", "stack"]


def test_no_mark_no_owner(home: Home) -> None:
    assert home.owner() is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"owner": 1}', b"\xff\xfe", b"null"])
def test_damaged_mark_is_told(home: Home, content: bytes) -> None:
    home.root.mkdir()
    home.mark.write_bytes(content)
    with pytest.raises(Blocked, match="is damaged") as caught:
        home.owner()
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


@pytest.mark.parametrize("owner", ["theirs", None])
def test_remove_refuses_what_is_not_ours(home: Home, owner: str | None) -> None:
    if owner:
        claim(home, owner)
    home.secrets.mkdir(parents=True)
    with pytest.raises(Blocked, match="does not carry the mark of stack 'ours'"):
        remove(home, "ours")
    assert home.secrets.exists()
