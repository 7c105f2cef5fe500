"""Attacks by other users of the machine: a prepared home, a prepared spec, folders they may write to."""

from __future__ import annotations

import grp
import os
import pwd
import re
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from blocks.errors import Blocked
from blocks.host import trusted
from blocks.host.home import HOME_VARIABLE, Home, claim
from blocks.host.trusted import FILES, FOLDERS, require_file, require_home
from blocks.local.object_store import LocalObjectStore
from blocks.release import put
from flows.cli import launch
from flows.cli import main as cli
from tests.unit.test_cli import saved

MALLORY = 54_321
"""A user who is neither root nor whoever runs the tests."""
PRELOAD = '[[workers]]\nname = "maintenance"\npool = "maintenance"\nenv = { LD_PRELOAD = "/tmp/mallory.so" }\n'
VERBS = [
    ("bootstrap",),
    ("plan",),
    ("status",),
    ("start",),
    ("stop",),
    ("stop", "--now"),
    ("destroy", "--yes"),
    ("lease",),
    ("lease", "--break", "why"),
    ("logs",),
    ("connect",),
    ("open",),
    ("backup",),
    ("expire", "--yes"),
    ("restore", "latest", "--yes"),
    ("rotate", "auth"),
    ("upgrade",),
    ("upgrade", "--self"),
    ("workers", "list"),
]


def is_mallorys(path: Path) -> None:
    """Make her the owner; where we are not root, the callers' `look` has to say so."""
    os.chown(path, MALLORY, MALLORY, follow_symlinks=False)


def seen_as(owners: dict[Path, int], modes: dict[Path, int] | None = None) -> trusted.Look:
    """What lies there, as if it had these owners and modes: what root alone could make."""

    def look(path: Path) -> os.stat_result:
        found = list(os.lstat(path))
        found[stat.ST_UID] = owners.get(path, os.geteuid())
        found[stat.ST_MODE] = stat.S_IFMT(found[stat.ST_MODE]) | (modes or {}).get(path, 0o755)
        return os.stat_result(found)

    return look


@pytest.fixture
def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A home of Mallory's: its lease is a link to a file of ours, its agent a program of hers."""
    home = Home(tmp_path / "h")
    saved(home)
    (tmp_path / "ours").write_text("precious")
    home.lease.symlink_to(tmp_path / "ours")
    home.agent.mkdir()
    (home.agent / "agent.pyz").write_text(f"open({str(tmp_path / 'hers ran')!r}, 'w')")
    if os.geteuid() == 0:
        for each in (home.root, *home.root.rglob("*")):
            is_mallorys(each)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: MALLORY)  # then what is ours is another's
    monkeypatch.delenv(HOME_VARIABLE, raising=False)
    monkeypatch.chdir("/")
    return home


