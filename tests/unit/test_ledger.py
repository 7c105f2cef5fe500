from __future__ import annotations

import importlib.metadata
import json
import stat
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from blocks import lease as leases
from blocks.agent.spec import Artifact, Release
from blocks.errors import Blocked, Conflict
from blocks.host.home import Home, claim
from blocks.ledger import CLOSED, WANTED, Ledger, Wanted
from blocks.local.object_store import LocalObjectStore
from blocks.spec import SERVER, TOOLS, build_spec, read_spec

RELEASE = Release("3.8.8-0123", Artifact("lock.txt", "0" * 64), smoke=("prefect",))
BOTH = {SERVER: RELEASE, TOOLS: RELEASE}
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def store(tmp_path: Path) -> LocalObjectStore:
    return LocalObjectStore(folder=tmp_path / "store")


@pytest.fixture
def ledger(store: LocalObjectStore) -> Ledger:
    return Ledger(store)


def plain(**given: Any) -> Mapping[str, Any]:
    return read_spec(None, {"name": "trial", **given}).model_dump(mode="json")


def rewrite(store: LocalObjectStore, **changes: Any) -> None:
    """Change what is wanted past the ledger."""
    path = store.folder / WANTED
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_nobody_has_an_identity_before_it_is_given(ledger: Ledger) -> None:
    assert ledger.identity() is None
    assert ledger.id == ""
    made = ledger.ensure_identity("trial", "abc")
    assert ledger.identity() == made and ledger.id == made.id and made.key == "abc"
    assert ledger.ensure_identity("trial", "another") == made


def test_what_is_found_outside_stays_until_it_is_said_anew(ledger: Ledger, store: LocalObjectStore) -> None:
    ledger.write_wanted(plain(), BOTH)
    assert ledger.wanted().found == {} and b"found" not in (store.folder / WANTED).read_bytes()
    ledger.write_wanted(plain(), BOTH, found={"database.address": "10.1.2.3"})
    ledger.write_wanted(plain(), BOTH, {"auth-string": 2})
    assert ledger.wanted().found == {"database.address": "10.1.2.3"}
    before = ledger.wanted().generation
    ledger.write_wanted(plain(), BOTH, found={"database.address": "10.1.2.3"})
    assert ledger.wanted().generation == before
    ledger.write_wanted(plain(), BOTH, found={})
    assert ledger.wanted().found == {}


def test_another_encryption_key_is_noted(ledger: Ledger) -> None:
    made = ledger.ensure_identity("trial", "abc")
    ledger.note_key("def")
    assert ledger.identity() == replace(made, key="def")


