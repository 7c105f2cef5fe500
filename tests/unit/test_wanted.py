from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from blocks.agent.spec import Artifact, Release
from blocks.errors import Blocked
from blocks.host import wanted
from blocks.host.home import Home
from blocks.host.wanted import Wanted
from blocks.spec import SERVER, TOOLS, build_spec, read_spec

RELEASE = Release("3.8.8-0123", Artifact("lock.txt", "0" * 64), smoke=("prefect",))


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A folder that is there."""
    return Home(tmp_path)


def test_comes_back_as_it_was_written(home: Home) -> None:
    spec = read_spec(None, {"name": "trial"})
    kept = Wanted(spec.model_dump(mode="json"), {SERVER: RELEASE, TOOLS: RELEASE})
    assert not wanted.exists(home)
    wanted.write(home, kept)
    assert wanted.exists(home)
    found = wanted.read(home)
    assert found == kept
    assert build_spec(dict(found.spec), "the saved spec") == spec


def test_a_release_with_a_workers_own_packages_is_untrusted_where_it_was_not_said_yet(home: Home) -> None:
    workers = [{"name": "reports", "packages": ["pandas"]}, {"name": "default", "packages": []}]
    wanted.write(home, Wanted({"workers": workers}, {SERVER: RELEASE, TOOLS: RELEASE, "reports": RELEASE}))
    path = home.root / wanted.FILE
    old = json.loads(path.read_text())
    for each in old["releases"].values():
        del each["untrusted"]
    path.write_text(json.dumps(old))
    assert [name for name, each in wanted.read(home).releases.items() if each.untrusted] == ["reports"]


def test_the_promoted_versions_of_secrets_are_kept_and_before_there_were_any_each_is_the_first(home: Home) -> None:
    wanted.write(home, Wanted({}, {SERVER: RELEASE, TOOLS: RELEASE}, {"auth-string": 7}))
    assert wanted.read(home).secrets == {"auth-string": 7}
    path = home.root / wanted.FILE
    old = json.loads(path.read_text())
    del old["secrets"]
    path.write_text(json.dumps(old))
    assert wanted.read(home).secrets == {}


def test_equal_wishes_give_equal_bytes(home: Home) -> None:
    spec = read_spec(None).model_dump(mode="json")
    wanted.write(home, Wanted(spec, {SERVER: RELEASE, TOOLS: RELEASE}))
    before = (home.root / wanted.FILE).read_bytes()
    wanted.write(home, Wanted(dict(reversed(spec.items())), {TOOLS: RELEASE, SERVER: RELEASE}))
    assert (home.root / wanted.FILE).read_bytes() == before


def test_is_ours_alone_to_read(home: Home) -> None:
    path = home.root / wanted.FILE
    path.touch(mode=0o644)
    wanted.write(home, Wanted(read_spec(None).model_dump(mode="json"), {SERVER: RELEASE}))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_where_none_was_made_it_says_so(home: Home) -> None:
    with pytest.raises(Blocked, match="no stack has been bootstrapped in"):
        wanted.read(home)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"{}",
        b"\xff\xfe",
        json.dumps({"spec": {}, "releases": []}).encode(),
        json.dumps({"spec": {}, "releases": {"server": {"id": 1}}}).encode(),
        json.dumps({"spec": {}, "releases": {"server": "x"}}).encode(),
    ],
)
def test_damaged_is_said_with_a_way_out(home: Home, content: bytes) -> None:
    (home.root / wanted.FILE).write_bytes(content)
    with pytest.raises(Blocked, match="is damaged") as caught:
        wanted.read(home)
    assert "bootstrap" in caught.value.hint