def selfhost(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["selfhost", *arguments])
    return cli.main()


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_of_a_prepared_home_nothing_is_run_or_written(
    verb: tuple[str, ...], prepared: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert selfhost(monkeypatch, *verb, "--home", str(prepared.root)) == 1
    said = capsys.readouterr().err
    assert f"error: {prepared.root} is not believed: " in said and "belongs to" in said and "hint: run it as" in said
    assert (prepared.root.parent / "ours").read_text() == "precious"
    assert not (prepared.root.parent / "hers ran").exists()


def test_a_prepared_home_that_the_environment_names_is_refused_too(
    prepared: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(HOME_VARIABLE, str(prepared.root))
    assert selfhost(monkeypatch, "stop") == 1
    assert not (prepared.root.parent / "hers ran").exists()


def test_a_home_of_ours_is_believed_wherever_it_lies(home: Home) -> None:
    saved(home)
    require_home(home.root)
    require_home(home.root.parent / "not there yet")


@pytest.mark.parametrize(
    "name", [*FILES, *FOLDERS, "agent/last-good.json", "bin/selfhost", "releases/3.8.8-0123", "run/services"]
)
def test_what_is_anothers_within_a_home_is_refused(name: str, home: Home) -> None:
    """As after a `chown` of the folder alone."""
    path = home.root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir() if name in FOLDERS else path.touch()
    require_home(home.root, seen_as({}))
    with pytest.raises(Blocked, match=f"{name} belongs to {MALLORY}") as caught:
        require_home(home.root, seen_as({path: MALLORY}))
    assert re.search(f": chown [^ ]+ {path}$", caught.value.hint), "that path alone: others are the services' own"
    with pytest.raises(Blocked, match=f"others may write to {path}") as caught:
        require_home(home.root, seen_as({}, {path: 0o646}))
    assert caught.value.hint == f"chmod go-w {path}"


def test_a_home_that_is_anothers_as_a_whole_is_not_to_be_taken_over(home: Home) -> None:
    """PostgreSQL's folder would be another user's, too, and it would not start any more."""
    home.root.mkdir()
    with pytest.raises(Blocked, match=f"{home.root} belongs to {MALLORY}") as caught:
        require_home(home.root, seen_as({home.root: MALLORY}))
    assert caught.value.hint == f"run it as {MALLORY}"


def test_what_belongs_to_root_is_believed_by_all(home: Home) -> None:
    claim(home, "prefect")
    require_home(home.root, seen_as(dict.fromkeys((home.root, home.mark, *home.root.parents), 0)))


def test_the_services_own_folders_may_be_theirs(home: Home) -> None:
    home.postgres.mkdir(parents=True)
    require_home(home.root, seen_as({home.postgres: MALLORY}))


@pytest.mark.parametrize("name", FILES)
def test_no_file_of_a_home_may_be_a_link(name: str, home: Home) -> None:
    path = home.root / name
    path.parent.mkdir(parents=True)
    path.symlink_to("/etc/hostname")
    with pytest.raises(Blocked, match=f"{path} is a link") as caught:
        require_home(home.root, seen_as({}))
    assert f"rm {path}" in caught.value.hint


def test_a_folder_above_that_others_may_write_to_is_refused_unless_it_is_sticky(tmp_path: Path) -> None:
    folder = tmp_path / "open"
    (folder / "h").mkdir(parents=True)
    folder.chmod(0o777)
    with pytest.raises(Blocked, match=f"others may write to {folder} ") as caught:
        require_home(folder / "h")
    assert caught.value.hint == f"chmod go-w {folder}"
    folder.chmod(0o1777)
    require_home(folder / "h")
    require_home(folder / "not there yet")
    with pytest.raises(Blocked, match=f"others may write to {folder} "):
        require_home(folder)  # as a home of its own
    with pytest.raises(Blocked, match=f"{folder} belongs to {MALLORY}"):
        require_home(folder / "h", seen_as({folder: MALLORY}, {folder: 0o1777}))  # who may replace what is in it


def test_a_link_on_the_way_is_followed_where_it_is_ours_and_what_it_leads_to_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "real/h").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real")
    require_home(tmp_path / "link/h")
    (tmp_path / "home").symlink_to(tmp_path / "link/../link/h")
    require_home(tmp_path / "home")
    with pytest.raises(Blocked, match=f"{tmp_path}/link belongs to {MALLORY}") as caught:
        require_home(tmp_path / "link/h", seen_as({tmp_path / "link": MALLORY}))
    assert caught.value.hint.endswith(f" {tmp_path / 'link'}")
    with pytest.raises(Blocked, match=f"{tmp_path}/real belongs to {MALLORY}"):
        require_home(tmp_path / "home", seen_as({tmp_path / "real": MALLORY}))
    (tmp_path / "real").chmod(0o777)
    with pytest.raises(Blocked, match=f"others may write to {tmp_path}/real "):
        require_home(tmp_path / "home")


def test_a_link_to_itself_is_refused(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(Blocked, match="cannot be followed"):
        require_home(tmp_path / "loop/h")


@pytest.mark.parametrize(
    ("group", "members", "primary", "is_private"),
    [
        ("ann", [], [], True),
        ("ann", ["ann"], [], True),
        ("ann", ["bob"], [], False),
        ("ann", [], ["bob"], False),
        ("staff", [], [], False),
    ],
)
def test_the_owners_own_group_may_write_and_no_other(
    group: str, members: list[str], primary: list[str], is_private: bool, monkeypatch: pytest.MonkeyPatch, home: Home
) -> None:
    home.root.mkdir()
    users = [pwd.struct_passwd((each, "x", 7, 7, "", "/", "/bin/sh")) for each in ("ann", *primary)]
    monkeypatch.setattr(pwd, "getpwuid", lambda _: users[0])
    monkeypatch.setattr(pwd, "getpwall", lambda: users)
    monkeypatch.setattr(grp, "getgrgid", lambda _: grp.struct_group((group, "x", 7, members)))
    look = seen_as({}, {home.root: 0o775})
    if is_private:
        require_home(home.root, look)
    else:
        with pytest.raises(Blocked, match="others may write to"):
            require_home(home.root, look)


@pytest.mark.parametrize("given", [(), ("--spec", "stack.toml")], ids=["of the folder", "named"])
@pytest.mark.parametrize("verb", ["bootstrap", "plan"])
def test_a_spec_in_a_folder_that_others_may_write_to_is_not_taken(
    verb: str, given: tuple[str, ...], home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = home.root.parent / "open"
    folder.mkdir()
    (folder / "stack.toml").write_text(PRELOAD)
    folder.chmod(0o777)
    monkeypatch.chdir(folder)
    assert selfhost(monkeypatch, verb, *given, "--home", str(home.root)) == 1
    assert f"others may write to {folder}" in (said := capsys.readouterr().err) and f"chmod go-w {folder}" in said
    assert not home.root.exists()


def test_a_spec_is_believed_by_its_owner_its_mode_and_its_folders(tmp_path: Path) -> None:
    path = tmp_path / "stack.toml"
    path.write_text(PRELOAD)
    require_file(path)
    shared = {tmp_path: 0o1777}  # such as /tmp
    require_file(path, seen_as({}, shared))
    for refused in (
        seen_as({path: MALLORY}),
        seen_as({path: MALLORY}, shared),
        seen_as({tmp_path: MALLORY}, shared),
        seen_as({}, {path: 0o666}),
    ):
        with pytest.raises(Blocked, match=f"^{path} is not believed: "):
            require_file(path, refused)
    (tmp_path / "link.toml").symlink_to(path)
    require_file(tmp_path / "link.toml")
    with pytest.raises(Blocked, match=f"{path} belongs to {MALLORY}"):
        require_file(tmp_path / "link.toml", seen_as({path: MALLORY}))


@pytest.fixture
def umask_zero() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask_zero")
def test_a_call_does_not_take_the_shells_umask(monkeypatch: pytest.MonkeyPatch, home: Home) -> None:
    monkeypatch.chdir(home.root.parent)
    assert selfhost(monkeypatch, "stop", "--home", str(home.root)) == 1  # there is none
    assert os.umask(0) == 0o022


@pytest.mark.usefixtures("umask_zero")
def test_what_others_pass_through_has_its_mode_whatever_the_umask(home: Home, tmp_path: Path) -> None:
    root = Home(home.root / "deep/h")
    launch.take_lease(root, "bootstrap").release()
    claim(root, "prefect")
    store = LocalObjectStore(folder=root.store)
    put(store, "wheel", b"content")
    store.put("backups/one/manifest.json", root.mark)
    modes = {each.relative_to(home.root).as_posix(): oct(each.stat().st_mode & 0o777) for each in home.root.rglob("*")}
    digest = next(name for name in modes if name.startswith("deep/h/store/sha256/"))
    assert modes == {
        "deep": "0o755",
        "deep/h": "0o711",
        "deep/h/lease.json": "0o600",
        "deep/h/stack.json": "0o644",
        "deep/h/store": "0o700",
        "deep/h/store/ledger": "0o700",
        "deep/h/store/ledger/lease": "0o600",
        "deep/h/store/.generations": "0o600",
        "deep/h/store/sha256": "0o700",
        digest: "0o600",
        "deep/h/store/backups": "0o700",
        "deep/h/store/backups/one": "0o700",
        "deep/h/store/backups/one/manifest.json": "0o600",
    }
