"""System users of a stack of root's: their names, whose they are, and how they go."""

from __future__ import annotations

import os
import pwd
import secrets
import stat
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from blocks.errors import Blocked
from blocks.host import system_user
from blocks.host.home import Home, claim
from blocks.host.preflight import faults
from blocks.local.users import FormerUsers, Users
from blocks.resource import Apply, visit, visit_to_delete
from flows.destroy import _delete as remove_resource
from flows.destroy import destroy

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root makes users")


@pytest.fixture
def stack(home: Home) -> Iterator[str]:
    """The name of a stack which is claimed in the home; users of that beginning are removed afterwards."""
    name = f"ut-{secrets.token_hex(4)}"
    claim(home, name)
    home.root.parent.chmod(0o711)
    yield name
    for each in pwd.getpwall():
        if each.pw_name.startswith(f"selfhost-{name}"):
            subprocess.run(["userdel", each.pw_name], check=True)


def add_user(name: str, comment: str) -> None:
    subprocess.run(["useradd", "--system", "--user-group", "--no-create-home", "--comment", comment, name], check=True)


def test_a_name_too_long_for_a_user_is_shortened_by_a_digest() -> None:
    assert system_user.name_for("prefect") == "selfhost-prefect"
    assert system_user.name_for("prefect", "w-reports") == "selfhost-prefect-w-reports"
    names = [system_user.name_for("a" * 32, f"w-{'b' * 29}{end}") for end in ("one", "two")]
    assert {len(each) for each in names} == {32} and len(set(names)) == 2
    assert names == [system_user.name_for("a" * 32, f"w-{'b' * 29}{end}") for end in ("one", "two")]


@needs_root
def test_users_are_made_once_and_go_with_the_stack(home: Home, stack: str) -> None:
    names = [system_user.name_for(stack, role) for role in ("server", "w-a")]
    users = Users("users of the services", names, home, stack, needs=())
    assert visit(users, Apply()).action == "create"
    assert {pwd.getpwnam(each).pw_gecos for each in names} == {f"prefect-selfhost stack {stack} {home.identity()}"}
    assert {pwd.getpwnam(each).pw_shell for each in names} == {"/usr/sbin/nologin"}
    assert visit(users, Apply()).action == "keep"
    assert system_user.owned(home, stack) == set(names)
    assert visit_to_delete(users, Apply()).action == "delete"
    assert not system_user.owned(home, stack)


@needs_root
def test_two_stacks_of_one_name_do_not_share_a_user(home: Home, stack: str) -> None:
    """A2: the destroy of one would end in the middle of the other."""
    name = system_user.name_for(stack)
    system_user.ensure(name, home, stack)
    other = Home(home.root.parent / "other")
    told = f"there are system users of a stack '{stack}' in another home: {name}; choose another --name"
    assert told in "; ".join(faults(other, stack, {}, [name])), "told before anything is touched"
    claim(other, stack)
    with pytest.raises(Blocked, match="in another home"):
        system_user.ensure(name, other, stack)
    system_user.remove([name], other, stack)
    assert system_user.find(name), "the other home's user was removed"
    assert faults(home, stack, {}, [name]) == []


@needs_root
def test_a_user_which_was_marked_without_a_home_is_taken_over_by_the_stack_that_made_it(home: Home, stack: str) -> None:
    name = system_user.name_for(stack)
    add_user(name, f"prefect-selfhost stack {stack}")
    fresh = Home(home.root.parent / "fresh")
    assert "in another home" in "; ".join(faults(fresh, stack, {}, [name]))
    assert faults(home, stack, {}, [name]) == []
    assert system_user.ensure(name, home, stack) is True
    assert system_user.find(name) == system_user.mark(home, stack)
    assert system_user.ensure(name, home, stack) is False


@needs_root
def test_a_user_in_use_is_left_and_what_to_type_is_said(home: Home, stack: str) -> None:
    used, idle = (system_user.name_for(stack, role) for role in ("w-used", "w-idle"))
    for each in (used, idle):
        system_user.ensure(each, home, stack)
    former = FormerUsers([], home, stack)
    process = subprocess.Popen(["/bin/sleep", "60"], user=used)
    try:
        assert former.find() == {"idle": [idle]}
        with pytest.raises(system_user.InUse) as told:
            system_user.remove([used, idle], home, stack)
        assert f"{used} is currently used by process {process.pid}" in told.value.what
        assert told.value.hint == f"userdel {used} once that process has ended"
        assert system_user.find(idle) is None, "all others are removed"
    finally:
        process.kill()
        process.wait()
    assert visit(former, Apply()).action == "update"
    assert not system_user.owned(home, stack)


