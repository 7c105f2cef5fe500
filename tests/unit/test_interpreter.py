"""Which interpreter releases are made from: one that every user of a service can execute."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from blocks.host import interpreter
from blocks.host.home import Home
from blocks.host.preflight import faults


@pytest.fixture
def closed(tmp_path: Path) -> str:
    """A Python in somebody's home folder."""
    folder = tmp_path / "theirs"
    folder.mkdir(mode=0o700)
    return shutil.copy(os.path.realpath(sys.executable), folder / "python3")


def test_one_below_a_closed_folder_is_not_for_everyone(closed: str) -> None:
    assert not interpreter.is_for_everyone(closed)
    assert not interpreter.is_for_everyone("/no/such/python3")


@pytest.mark.skipif(not interpreter.is_for_everyone(interpreter.SYSTEM), reason="this system has no Python of its own")
def test_the_systems_own_stands_in_for_root_alone(closed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interpreter, "_ours", lambda: closed)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert interpreter.base_python() == os.path.realpath(interpreter.SYSTEM)
    assert interpreter.fault() == ""
    assert ".".join(map(str, interpreter.minor())) in interpreter.version(interpreter.base_python())
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert interpreter.base_python() == closed


def test_where_there_is_none_preflight_says_what_to_install(
    closed: str, monkeypatch: pytest.MonkeyPatch, home: Home
) -> None:
    monkeypatch.setattr(interpreter, "_ours", lambda: closed)
    monkeypatch.setattr(interpreter, "SYSTEM", "/no/such/python3")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    (told,) = [each for each in faults(home, "prefect", {}, ["selfhost-absent"]) if "python3" in each]
    assert f"cannot execute {closed}" in told and "apt-get install python3" in told


def test_packages_are_found_whatever_python_made_an_environment(tmp_path: Path) -> None:
    (tmp_path / "lib/python3.99").mkdir(parents=True)
    assert interpreter.site_packages(tmp_path) == tmp_path / "lib/python3.99/site-packages"
    numbers = "{}.{}".format(*interpreter.minor())
    assert interpreter.site_packages(tmp_path / "absent") == tmp_path / f"absent/lib/python{numbers}/site-packages"
