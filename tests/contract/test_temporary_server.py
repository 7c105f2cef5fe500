"""Whatever moment its launcher is killed at, the next one finds the temporary server; with real processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from blocks.agent import processes
from blocks.host import home as home_folder
from blocks.host import secret_files
from blocks.host.home import Home
from blocks.postgres import programs as postgres
from blocks.postgres.programs import Cluster
from blocks.temporary.server import TemporaryServer
from tests.postgres import SYSTEM_USER, free_port, reachable_programs
from tests.stack import eventually, processes_of

ROOT = Path(__file__).resolve().parents[2]
USER = SYSTEM_USER if os.geteuid() == 0 else ""
LAUNCHER = """
import os, signal, subprocess, sys, time
from pathlib import Path
from blocks.temporary import server as temporary_server
from blocks.host.home import Home

class Popen(subprocess.Popen):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        while len(sys.argv) > 2 and not Path(sys.argv[2]).exists():
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGKILL)

temporary_server.subprocess.Popen = Popen
home = Home(Path(sys.argv[1]))
temporary_server.TemporaryServer(home, "", home.bootstrap).start_server()
"""


@pytest.fixture
def home() -> Iterator[Home]:
    """A claimed home with secrets, which PostgreSQL's user can pass; no process of it is left."""
    with tempfile.TemporaryDirectory(prefix="sh-", dir="/tmp") as folder:
        Path(folder).chmod(0o711)
        made = Home(Path(folder) / "home")
        home_folder.claim(made, "trial")
        secret_files.ensure(made.secrets, secret_files.AUTH_STRING, secret_files.new_auth_string)
        secret_files.ensure(made.secrets, secret_files.ENCRYPTION_KEY, secret_files.new_encryption_key)
        yield made
        for pid in processes_of(made.root):
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def temporary(home: Home) -> Iterator[TemporaryServer]:
    made = TemporaryServer(home, USER, home.bootstrap)
    yield made
    made.stop()


def killed_launcher(*argv: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LAUNCHER, *argv], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


def test_the_record_is_of_the_server_and_ours_alone(temporary: TemporaryServer) -> None:
    temporary.folder.mkdir()
    temporary.log.touch(mode=0o644)  # an earlier one's
    url = temporary.start_server()
    file = temporary.folder / "server.json"
    record = json.loads(file.read_text())
    assert sorted(record) == ["boot_id", "database_port", "pid", "port", "start_time"]
    assert processes.from_data(record) == processes.record_of(record["pid"])
    assert {stat.S_IMODE(each.stat().st_mode) for each in (file, temporary.log)} == {0o600}
    assert temporary.url() == url and url.endswith(f":{record['port']}")
    environment = Path(f"/proc/{record['pid']}/environ").read_bytes().split(b"\0")
    assert {f"PREFECT_UI_URL={url}".encode(), f"PREFECT_SERVER_UI_API_URL={url}/api".encode()} <= set(environment)
    assert temporary.is_running()
    temporary.stop()
    assert not temporary.is_running()
    assert processes_of(temporary.home.root) == {}


def test_a_server_whose_launcher_was_killed_at_once_is_found(home: Home, temporary: TemporaryServer) -> None:
    killed_launcher(str(home.root), str(temporary.folder / "server.json"))
    assert temporary.is_running()
    temporary.stop()
    assert processes_of(home.root) == {}


def test_a_server_that_has_not_begun_when_its_launcher_is_killed_gives_up(
    home: Home, temporary: TemporaryServer
) -> None:
    killed_launcher(str(home.root))
    eventually(lambda: temporary.is_running() or not processes_of(home.root), "the end of it, or its record", 20)
    temporary.stop()
    assert processes_of(home.root) == {}


def test_what_a_killed_server_said_counts_no_more(temporary: TemporaryServer) -> None:
    temporary.folder.mkdir()
    (temporary.folder / "server-temporary.json").write_text('{"pid": 1}')
    temporary.start_server()
    assert not (temporary.folder / "server-temporary.json").exists()


def test_a_postgresql_nobody_noted_is_ended(temporary: TemporaryServer) -> None:
    folder = temporary.folder / "postgres"
    folder.mkdir(parents=True)
    temporary.folder.chmod(0o711)
    left = folder / "data-01234567/base"  # by an initdb whose launcher was killed
    left.mkdir(parents=True)
    with tempfile.TemporaryDirectory(prefix="sh-") as beside:
        Path(beside).chmod(0o711)
        cluster = Cluster(reachable_programs(Path(beside)), folder, free_port(), USER)
        cluster.initialise("secret")
        assert cluster.exists() and not left.parent.exists()
        orphan = cluster.start(temporary.folder / "postgres.log")
        assert stat.S_IMODE((temporary.folder / "postgres.log").stat().st_mode) == 0o600
        found = eventually(lambda: postgres.postmaster(cluster.data), "its pid file", 60)
        assert found == processes.record_of(orphan.pid)
        temporary.stop()
        assert orphan.wait(10) == 0
        assert not (cluster.data / "postmaster.pid").exists()


@pytest.mark.parametrize("text", ["", "x", "999999999\n", "1\n", "{pid}\n"])
def test_a_pid_file_of_a_dead_one_means_nobody(tmp_path: Path, text: str) -> None:
    (tmp_path / "postmaster.pid").write_text(text.format(pid=os.getpid()))
    assert postgres.postmaster(tmp_path) is None


def test_no_pid_file_no_postmaster(tmp_path: Path) -> None:
    assert postgres.postmaster(tmp_path / "absent") is None


def test_retired_at_one_stroke(home: Home, temporary: TemporaryServer, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary.prefect_home.mkdir(parents=True)
    (temporary.prefect_home / "file").touch()
    with monkeypatch.context() as killed:
        killed.setattr(shutil, "rmtree", _killed)
        with pytest.raises(KeyboardInterrupt):
            temporary.retire()
    assert not temporary.exists()
    assert (home.root / "bootstrap.retired/home/file").exists()
    temporary.retire()
    assert not (home.root / "bootstrap.retired").exists()


def test_a_new_start_sweeps_what_a_killed_retirement_left(home: Home, temporary: TemporaryServer) -> None:
    (home.root / "bootstrap.retired/home").mkdir(parents=True)
    temporary.start_server()
    assert not (home.root / "bootstrap.retired").exists()
    temporary.retire()
    temporary.retire()
    assert not temporary.exists() and processes_of(home.root) == {}


def _killed(*_: object) -> None:
    raise KeyboardInterrupt
