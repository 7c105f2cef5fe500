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
from blocks.host import interpreter
from blocks.host.home import Home
from flows import requests

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
