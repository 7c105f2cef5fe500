"""What the launcher sets before Prefect is imported, as that Prefect then sees it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from blocks import ledgers
from blocks.agent.spec import Artifact, Release
from blocks.errors import Blocked
from blocks.host import interpreter, secret_files
from blocks.host.home import Home, claim
from blocks.ledger import Ledger
from blocks.signature import key_mark
from blocks.spec import build_spec
from flows import requests
from flows.cli import launch

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import json, sys
from blocks.host.home import Home
from blocks.site import here
from blocks.spec import read_spec
from flows.cli import launch
spec = read_spec(None, {"home": sys.argv[1], "public_url": sys.argv[2]})
launch.use_own_server(spec, Home(here(spec).home))
from prefect.settings import get_current_settings
print(json.dumps([get_current_settings().api.url, get_current_settings().ui_url]))
"""


def test_it_calls_the_stacks_server_by_its_port_and_shows_the_public_url(home: Home) -> None:
    (home.state / "launcher").mkdir(parents=True)
    shell = {**os.environ, "PYTHONPATH": str(ROOT), "PREFECT_UI_URL": "http://elsewhere"}
    argv = [sys.executable, "-c", SCRIPT, str(home.root), "https://prefect.example.org"]
    done = subprocess.run(argv, cwd=ROOT, env=shell, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == ["http://127.0.0.1:4201/api", "https://prefect.example.org"]


@pytest.mark.parametrize(("uid", "reads"), [(0, False), (1000, True)])
def test_root_reads_no_byte_code_of_a_workers_own_packages(
    uid: int, reads: bool, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = Artifact("lock.txt", "0" * 64)
    made = {name: Release(name, lock, untrusted=name == "reports") for name in ("server", "reports")}
    home.root.mkdir()
    ledgers.of(home).write_wanted({}, made)
    cut = {}
    for name in made:
        cut[name] = interpreter.site_packages(home.releases / name) / "__pycache__/cut.pyc"
        cut[name].parent.mkdir(parents=True)
        cut[name].touch()
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    requests.mend_releases(home)
    assert not cut["server"].exists()
    assert cut["reports"].exists() is not reads


@pytest.fixture
def lost(tmp_path: Path) -> tuple[Home, Ledger]:
    """A home that is not there, and the ledger of its stack outside of it, whose encryption key is `key`."""
    ledger = ledgers.of(Home(tmp_path / "home"), tmp_path / "store")
    ledger.ensure_identity("trial", key_mark("key"))
    return Home(tmp_path / "home"), ledger


def test_a_lost_home_wants_the_stacks_encryption_key_and_says_which_file(lost: tuple[Home, Ledger]) -> None:
    home, ledger = lost
    with pytest.raises(Blocked, match=rf"{home.root.parent}/store holds the stack 'trial', and .* was lost") as caught:
        launch.encryption_key(home, ledger, None)
    assert "--encryption-key-file FILE, with your copy of secrets/encryption-key" in caught.value.hint


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"another", "holds another stack's key"), (b"\xff", "cannot be read"), (None, "cannot be read")],
)
def test_another_key_makes_no_lost_home_again(
    lost: tuple[Home, Ledger], tmp_path: Path, content: bytes | None, said: str
) -> None:
    if content is not None:
        (tmp_path / "key").write_bytes(content)
        (tmp_path / "key").chmod(0o600)
    with pytest.raises(Blocked, match=said):
        launch.encryption_key(*lost, tmp_path / "key")


def test_a_home_that_is_made_again_is_the_same_stack_and_finds_its_store(
    lost: tuple[Home, Ledger], tmp_path: Path
) -> None:
    home, ledger = lost
    (tmp_path / "key").write_text("key\n")
    (tmp_path / "key").chmod(0o600)
    assert launch.encryption_key(home, ledger, tmp_path / "key") == "key"
    claim(home, "trial", ledger.id, tmp_path / "store")
    assert (home.identity(), home.store) == (ledger.id, tmp_path / "store")
    assert ledgers.of(home).id == ledger.id
    spec = build_spec({"local": {"home": str(home.root), "store": str(tmp_path / "store")}}, "test")
    launch.require_its_store(spec, home)
    with pytest.raises(Blocked, match=f"the stack's store is {tmp_path}/store, not {home.root}/store"):
        launch.require_its_store(build_spec({"local": {"home": str(home.root)}}, "test"), home)


def test_a_new_stack_and_one_whose_key_is_there_need_no_key_file(home: Home, tmp_path: Path) -> None:
    assert launch.encryption_key(home, ledgers.of(home), None) == ""
    claim(home, "trial")
    assert launch.encryption_key(home, ledgers.of(home), None) == "", "a bootstrap was killed before it made the key"
    ledgers.of(home).ensure_identity("trial", key_mark("key"))
    secret_files.ensure(home.secrets, secret_files.ENCRYPTION_KEY, lambda: "key")
    assert launch.encryption_key(home, ledgers.of(home), None) == ""