@needs_root
def test_what_a_removed_user_kept_is_open_to_no_user_who_is_given_its_number(home: Home, stack: str) -> None:
    name = system_user.name_for(stack, "w-a")
    system_user.ensure(name, home, stack)
    folder = home.state / "worker-a"
    folder.mkdir(parents=True, mode=0o700)
    (folder / "result").touch()
    for each in (folder, folder / "result"):
        os.chown(each, pwd.getpwnam(name).pw_uid, -1)
    folder.chmod(0o777)  # as its owner may
    system_user.remove([name], home, stack)
    assert folder.stat().st_uid == 0 and (folder / "result").exists()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@needs_root
def test_the_configuration_of_a_removed_user_goes_and_that_of_others_stays(home: Home, stack: str) -> None:
    """The auth string is in it."""
    name = system_user.name_for(stack, "w-a")
    system_user.ensure(name, home, stack)
    gone, kept = (home.etc / each / "prefect.toml" for each in ("worker-a", "worker-b"))
    for each in (gone, kept):
        each.parent.mkdir(parents=True)
        each.touch(mode=0o600)
    os.chown(gone, pwd.getpwnam(name).pw_uid, -1)
    system_user.remove([name], home, stack)
    assert not gone.exists() and kept.exists()


@needs_root
def test_a_link_among_the_state_folders_is_not_followed(home: Home, stack: str) -> None:
    name = system_user.name_for(stack, "w-a")
    system_user.ensure(name, home, stack)
    (target := home.root / "elsewhere").touch(mode=0o644)
    home.state.mkdir()
    (link := home.state / "worker-a").symlink_to(target)
    os.chown(link, pwd.getpwnam(name).pw_uid, -1, follow_symlinks=False)
    system_user.remove([name], home, stack)
    assert link.lstat().st_uid == 0 and stat.S_IMODE(target.stat().st_mode) == 0o644


@needs_root
def test_a_user_is_not_idle_while_a_process_runs_as_it_that_may_not_be_looked_into(home: Home, stack: str) -> None:
    """Its folder in /proc is root's: as of a program that its user cannot read, or, here, one that changed users."""
    name = system_user.name_for(stack, "w-a")
    system_user.ensure(name, home, stack)
    uid = pwd.getpwnam(name).pw_uid
    process = subprocess.Popen(["/bin/sleep", "60"], preexec_fn=lambda: os.setresuid(uid, 0, 0))
    try:
        assert Path(f"/proc/{process.pid}").stat().st_uid == 0, "what this is about"
        assert system_user.idle([name]) == set()
    finally:
        process.kill()
        process.wait()
    assert system_user.idle([name]) == {name}


@needs_root
def test_a_former_user_that_is_in_use_again_is_left_for_the_next_converge(
    home: Home, stack: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = system_user.name_for(stack, "w-a")
    system_user.ensure(name, home, stack)
    former = FormerUsers([], home, stack)
    process = subprocess.Popen(["/bin/sleep", "60"], user=name)
    try:
        with monkeypatch.context() as patched:
            patched.setattr(system_user, "idle", set)  # as it was a moment before
            assert visit(former, Apply()).action == "update"
        assert system_user.find(name)
    finally:
        process.kill()
        process.wait()
    visit(former, Apply())
    assert system_user.find(name) is None


def test_nobody_elses_user_is_touched(home: Home) -> None:
    claim(home, "prefect")
    ours = pwd.getpwuid(os.getuid()).pw_name
    with suppress(KeyError):
        system_user.remove([ours], home, "prefect")
    assert Path(f"/proc/{os.getpid()}").owner() == ours
    with pytest.raises(Blocked, match="not ours"):
        system_user.ensure(ours, home, "prefect")


@needs_root
def test_a_destroy_that_cannot_remove_a_user_removes_all_else(home: Home, stack: str) -> None:
    name = system_user.name_for(stack, "w-a")
    system_user.ensure(name, home, stack)
    users, in_use = Users("users of the services", [name], home, stack, needs=()), list[system_user.InUse]()
    process = subprocess.Popen(["/bin/sleep", "60"], user=name)
    try:
        assert remove_resource(users, in_use).action == "leave"
        assert [each.hint for each in in_use] == [f"userdel {name} once that process has ended"]
        with pytest.raises(system_user.InUse, match=f"the system user {name} is left"):
            destroy(home, stack)
    finally:
        process.kill()
        process.wait()
    assert not home.root.exists()
