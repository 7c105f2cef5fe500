"""The exec wrapper and the job runner out of the bundle, without a service manager."""

from __future__ import annotations

import json
import os
import pwd
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from blocks.agent import processes
from blocks.agent.config import AgentConfig, Layout
from blocks.agent.definitions import Wanted, job_definition, service_definition
from blocks.agent.execution import backoff, failures_in_a_row
from blocks.agent.program import WAKE_SIGNAL
from blocks.agent.spec import Job, Service
from blocks.host.bundle import build_agent

SHOW = (
    "import json, os, signal; print(json.dumps({'env': dict(os.environ), 'pid': os.getpid(), 'uid': os.getuid(),"
    "'fds': sorted(map(int, os.listdir('/proc/self/fd')))[:-1], 'cwd': os.getcwd(), 'umask': os.umask(0),"
    "'ignored': [s for s in range(1, 32) if signal.getsignal(s) == signal.SIG_IGN],"
    "'blocked': [int(s) for s in signal.pthread_sigmask(signal.SIG_BLOCK, [])]}))"
)


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundle") / "agent.pyz"
    path.write_bytes(build_agent())
    return path


class Wrapped:
    def __init__(self, home: Path, archive: Path) -> None:
        self.layout = Layout(home)
        self.layout.make()
        self.home, self.archive = home, archive
        (home / "secrets").mkdir()
        self.config = AgentConfig(str(home), "circus", secrets=str(home / "secrets"), path="/usr/bin:/bin")

    def define(self, service: Service, digest: str = "d", **more: Any) -> None:
        definition = {**service_definition(Wanted(service, digest, ""), self.config), **more}
        self.layout.definition(service.name).write_text(json.dumps(definition))

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-I", "-S", str(self.archive), "exec", str(self.home), *arguments]

    def show(self, *sockets: str, **more: Any) -> dict[str, Any]:
        done = subprocess.run(self.command("service", "s", *sockets), capture_output=True, text=True, **more)
        assert done.returncode == 0, done.stdout
        shown: dict[str, Any] = json.loads(done.stdout)
        return shown

    def record(self) -> dict[str, Any]:
        try:
            data: dict[str, Any] = json.loads(self.layout.record("s").read_text())
        except FileNotFoundError:
            return {}
        return data


@pytest.fixture
def wrapped(tmp_path: Path, archive: Path) -> Wrapped:
    return Wrapped(tmp_path, archive)


def python(code: str) -> tuple[str, ...]:
    return ("/usr/bin/env", "python3", "-I", "-S", "-c", code)