def test_a_stack_made_before_there_was_a_ledger_keeps_its_identity(store: LocalObjectStore, tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    claim(home, "trial")
    ledger = Ledger(store, home)
    found = ledger.identity()
    assert found is not None and (found.stack, found.id) == ("trial", home.identity())
    assert store.read("ledger/identity") is None  # who only looks writes nothing
    assert ledger.ensure_identity("trial", "abc") == replace(found, key="abc")
    home.mark.unlink()
    assert ledger.id == found.id


FORMER = {"spec": {"name": "trial"}, "releases": {"server": asdict(RELEASE)}}


def test_what_a_stack_made_before_kept_in_its_home_counts_until_something_is_written(
    store: LocalObjectStore, tmp_path: Path
) -> None:
    """It stays for the release before, which still runs, until the stack is in line."""
    former = tmp_path / "wanted.json"
    former.write_text(json.dumps(FORMER))
    ledger = Ledger(store, Home(tmp_path))
    assert ledger.has_wanted() and ledger.wanted() == Wanted({"name": "trial"}, {SERVER: RELEASE})
    ledger.close_former()
    assert former.read_text() == json.dumps(FORMER)  # the ledger does not say it yet
    ledger.write_wanted({"name": "trial"}, {SERVER: RELEASE})
    assert json.loads((store.folder / WANTED).read_text())["spec"] == FORMER["spec"]
    former.write_text("{")
    assert ledger.wanted().spec == {"name": "trial"}
    ledger.close_former()
    assert former.read_bytes() == CLOSED and stat.S_IMODE(former.stat().st_mode) == 0o600 and ledger.has_wanted()
    (store.folder / WANTED).unlink()
    assert not ledger.has_wanted(), "what closes it is nothing that is wanted"


def test_the_store_of_another_stack_is_refused(ledger: Ledger, store: LocalObjectStore) -> None:
    ledger.ensure_identity("trial")
    with pytest.raises(Blocked, match=f"{store.folder} holds the stack 'trial', not 'other'"):
        ledger.ensure_identity("other")


IDENTIFY = """
import sys
from pathlib import Path
from blocks.ledger import Ledger
from blocks.local.object_store import LocalObjectStore
ledger = Ledger(LocalObjectStore(folder=Path(sys.argv[1])))
print("ready", flush=True)
sys.stdin.readline()
print(ledger.ensure_identity("trial").id)
"""


def test_two_processes_that_begin_a_stack_agree_on_who_it_is(store: LocalObjectStore) -> None:
    argv = [sys.executable, "-c", IDENTIFY, str(store.folder)]
    both = [
        subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    for each in both:
        assert each.stdout is not None and each.stdout.readline() == "ready\n"
    said = {each.communicate("\n", timeout=30)[0].strip() for each in both}
    found = Ledger(store).identity()
    assert found is not None and said == {found.id}


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"stack": "trial"}', b'{"id": 1, "more": 2}'])
def test_a_damaged_identity_is_said_and_not_made_anew(store: LocalObjectStore, content: bytes) -> None:
    store.write("ledger/identity", content, if_generation=0)
    with pytest.raises(Blocked, match="is damaged"):
        Ledger(store).ensure_identity("trial")


def test_what_is_wanted_comes_back_as_it_was_written(ledger: Ledger, store: LocalObjectStore) -> None:
    spec = read_spec(None, {"name": "trial"})
    assert not ledger.has_wanted() and ledger.find_wanted() is None
    ledger.write_wanted(spec.model_dump(mode="json"), BOTH)
    found = ledger.wanted()
    assert ledger.has_wanted() and found == Wanted(spec.model_dump(mode="json"), BOTH)
    assert found.generation > 0 and found.selfhost == importlib.metadata.version("prefect-selfhost")
    assert build_spec(dict(found.spec), "the saved spec") == spec
    assert stat.S_IMODE((store.folder / WANTED).stat().st_mode) == 0o600  # workers' environments are in it


def test_the_promoted_versions_of_secrets_are_kept_and_before_there_were_any_each_is_the_first(
    ledger: Ledger, store: LocalObjectStore
) -> None:
    ledger.write_wanted(plain(), BOTH, {"auth-string": 7})
    assert ledger.wanted().secrets == {"auth-string": 7}
    ledger.write_wanted(plain(listen="0.0.0.0"), BOTH)
    assert ledger.wanted().secrets == {"auth-string": 7}
    data = json.loads((store.folder / WANTED).read_text())
    del data["secrets"]
    (store.folder / WANTED).write_text(json.dumps(data))
    assert ledger.wanted().secrets == {}


def test_what_is_wanted_already_is_not_written_again(ledger: Ledger) -> None:
    ledger.write_wanted(plain(), BOTH)
    before = ledger.wanted().generation
    ledger.write_wanted(dict(reversed(plain().items())), dict(reversed(BOTH.items())))
    assert ledger.wanted().generation == before
    ledger.write_wanted(plain(listen="0.0.0.0"), BOTH)
    assert ledger.wanted().generation > before


def test_promoted_versions_of_secrets_stay_where_nobody_names_others(ledger: Ledger) -> None:
    ledger.write_wanted(plain(), BOTH)
    assert ledger.wanted().secrets == {}
    ledger.write_wanted(plain(), BOTH, {"auth-string": 7})
    ledger.write_wanted(plain(listen="0.0.0.0"), BOTH)
    assert ledger.wanted().secrets == {"auth-string": 7}


def test_a_release_with_a_workers_own_packages_is_untrusted_where_it_was_not_said_yet(
    ledger: Ledger, store: LocalObjectStore
) -> None:
    workers = [{"name": "reports", "packages": ["pandas"]}, {"name": "default", "packages": []}]
    ledger.write_wanted({"workers": workers}, {**BOTH, "reports": RELEASE})
    releases = json.loads((store.folder / WANTED).read_text())["releases"]
    for each in releases.values():
        del each["untrusted"]
    rewrite(store, releases=releases)
    assert [name for name, each in ledger.wanted().releases.items() if each.untrusted] == ["reports"]


def test_where_nothing_is_wanted_it_says_so(ledger: Ledger) -> None:
    with pytest.raises(Blocked, match="no stack has been bootstrapped in"):
        ledger.wanted()


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
def test_damaged_is_said_with_a_way_out_and_written_anew(store: LocalObjectStore, content: bytes) -> None:
    ledger = Ledger(store)
    store.write(WANTED, content, if_generation=0)
    with pytest.raises(Blocked, match="is damaged") as caught:
        ledger.wanted()
    assert "bootstrap" in caught.value.hint
    ledger.write_wanted(plain(), BOTH)
    assert ledger.wanted().spec["name"] == "trial"


def test_an_older_selfhost_is_refused_but_for_taking_a_newer_one_back(ledger: Ledger, store: LocalObjectStore) -> None:
    """A laptop with an old checkout must not bring an older release back."""
    ledger.write_wanted(plain(), BOTH)
    rewrite(store, selfhost="99.1.0")
    with pytest.raises(Blocked, match=r"was last changed by selfhost 99\.1\.0") as caught:
        ledger.write_wanted(plain(listen="0.0.0.0"), BOTH)
    assert "bin/selfhost" in caught.value.hint
    ledger.write_wanted(plain(listen="0.0.0.0"), BOTH, back=True)
    assert ledger.wanted().spec["local"]["listen"] == "0.0.0.0"
    rewrite(store, selfhost="0.0.1")
    ledger.write_wanted(plain(), BOTH)


def test_nobody_writes_while_another_holds_the_lease(ledger: Ledger, store: LocalObjectStore) -> None:
    code = "import sys; from pathlib import Path; from blocks.ledger import Ledger; "
    code += "from blocks.local.object_store import LocalObjectStore; "
    code += "lease = Ledger(LocalObjectStore(folder=Path(sys.argv[1]))).acquire('upgrade'); "
    code += "print('held', flush=True); sys.stdin.read()"
    argv = [sys.executable, "-c", code, str(store.folder)]
    with subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        with pytest.raises(Conflict, match=rf"the lease is held by .*process {other.pid}\) .* for: upgrade"):
            ledger.write_wanted(plain(), BOTH)
    assert not ledger.has_wanted()
    ledger.write_wanted(plain(), BOTH)


def test_what_is_written_for_a_lease_that_was_lost_is_refused(ledger: Ledger, store: LocalObjectStore) -> None:
    """As by a launcher that slept through the end of its lease; the one that has it now goes on undisturbed."""
    with ledger.held("bootstrap"):
        ledger.write_wanted(plain(), BOTH)
        taken_over(store)
        with pytest.raises(Conflict, match="was lost: it is held by me@elsewhere"):
            ledger.write_wanted(plain(listen="0.0.0.0"), BOTH)
    assert ledger.wanted().spec["local"]["listen"] == "127.0.0.1"
    assert ledger.holder()["owner"] == "me@elsewhere"  # to give back what was lost takes nothing from another


def test_who_takes_the_lease_over_between_look_and_write_is_not_overwritten(
    ledger: Ledger, store: LocalObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ledger.held("bootstrap"):
        ledger.write_wanted(plain(), BOTH)
        look = ledger.require_lease

        def look_and_sleep() -> int:
            number = look()
            rewrite(store, spec={**plain(), "name": "theirs"})
            return number

        monkeypatch.setattr(ledger, "require_lease", look_and_sleep)
        with pytest.raises(Conflict, match="changed by somebody else"):
            ledger.write_wanted(plain(listen="0.0.0.0"), BOTH)
    assert ledger.wanted().spec["name"] == "theirs"


def taken_over(store: LocalObjectStore) -> None:
    """Somebody elsewhere has taken the lease."""
    found = store.read(leases.KEY)
    assert found is not None
    claim = {"owner": "me@elsewhere", "pid": 1, "start_time": 1, "boot_id": "another", "reason": "upgrade", "since": ""}
    store.write(leases.KEY, json.dumps(claim).encode(), if_generation=found.generation)
