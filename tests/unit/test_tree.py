"""What holds for the whole tree: imports go one way, files stay readable, no address of ours gets in."""

from __future__ import annotations

import configparser
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

import pytest

ROOT = Path(__file__).resolve().parents[2]
LONGEST = {"flows": 400, "blocks": 400, "nginx": 400, ".ci": 400, "tests": 600}
"""Most lines of a file, by folder."""
LOCKS = {"uv.lock", "poetry.lock", "Pipfile.lock", "pdm.lock", "package-lock.json", "yarn.lock", "pnpm-lock.yaml"}
"""Locks that carry the addresses of whoever made them."""


@pytest.fixture(scope="module")
def tracked() -> list[Path]:
    """Every tracked file that is there."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode and "CI" not in os.environ:
        pytest.skip(f"not a git checkout: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    return [path for name in done.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def test_imports_go_one_way() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    program = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([program, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    said = " ".join(done.stdout.split())
    assert len(contracts) >= 3
    for contract in contracts:
        assert f"{contract['name']} KEPT" in said


def test_no_flow_builds_a_path_of_the_home(tracked: list[Path]) -> None:
    """What it needs of it the host has a method for, so that a flow does not know where on which machine that lies."""
    flows = [path for path in tracked if path.is_relative_to(ROOT / "flows") and path.suffix == ".py"]
    assert flows
    assert [str(path) for path in flows if re.search(r"(?<!blocks\.)\bhost\.home\b", path.read_text("utf-8"))] == []


def test_files_stay_readable(tracked: list[Path]) -> None:
    text = [path for path in tracked if path.suffix != ".xz"]
    code = [path for path in text if path.relative_to(ROOT).parts[0] in LONGEST]
    lines = {str(path.relative_to(ROOT)): len(path.read_bytes().splitlines()) for path in code}
    assert lines
    assert not {name: count for name, count in lines.items() if count > LONGEST[name.split("/")[0]]}


def test_tracks_no_lock_with_addresses(tracked: list[Path]) -> None:
    assert not [path for path in tracked if path.name in LOCKS]


def test_names_no_package_index(tracked: list[Path]) -> None:
    found = []
    for path in tracked:
        text = path.read_text("utf-8", errors="replace")
        found += [f"{path.relative_to(ROOT)}: {host}" for host in index_hosts() if host in text]
    assert not found


def index_hosts() -> set[str]:
    """Hosts of the public package indexes, put together here so that this file names none, and this machine's own."""
    public = {f"{name}.org" for name in ("py" + "pi", "files.python" + "hosted", "registry." + "npmjs")}
    own = {urlsplit(url).hostname for url in configured_indexes()}
    return {host for host in public | own if host and host not in ("127.0.0.1", "localhost")}


def configured_indexes() -> list[str]:
    """Addresses of indexes in the environment and in the configuration files of pip and uv."""
    found = [value for name, value in os.environ.items() if re.search(r"(INDEX|FIND_LINKS)", name)]
    pip = configparser.RawConfigParser(strict=False)
    pip.read([os.environ.get("PIP_CONFIG_FILE", ""), "/etc/pip.conf", Path.home() / ".config/pip/pip.conf"])
    found += [value for section in pip.sections() for _, value in pip.items(section)]
    uv = [Path("/etc/uv/uv.toml"), Path.home() / ".config/uv/uv.toml"]
    found += [path.read_text("utf-8") for path in uv if path.is_file()]
    return re.findall(r"https?://[^\s\"']+", " ".join(found))