def eventually(holds: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_bundle_is_the_same_each_time() -> None:
    assert build_agent() == build_agent()


def test_the_environment_is_clean_and_secrets_come_from_files(wrapped: Wrapped) -> None:
    (wrapped.home / "secrets" / "key").write_text("s3cret\n")
    wrapped.define(Service("s", python(SHOW), cwd="/usr", env={"A": "$B %d"}, secrets={"KEY": "key"}))
    dirty = {**os.environ, "PREFECT_API_URL": "x", "PYTHONDONTWRITEBYTECODE": "1", "TZ": "UTC"}
    shown = wrapped.show(env=dirty, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    environment = {key: value for key, value in shown["env"].items() if key not in ("LC_CTYPE", "TZ")}
    home = pwd.getpwuid(os.getuid()).pw_dir
    assert environment == {
        "A": "$B %d", "KEY": "s3cret", "HOME": home, "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8",
    }  # fmt: skip
    assert (shown["cwd"], shown["umask"], shown["fds"], shown["blocked"]) == ("/usr", 0o077, [0, 1, 2], [])
    assert signal.SIGINT not in shown["ignored"]
    record = wrapped.record()
    assert (record["pid"], record["digest"], record["held"]) == (shown["pid"], "d", False)
    assert "s3cret" not in wrapped.layout.definition("s").read_text()


def test_sockets_are_handed_over_as_systemd_does(wrapped: Wrapped) -> None:
    wrapped.define(Service("s", python(SHOW), sockets=("b", "a")))
    with socket.socket() as first, socket.socket() as second, socket.socket() as third:
        descriptors = [each.fileno() for each in (first, second, third)]
        handed = [f"{name}={each}" for name, each in zip("abc", descriptors, strict=True)]
        shown = wrapped.show(*handed, pass_fds=descriptors)
    assert shown["env"]["LISTEN_FDS"] == "2" and shown["env"]["LISTEN_FDNAMES"] == "b:a"
    assert shown["env"]["LISTEN_PID"] == str(shown["pid"])
    assert shown["fds"] == [0, 1, 2, 3, 4]


@pytest.mark.skipif(os.getuid() != 0, reason="only root can change user")
def test_no_privilege_is_left_to_a_service_with_a_user(wrapped: Wrapped) -> None:
    wrapped.define(Service("s", ("/bin/cat", "/proc/self/status"), user="nobody"))
    done = subprocess.run(wrapped.command("service", "s"), capture_output=True, text=True, check=True)
    status = dict(line.split(":\t", 1) for line in done.stdout.splitlines())
    assert status["NoNewPrivs"] == "1"
    assert {name: int(status[name], 16) for name in ("CapEff", "CapPrm", "CapInh", "CapAmb", "CapBnd")} == {
        "CapEff": 0, "CapPrm": 0, "CapInh": 0, "CapAmb": 0, "CapBnd": 0,
    }  # fmt: skip
    assert status["Groups"].split() == [str(pwd.getpwnam("nobody").pw_gid)]


@pytest.mark.skipif(os.getuid() != 0, reason="only root can change user")
def test_the_user_is_changed(wrapped: Wrapped) -> None:
    wrapped.define(Service("s", python(SHOW), user="nobody"))
    assert wrapped.show()["uid"] == pwd.getpwnam("nobody").pw_uid


@pytest.mark.parametrize(
    ("service", "message"),
    [
        (Service("s", ("/no/program",)), "cannot start s: /no/program: "),
        (Service("s", ("/bin/true",), cwd="/no/folder"), "/no/folder"),
        (Service("s", ("/bin/true",), user="no-such-user"), "there is no user no-such-user"),
        (Service("s", ("/bin/true",), secrets={"A": "gone"}), "secret "),
        (Service("s", ("/bin/true",), sockets=("web",)), "socket 'web' was not handed over"),
    ],
)
def test_what_cannot_start_says_so_in_one_line(wrapped: Wrapped, service: Service, message: str) -> None:
    wrapped.define(service)
    done = subprocess.run(wrapped.command("service", "s"), capture_output=True, text=True, check=False)
    assert done.returncode == 127 and done.stdout.count("\n") == 1 and message in done.stdout


def test_it_waits_for_permission_and_becomes_the_service_under_its_pid(wrapped: Wrapped) -> None:
    wrapped.define(Service("s", python(SHOW)), go=False)
    process = subprocess.Popen(wrapped.command("service", "s"), stdout=subprocess.PIPE, text=True)
    eventually(lambda: wrapped.record().get("held"))
    wrapped.define(Service("s", python(SHOW)), digest="other")
    process.send_signal(WAKE_SIGNAL)
    output, _ = process.communicate(timeout=10)
    assert json.loads(output)["pid"] == process.pid
    assert (wrapped.record()["held"], wrapped.record()["digest"]) == (False, "other")


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_a_waiting_wrapper_ends_at_once(wrapped: Wrapped, signum: signal.Signals) -> None:
    process = subprocess.Popen(wrapped.command("service", "s"))
    eventually(lambda: wrapped.record().get("held"))
    process.send_signal(signum)
    assert process.wait(timeout=10) == -signum


def test_quick_exits_are_counted_and_leftovers_of_the_last_process_ended(wrapped: Wrapped) -> None:
    left = "import subprocess as s; print(s.Popen(['/bin/sleep', '1000'], stdout=s.DEVNULL, stderr=s.DEVNULL).pid)"
    wrapped.define(Service("s", python(left)))
    left_behind = []
    for expected in (0, 1):
        done = subprocess.run(wrapped.command("service", "s"), stdout=subprocess.PIPE, start_new_session=True)
        left_behind.append(processes.record_of(int(done.stdout)))
        assert wrapped.record()["failures"] == expected
    assert not processes.is_alive(left_behind[0])
    assert processes.end(left_behind[1], signal.SIGKILL) is True


def test_backoff_grows_to_half_a_minute() -> None:
    assert [backoff(each) for each in (0, 1, 2, 3, 4, 9, 50)] == [0, 0, 0.25, 0.5, 1.0, 30.0, 30.0]


def test_failures_are_of_one_definition_and_of_short_lives() -> None:
    previous = {"digest": "d", "failures": 2, "started": 100.0, "held": False}
    assert failures_in_a_row(previous, "d", 101.0) == 3
    assert failures_in_a_row(previous, "other", 101.0) == 0
    assert failures_in_a_row(previous, "d", 200.0) == 0
    assert failures_in_a_row({**previous, "held": True}, "d", 101.0) == 2
    assert failures_in_a_row({}, "d", 1.0) == 0


def run_job(wrapped: Wrapped, code: str, run: str = "1") -> dict[str, Any]:
    definition = job_definition(Job("j", python(code), run), wrapped.config)
    (wrapped.layout.job_runs / "j.json").write_text(json.dumps(definition))
    subprocess.run(wrapped.command("job", "j"), check=False, timeout=20)
    result: dict[str, Any] = json.loads((wrapped.layout.job_runs / "j.result").read_text())
    return result


def test_a_job_tells_its_end_and_runs_once(wrapped: Wrapped) -> None:
    counter = wrapped.home / "count"
    code = f"open({str(counter)!r}, 'a').write('x'); print('y' * 5000 + 'end'); raise SystemExit(4)"
    first = run_job(wrapped, code)
    assert (first["exit_status"], len(first["output"]), first["output"][-4:]) == (4, 4096, "end\n")
    assert run_job(wrapped, code) == first and counter.read_text() == "x"
    assert run_job(wrapped, code, "2")["run"] == "2" and counter.read_text() == "xx"
    assert run_job(wrapped, "import os; os.kill(os.getpid(), 9)", "3")["exit_status"] == -9
