"""Without root: an ordinary user makes a stack, and nothing of it needs another."""

from __future__ import annotations

import os
import pwd
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from blocks import release
from blocks.agent.releases import Tools, install
from blocks.host.interpreter import uv_binary
from blocks.local.object_store import LocalObjectStore
from blocks.wheel import build_wheel
from tests.stack import Stack, caller_environment, scratch

pytestmark = pytest.mark.fault

PYTHON = "/usr/bin/python3"
"""A Python which every user can run; the one of this environment may lie in root's own folder."""


@pytest.fixture(scope="module")
def user() -> Iterator[pwd.struct_passwd]:
    if os.geteuid() != 0:
        pytest.skip("only root can make another user; without root every other test here runs as an ordinary one")
    name = f"flt-{secrets.token_hex(4)}"
    subprocess.run(["useradd", "--no-create-home", "--user-group", name], check=True)
    yield pwd.getpwnam(name)
    subprocess.run(["userdel", name], check=True)


@pytest.fixture(scope="module")
def theirs(user: pwd.struct_passwd) -> Iterator[Stack]:
    """A stack of that user, driven from an installed wheel in an environment which the user can read."""
    with scratch("flt-") as stack:
        store, root = stack.folder / "store", stack.folder / "installed"
        wheel = release.put(LocalObjectStore(store), *build_wheel())
        prepared = release.prepare("3.8.8", wheel, LocalObjectStore(store))
        install(prepared, root, store, Tools(PYTHON, uv_binary()))
        stack.command = (str(root / prepared.id / "bin/selfhost"),)
        own = stack.folder / "own"
        own.mkdir()
        os.chown(own, user.pw_uid, user.pw_gid)
        stack.home = own / "h"
        stack.environment = caller_environment(HOME=str(own), USER=user.pw_name, LOGNAME=user.pw_name)
        stack.identity = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        yield stack
        stack.remove_by_force()


def test_a_home_the_user_cannot_write_is_refused(theirs: Stack) -> None:
    for home in ("/var/lib/not-mine", "/etc", "/root/h"):
        done = theirs.call("bootstrap", "--home", home, "--name", theirs.name, "--port", str(theirs.port))
        assert done.status == 1 and "not a folder you can write to" in done.stderr, done.output
        assert "Traceback" not in done.output
    assert not Path("/var/lib/not-mine").exists()


def test_an_ordinary_users_stack_is_all_theirs(theirs: Stack, user: pwd.struct_passwd) -> None:
    theirs.bootstrap()
    assert theirs.status()["healthy"] is True
    assert theirs.plan() == []
    owners = {Path(f"/proc/{pid}").stat().st_uid for pid in theirs.processes()}
    assert owners == {user.pw_uid}
    commands = "\n".join(theirs.processes().values())
    assert "postgres -D" in commands and "nginx: master" in commands
    assert {each.lstat().st_uid for each in theirs.home.rglob("*")} == {user.pw_uid}
    assert all(theirs.name not in each.pw_name for each in pwd.getpwall()), "a system user was made"
    theirs.run("stop")
    assert theirs.processes() == {}
    theirs.run("start")
    theirs.destroy()
    assert theirs.processes() == {} and not theirs.home.exists()
