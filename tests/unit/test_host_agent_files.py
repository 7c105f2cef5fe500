"""Files and processes: what is written whole, and what is known to be ours."""

from __future__ import annotations

import os
import pwd
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from blocks.agent import processes
from blocks.agent.circus.manager import CircusManager
from blocks.agent.config import AgentConfig, Layout
from blocks.agent.convergence import Convergence
from blocks.agent.files import (
    ensure_file,
    ensure_folder,
    ensure_rendered,
    folder_trace,
    make_folders,
    open_lock,
    open_log,
    substitute,
    write_atomically,
)
from blocks.agent.jobs import Jobs
from blocks.agent.processes import ProcessRecord
from blocks.agent.secret_value import UnusableSecret, read
from blocks.agent.spec import File, Folder, HostSpec


def test_a_file_is_replaced_whole_and_nothing_is_left_beside(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("old")
    with path.open() as reader:
        write_atomically(path, b"new", 0o640)
        assert reader.read() == "old"
    assert path.read_bytes() == b"new" and stat.S_IMODE(path.stat().st_mode) == 0o640
    assert [each.name for each in tmp_path.iterdir()] == ["x"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.mkdir()
    (path / "inside").write_text("kept")
    with pytest.raises(OSError):
        write_atomically(path, b"new")
    assert (path / "inside").read_text() == "kept" and [each.name for each in tmp_path.iterdir()] == ["x"]


def test_a_reference_names_a_version(tmp_path: Path) -> None:
    for name, value in {"pw": "promoted", "pw@1": "first", "pw@7": "seventh"}.items():
        (tmp_path / name).write_text(value)
    file = File(str(tmp_path / "x.conf"), "${secret:pw@7} ${secret:pw@1} ${secret:pw}")
    assert ensure_rendered(file, tmp_path)[1] == b"seventh first promoted"
    with pytest.raises(UnusableSecret, match="there is no secret pw@2"):
        ensure_rendered(File(file.path, "${secret:pw@2}"), tmp_path)


def test_rendering_writes_only_what_differs(tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    file = File(str(tmp_path / "new" / "x.conf"), "password=${secret:pw}\n$PATH ${not:this}\n", mode=0o640)
    with pytest.raises(UnusableSecret, match="there is no secret pw"):
        ensure_rendered(file, tmp_path / "secrets")
    (tmp_path / "secrets" / "pw").write_text("hunter2\n")
    assert ensure_rendered(file, tmp_path / "secrets") == (True, b"password=hunter2\n$PATH ${not:this}\n")
    before = Path(file.path).stat()
    assert ensure_rendered(file, tmp_path / "secrets")[0] is False
    assert Path(file.path).stat().st_ino == before.st_ino
    Path(file.path).chmod(0o666)
    assert ensure_rendered(file, tmp_path / "secrets")[0] is True
    assert stat.S_IMODE(Path(file.path).stat().st_mode) == 0o640


def test_whatever_a_services_user_puts_in_a_files_place_is_not_read_and_replaced(tmp_path: Path) -> None:
    path, elsewhere = tmp_path / "prefect.toml", tmp_path / "elsewhere"
    write_atomically(elsewhere, b"wanted")

    def huge() -> None:
        path.touch()
        os.truncate(path, 1 << 40)

    for put in (huge, lambda: path.symlink_to(elsewhere), lambda: os.mkfifo(path, 0o600)):
        put()
        if not path.is_symlink():
            path.chmod(0o600)
        assert ensure_file(path, b"wanted") is True
        assert stat.S_ISREG(path.lstat().st_mode) and path.read_bytes() == b"wanted"
        path.unlink()


def test_what_nobody_foresaw_of_one_part_is_its_fault_and_the_others_are_made(tmp_path: Path) -> None:
    config, layout = AgentConfig(str(tmp_path), "circus", secrets=str(tmp_path)), Layout(tmp_path)
    convergence = Convergence(config, layout, CircusManager(config, layout, ()), Jobs(config, layout, ()), lambda: None)
    no_mode = 1 << 40
    bad = (Folder(str(tmp_path / "bad"), mode=no_mode), File(str(tmp_path / "bad.conf"), "x", mode=no_mode))
    good = (Folder(str(tmp_path / "good")), File(str(tmp_path / "good.conf"), "x"))
    convergence.take(HostSpec("t", 1, folders=(bad[0], good[0]), files=(bad[1], good[1])))
    assert [each.partition(": OverflowError: ")[0] for each in convergence.findings().file_faults] == [
        each.path for each in bad
    ]
    assert Path(good[0].path).is_dir() and Path(good[1].path).read_text() == "x"


def test_a_link_planted_while_a_parent_folder_is_made_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed, parent = tmp_path / "closed", tmp_path / "parent"
    closed.mkdir(mode=0o700)
    is_dir = Path.is_dir

    def planting(path: Path) -> bool:
        found = is_dir(path)
        if path == parent and not found:
            parent.symlink_to(closed)
        return found

    monkeypatch.setattr(Path, "is_dir", planting)
    make_folders(parent)
    assert parent.is_symlink() and stat.S_IMODE(closed.stat().st_mode) == 0o700


def test_a_folder_is_made_closed_and_mended(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path / "state" / "worker-a"))
    ensure_folder(folder)
    path = Path(folder.path)
    (path / "result").touch()
    left = folder_trace(path)
    path.chmod(0o777)
    assert folder_trace(path) != left
    ensure_folder(folder)
    assert folder_trace(path) == left and (path / "result").exists()


def test_no_link_is_followed_where_a_folder_should_be(tmp_path: Path) -> None:
    """A worker's own folder is its user's: root makes one in it, and must not be led elsewhere."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere").chmod(0o755)
    (tmp_path / "tmp").symlink_to("elsewhere")
    with pytest.raises(OSError):
        ensure_folder(Folder(str(tmp_path / "tmp")))
    assert stat.S_IMODE((tmp_path / "elsewhere").stat().st_mode) == 0o755


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_what_root_kept_in_a_folder_becomes_its_new_users_and_nothing_outside_of_it(tmp_path: Path) -> None:
    state, outside = tmp_path / "state", tmp_path / "outside"
    (state / "storage").mkdir(parents=True)
    for each in (outside, state / "storage" / "result"):
        each.touch()
    (state / "link").symlink_to(outside)
    (state / "second name").hardlink_to(outside)
    ensure_folder(Folder(str(state), user="nobody"))
    nobody = pwd.getpwnam("nobody").pw_uid
    found = {each.name for each in (state, *state.rglob("*")) if each.lstat().st_uid == nobody}
    assert found == {"state", "storage", "result", "link"}
    assert outside.stat().st_uid == 0


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"", "is empty"), (b"\n", "is empty"), (b" \t\n\n", "is empty"), (b"caf\xe9", "is no text in UTF-8")],
)
def test_a_secret_of_no_use_is_told_by_name_and_the_file_stays(tmp_path: Path, content: bytes, told: str) -> None:
    (tmp_path / "pw").write_bytes(b"hunter2\n")
    file = File(str(tmp_path / "x.conf"), "password=${secret:pw}\n")
    ensure_rendered(file, tmp_path)
    (tmp_path / "pw").write_bytes(content)
    with pytest.raises(UnusableSecret) as unusable:
        ensure_rendered(file, tmp_path)
    assert str(unusable.value) == f"the secret pw {told}"
    assert Path(file.path).read_text() == "password=hunter2\n"


def test_a_secret_keeps_its_own_spaces_and_a_folder_is_none(tmp_path: Path) -> None:
    (tmp_path / "pw").write_text(" a b \n")
    assert read(str(tmp_path / "pw")) == " a b "
    (tmp_path / "folder").mkdir()
    with pytest.raises(UnusableSecret, match="the secret folder cannot be read: Is a directory"):
        read(str(tmp_path / "folder"))


def test_logs_and_locks_are_closed_to_others_and_no_link_is_followed(tmp_path: Path) -> None:
    for name, opened in (("log", open_log), ("lock", open_lock)):
        path = tmp_path / name
        path.write_text("of an older stack")
        path.chmod(0o666)
        file = opened(path)
        os.close(file) if isinstance(file, int) else file.close()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        (tmp_path / "link").symlink_to(path)
        with pytest.raises(OSError, match="symbolic links"):
            opened(tmp_path / "link")
        (tmp_path / "link").unlink()
        assert path.read_text() == "of an older stack"


def test_a_secret_is_put_in_as_it_is() -> None:
    assert substitute("a ${secret:x-1.y}", lambda name: rf"\1${{secret:{name}}}") == r"a \1${secret:x-1.y}"


def test_a_process_is_known_by_its_start_time_too() -> None:
    mine = processes.current()
    assert processes.is_alive(mine)
    assert not processes.is_alive(mine._replace(start_time=mine.start_time + 1))
    assert not processes.is_alive(mine._replace(boot_id="another boot"))
    assert not processes.is_alive(ProcessRecord(0, 0)) and not processes.is_alive(None)
    assert processes.from_data(mine._asdict()) == mine
    assert processes.from_data({"pid": "x"}) is None
    assert processes.send(mine._replace(start_time=1), signal.SIGKILL) is False


def test_ending_goes_on_to_sigkill_and_takes_the_session_along() -> None:
    code = (
        "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(1000)'])\n"
        "print(child.pid, flush=True); time.sleep(1000)"
    )
    leader = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True)
    assert leader.stdout is not None
    child = processes.record_of(int(leader.stdout.readline()))
    record = processes.record_of(leader.pid)
    assert processes.has_children(leader.pid) and processes.session_members(leader.pid) == [child]
    assert {record, child} <= set(processes.descendants(os.getpid())) and processes.descendants(leader.pid) == [child]
    assert processes.end(record, signal.SIGTERM, timeout=0.1) is True
    assert leader.wait() == -signal.SIGKILL
    assert not processes.is_alive(child) and not processes.has_children(leader.pid)
    assert processes.end(record) is False
    leader.stdout.close()


def test_a_session_whose_number_was_a_dead_process_before_is_left_alone() -> None:
    code = "import subprocess, sys; child = subprocess.Popen(['sleep', '1000'], stdout=subprocess.DEVNULL); "
    code += "print(child.pid, flush=True); child.wait()"
    stranger = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True)
    assert stranger.stdout is not None
    child = processes.record_of(int(stranger.stdout.readline()))
    mine = processes.record_of(stranger.pid)
    dead = mine._replace(start_time=mine.start_time - 1)
    assert processes.end_session(dead, timeout=0.1) == 0 and processes.end(dead) is False
    assert processes.is_alive(mine) and processes.is_alive(child)
    stranger.kill()
    stranger.wait()
    assert processes.end_session(mine) == 1 and not processes.is_alive(child)
    stranger.stdout.close()


def test_a_strange_command_name_does_not_confuse(tmp_path: Path) -> None:
    program = tmp_path / "a) R 1 (b"
    program.symlink_to("/bin/sleep")
    child = subprocess.Popen([str(program), "1000"])
    try:
        assert processes.record_of(child.pid).pid == child.pid and processes.has_children(os.getpid())
    finally:
        child.kill()
        child.wait()
    assert not processes.is_alive(ProcessRecord(child.pid, 0))
