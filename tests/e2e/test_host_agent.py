"""The host agent as it is shipped: a zip under `python -I -S`, a real circusd, real processes."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from blocks.host.agent import processes
from blocks.host.agent.files import write_atomically
from blocks.host.agent.spec import (
    Artifact,
    File,
    Health,
    Job,
    Release,
    Service,
    Socket,
)
from tests import disk
from tests.agent import PATIENCE, SLEEPER, Host, eventually, python, sleeper

pytestmark = pytest.mark.e2e

SERVER = """
import os, signal, socket
assert os.environ["LISTEN_FDS"] == "1" and os.environ["LISTEN_PID"] == str(os.getpid())
assert os.environ["LISTEN_FDNAMES"] == "web"
listening = socket.socket(fileno=3)
assert not os.get_blocking(3) and sorted(map(int, os.listdir("/proc/self/fd")))[:4] == [0, 1, 2, 3]
assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
listening.setblocking(True)  # Nobody else accepts on it in this test.
while True:
    connection, _ = listening.accept()
    connection.recv(1000)
    body = f"{os.getpid()} {os.environ['GREETING']} {os.environ['TOKEN']} {sorted(os.environ)}"
    connection.sendall(f"HTTP/1.1 200 OK\\r\\nContent-Length: {len(body)}\\r\\n\\r\\n{body}".encode())
    connection.close()
"""

RELOADER = """
import signal, sys, pathlib
def load(*_):
    pathlib.Path(sys.argv[2]).write_text(pathlib.Path(sys.argv[1]).read_text())
load()
signal.signal(signal.SIGHUP, load)
while True:
    signal.pause()
"""

WORKER = """
import pathlib, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(10_000)"])
pathlib.Path(sys.argv[1]).write_text(str(child.pid))
child.wait()
time.sleep(10_000)
"""


@contextmanager
def hosted(folder: Path) -> Iterator[Host]:
    """A host in a folder, which is stopped in the end and leaves nothing that runs."""
    host = Host(folder)
    yield host
    done = host.agent("stop")
    assert done.returncode == 0, done.stderr
    assert host.processes() == []


@pytest.fixture
def host() -> Iterator[Host]:
    # Not tmp_path: its length would leave no room for control sockets.
    with tempfile.TemporaryDirectory(prefix="agent-") as folder, hosted(Path(folder).resolve()) as host:
        yield host


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def get(port: int, timeout: float = PATIENCE) -> str:
    with socket.create_connection(("127.0.0.1", port), timeout) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
        received = b""
        while block := connection.recv(4096):
            received += block
    return received.partition(b"\r\n\r\n")[2].decode()


def web(port: int, greeting: str = "hello", **more: Any) -> Service:
    return Service(
        "web",
        python(SERVER),
        env={"GREETING": greeting},
        secrets={"TOKEN": "token"},
        sockets=("web",),
        health=Health("http", port=port, interval=0.1),
        **more,
    )


def test_services_start_in_order_with_sockets_secrets_and_a_clean_environment(host: Host) -> None:
    port = free_port()
    host.secret("token", "s3cret")
    host.want(
        sockets=(Socket("web", "127.0.0.1", port),),
        services=(web(port, after=("first",)), sleeper("first", health=Health(interval=0.1))),
    )
    began = time.monotonic()
    pid = host.start()
    status = host.converged()
    print(f"start until converged: {time.monotonic() - began:.2f} s")
    assert host.start() == pid == status.agent_pid
    answer = get(port)
    assert "hello s3cret" in answer
    assert "PYTHONDONTWRITEBYTECODE" not in answer and "PREFECT" not in answer
    assert int(answer.split()[0]) == host.service("web").pid
    assert (host.layout.log("first").stat().st_mode & 0o777) == 0o600
    assert "up" in host.layout.log("first").read_text()
    command = Path(f"/proc/{host.service('web').pid}/cmdline").read_bytes()
    assert b"s3cret" not in command


def test_a_crash_is_respawned_and_a_change_touches_only_what_changed(host: Host) -> None:
    quick = Health(interval=0.1)
    host.want(services=(sleeper("one", health=quick), sleeper("two", health=quick)))
    host.start()
    host.converged()
    one, two = host.service("one").pid, host.service("two").pid

    os.kill(one, signal.SIGKILL)
    eventually(lambda: host.service("one").pid not in (0, one), "another process")
    host.converged()

    one = host.service("one").pid
    host.want(services=(sleeper("one", health=quick, env={"CHANGED": "1"}), sleeper("two", health=quick)))
    host.converged()
    assert host.service("one").pid != one
    assert host.service("two").pid == two
    assert b"CHANGED=1" in Path(f"/proc/{host.service('one').pid}/environ").read_bytes()

    # How it is watched changes nothing of the process.
    host.want(services=(sleeper("two", health=Health(interval=0.2), stop_timeout=5.0),))
    host.converged()
    assert [(each.name, each.pid) for each in host.status().services] == [("two", two)]
    assert not host.layout.definition("one").exists()


def test_connections_wait_while_the_service_is_stopped_and_a_socket_can_move(host: Host) -> None:
    port, other = free_port(), free_port()
    held = Socket("web", "127.0.0.1", port)
    host.secret("token", "t")
    host.want(sockets=(held,), services=(web(port), sleeper("bystander")))
    host.start()
    host.converged()
    bystander = host.service("bystander").pid

    host.want(sockets=(held,), services=(sleeper("bystander"),))
    host.converged()
    with socket.create_connection(("127.0.0.1", port), 5) as waiting:
        waiting.sendall(b"GET / HTTP/1.1\r\n\r\n")
        host.want(sockets=(held,), services=(web(port, "again"), sleeper("bystander")))
        host.converged()
        assert b"again" in waiting.recv(4096)

    host.want(sockets=(Socket("web", "127.0.0.1", other),), services=(web(other, "moved"), sleeper("bystander")))
    host.converged()
    assert "moved" in get(other)
    with pytest.raises(ConnectionRefusedError):
        get(port)
    assert host.service("bystander").pid == bystander


def test_a_taken_port_is_told_and_stops_nothing_else(host: Host) -> None:
    host.secret("token", "t")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        held = Socket("web", "127.0.0.1", port)
        host.want(sockets=(held,), services=(web(port), sleeper("bystander")))
        host.start()
        host.state("bystander", "ready")
        message = host.state("web", "pending").message
        assert message == f"cannot listen on 127.0.0.1:{port}: Address already in use"
    host.converged()
    assert "hello" in get(port)


def test_a_changed_file_reloads_or_restarts_what_reads_it(host: Host) -> None:
    config, seen, other = host.home / "a.conf", host.home / "seen", host.home / "b.conf"

    def want(first: str, second: str) -> None:
        host.want(
            files=(File(str(config), f"{first} ${{secret:pw}}"), File(str(other), second, mode=0o644)),
            services=(
                Service(
                    "reloads",
                    python(RELOADER, str(config), str(seen)),
                    files=(str(config),),
                    reload_signal="SIGHUP",
                ),
                sleeper("restarts", files=(str(other),)),
            ),
        )

    want("1", "1")
    host.start()
    missing = eventually(lambda: (c := host.condition("Converged")) and "secret" in c.message and c, "a hint")
    assert missing.reason == "FilesFailed" and f"{config}: there is no secret pw" in missing.message
    assert host.service("reloads").state == "pending"
    host.secret("pw", "hunter2\n")
    os.kill(host.status().agent_pid, signal.SIGHUP)
    host.converged()
    assert config.stat().st_mode & 0o777 == 0o600 and other.stat().st_mode & 0o777 == 0o644
    assert seen.read_text() == "1 hunter2"
    reloads, restarts = host.service("reloads").pid, host.service("restarts").pid

    want("2", "1")
    eventually(lambda: seen.read_text() == "2 hunter2", "the reload")
    host.converged()
    assert (host.service("reloads").pid, host.service("restarts").pid) == (reloads, restarts)

    want("2", "2")
    host.converged()
    assert host.service("reloads").pid == reloads and host.service("restarts").pid != restarts
    for path in (host.layout.status, *host.layout.logs.iterdir(), *host.layout.services.iterdir()):
        assert "hunter2" not in path.read_text()


def test_a_worker_is_restarted_only_when_idle(host: Host) -> None:
    child_file = host.home / "child"
    worker = Service("worker", python(WORKER, str(child_file)), restart="when-idle")
    host.want(services=(worker,))
    host.start()
    host.converged()
    pid = host.service("worker").pid
    child = int(eventually(lambda: child_file.exists() and child_file.read_text(), "the child"))

    host.want(services=(dataclasses.replace(worker, env={"CHANGED": "1"}),))
    assert host.state("worker", "waiting-idle").pid == pid
    os.kill(child, signal.SIGKILL)
    host.converged()
    assert host.service("worker").pid != pid


def test_a_worker_that_is_no_longer_wanted_ends_only_when_idle(host: Host) -> None:
    child_file = host.home / "child"
    host.want(services=(Service("worker", python(WORKER, str(child_file)), restart="when-idle"), sleeper("other")))
    host.start()
    host.converged()
    pid = host.service("worker").pid
    child = int(eventually(lambda: child_file.exists() and child_file.read_text(), "the child"))

    host.want(services=(sleeper("other"),))
    assert host.state("worker", "waiting-idle").pid == pid
    os.kill(child, signal.SIGKILL)
    host.converged()
    assert [each.name for each in host.status().services] == ["other"]


def test_a_job_runs_once_for_each_run_and_tells_its_end(host: Host) -> None:
    ran = host.home / "ran"
    code = "import os, sys; open(sys.argv[1], 'a').write('x'); print('told', os.environ['PW'][:2]); sys.exit(3)"
    host.secret("pw", "hunter2")
    job = Job("migrate", python(code, str(ran)), run="1", secrets={"PW": "pw"}, after=("base",))
    slow = Job("slow", python(SLEEPER), run="1", timeout=0.3)
    base = sleeper("base")
    host.want(services=(base,), jobs=(job, slow))
    host.start()
    eventually(lambda: [each.state for each in host.status().jobs] == ["failed"] * 2, "the end of both")
    failed = host.condition("JobsDone")
    assert failed.reason == "Failed" and "failed: migrate, slow; see the output" in failed.message
    told = {each.name: each for each in host.status().jobs}
    assert (told["migrate"].exit_status, told["migrate"].output) == (3, "told hu\n")
    assert told["slow"].exit_status == -signal.SIGTERM and "longer than 0.3 s" in told["slow"].output

    # Another agent remembers; the same run is never run twice, another one is.
    os.kill(host.status().agent_pid, signal.SIGKILL)
    fine = dataclasses.replace(job, argv=python(code.replace("exit(3)", "exit(0)"), str(ran)), run="2")
    host.want(services=(base,), jobs=(job,))
    host.start()
    eventually(lambda: host.status().observed_generation == host.generation, "the new spec")
    assert [each.state for each in host.status().jobs] == ["failed"]
    host.want(services=(base,), jobs=(fine,))
    host.converged()
    assert ran.read_text() == "xx"


def test_a_job_outlives_the_spec_that_listed_it_and_its_name_runs_again(host: Host) -> None:
    """As a restore does: what it has the host stop and start are later generations, which know nothing of it."""
    go, done = host.home / "go", host.home / "done"
    code = (
        "import pathlib, sys, time\nprint('begun', flush=True)\n"
        "while not pathlib.Path(sys.argv[1]).exists(): time.sleep(0.02)\npathlib.Path(sys.argv[2]).write_text('x')"
    )
    job = Job("restore", python(code, str(go), str(done)), run="1")
    log = host.home / "logs/job-restore.log"
    base = sleeper("base")
    host.want(services=(base,), jobs=(job,))
    host.start()
    eventually(lambda: log.exists() and log.read_text(), "the job")
    for services in ((), (base,)):
        host.want(services=services)
        host.converged()
    assert not done.exists()
    go.touch()
    eventually(done.exists, "the end of the job")
    done.unlink()
    host.want(services=(base,), jobs=(dataclasses.replace(job, run="2"),))
    host.converged()
    assert done.exists() and [each.state for each in host.status().jobs] == ["succeeded"]


def test_a_bad_spec_keeps_the_last_good_one(host: Host) -> None:
    host.want(services=(sleeper("one"),))
    host.start()
    host.converged()
    pid = host.service("one").pid
    write_atomically(host.layout.spec, b'{"stack": "s", "generation": 9, "colour": 1}', 0o600)
    bad = eventually(lambda: (c := host.condition("Converged")) and not c.status and c, "the refusal")
    assert bad.reason == "InvalidSpec" and "$.colour: unknown key" in bad.message
    assert host.status().observed_generation == 1

    # A new agent starts from the last good one as well.
    os.kill(host.status().agent_pid, signal.SIGKILL)
    agent = host.start()
    eventually(lambda: (s := host.status()).agent_pid == agent and s.conditions, "its status")
    assert host.service("one").pid == pid and host.status().observed_generation == 1
    host.want(services=(sleeper("one"),))
    host.converged()


def test_killed_agent_and_killed_circusd_are_survived(host: Host) -> None:
    port = free_port()
    held = Socket("web", "127.0.0.1", port)
    host.secret("token", "t")
    host.want(sockets=(held,), services=(web(port), sleeper("one")))
    host.start()
    host.converged()
    pids, circusd = (host.service("web").pid, host.service("one").pid), host.circusd()

    os.kill(host.status().agent_pid, signal.SIGKILL)
    agent = host.start()
    eventually(lambda: host.status().agent_pid == agent, "the new agent")
    host.want(sockets=(held,), services=(web(port), sleeper("one"), sleeper("two")))
    host.converged()
    assert (host.service("web").pid, host.service("one").pid) == pids and host.circusd() == circusd

    orphans = [processes.record_of(pid) for pid in pids]
    os.kill(circusd, signal.SIGKILL)
    eventually(lambda: host.service("web").pid not in (0, *pids), "another server")
    host.converged()
    assert host.circusd() != circusd and "hello" in get(port)
    assert not any(processes.is_alive(each) for each in orphans)

    second = subprocess.run(
        [sys.executable, "-I", "-S", str(host.layout.archive), "run", "--home", str(host.home)],
        capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    assert (second.returncode, second.stderr) == (1, f"agent: another agent runs for {host.home}\n")


@pytest.mark.parametrize("name", ["circus.loaded", "circus.ini"])
def test_a_damaged_note_of_what_circus_has_loaded_stops_nothing(host: Host, name: str) -> None:
    port = free_port()
    host.secret("token", "t")
    held = Socket("web", "127.0.0.1", port)
    host.want(sockets=(held,), services=(web(port),))
    agent = host.start()
    host.converged()
    before, text = host.service("web").pid, (host.layout.run / name).read_bytes()

    (host.layout.run / name).write_bytes(b"rubbish, not an ini")
    host.want(sockets=(held,), services=(web(port), sleeper("second")))
    host.converged()
    assert host.start() == agent
    assert int(get(port).split()[0]) == before
    assert (host.layout.run / name).read_bytes().startswith(text[:8])


def test_a_full_disk_does_not_end_it_and_with_room_it_goes_on() -> None:
    with (
        tempfile.TemporaryDirectory(prefix="agent-") as folder,
        disk.mounted(Path(folder), "size=16m,mode=0700"),
        hosted(Path(folder)) as host,
    ):
        host.want(services=(sleeper("one"),))
        agent = processes.record_of(host.start())
        host.converged()
        first = host.service("one").pid
        disk.fill(host.home)
        os.kill(first, signal.SIGKILL)  # which the agent has to report
        time.sleep(2)
        assert processes.is_alive(agent)
        disk.make_room(host.home)
        eventually(lambda: host.service("one").pid not in (0, first), "another process")
        host.want(services=(sleeper("one"), sleeper("two")))
        host.converged()
        assert processes.is_alive(agent)
        assert "No space left on device" in (host.layout.log("agent")).read_text()


@pytest.mark.parametrize(
    ("content", "told"), [(b"", "is empty"), (b" \n", "is empty"), (b"caf\xe9", "is no text in UTF-8")]
)
def test_a_secret_of_no_use_is_told_and_what_runs_goes_on(host: Host, content: bytes, told: str) -> None:
    config, secret = host.home / "a.conf", host.home / "secrets/pw"
    port = free_port()
    host.secret("pw", "hunter2")
    host.secret("token", "s3cret")

    def want(first: str) -> None:
        reader = sleeper("reader", files=(str(config),), health=Health(interval=0.1))
        held = (Socket("web", "127.0.0.1", port),)
        host.want(sockets=held, files=(File(str(config), f"{first} ${{secret:pw}}"),), services=(web(port), reader))

    want("1")
    agent = processes.record_of(host.start())
    host.converged()
    reader, server = host.service("reader").pid, host.service("web").pid
    for path in (secret, host.home / "secrets/token"):
        write_atomically(path, content, 0o600)
    want("2")
    fault = eventually(lambda: (c := host.condition("Converged")) and not c.status and c, "the fault")
    assert (fault.reason, fault.message) == ("FilesFailed", f"{config}: the secret pw {told}")
    assert host.service("reader").pid == reader and config.read_text() == "1 hunter2"

    os.kill(server, signal.SIGKILL)  # what is started with the other one waits for it
    eventually(lambda: f"the secret token {told}" in host.service("web").message, "the reason")
    assert host.service("web").state == "pending"

    os.kill(agent.pid, signal.SIGKILL)
    second = processes.record_of(host.start())
    host.state("reader", "ready")
    assert processes.is_alive(second) and host.service("reader").pid == reader
    host.secret("pw", "hunter3")
    host.secret("token", "s3cret")
    host.converged()
    assert config.read_text() == "2 hunter3" and "s3cret" in get(port) and processes.is_alive(second)


def test_what_nobody_thought_of_is_told_once_and_the_agent_goes_on(host: Host) -> None:
    host.want(services=(sleeper("one", health=Health(interval=0.1)),))
    agent = processes.record_of(host.start())
    host.converged()
    record = host.layout.record("one")
    whole = record.read_bytes()
    record.write_text(json.dumps({**json.loads(whole), "failures": "rubbish"}))
    host.want(services=(sleeper("one", health=Health(interval=0.2)),))
    fault = eventually(lambda: (c := host.condition("Converged")) and c.reason == "AgentFailed" and c, "the fault")
    assert "ValueError: invalid literal" in fault.message
    time.sleep(2)
    assert processes.is_alive(agent)
    assert host.layout.log("agent").read_text().count("Traceback") == 1
    os.kill(agent.pid, signal.SIGKILL)
    second = processes.record_of(host.start())
    eventually(lambda: host.status().agent_pid == second.pid, "its status")
    assert host.condition("Converged").reason == "AgentFailed"
    write_atomically(record, whole, 0o600)
    host.converged()
    assert processes.is_alive(second)


def test_a_host_without_room_for_a_thread_is_told_and_checked_later(host: Host) -> None:
    port = free_port()
    listens = "import socket, time; s = socket.create_server(('127.0.0.1', int(__import__('sys').argv[1]))); "
    service = Service("one", python(listens + "time.sleep(10_000)", str(port)), health=Health(interval=0.1))
    host.want(services=(service,))
    agent = processes.record_of(host.start())
    host.converged()
    size = int(Path(f"/proc/{agent.pid}/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    before = resource.prlimit(agent.pid, resource.RLIMIT_AS, (size + 4_000_000, resource.RLIM_INFINITY))
    # Another check needs no other process, and circusd starts the next one: the agent itself starts none.
    host.want(services=(dataclasses.replace(service, health=Health("tcp", port=port, interval=0.1, timeout=0.3)),))
    eventually(lambda: host.status().observed_generation == host.generation, "the new spec")
    os.kill(host.service("one").pid, signal.SIGKILL)
    eventually(lambda: "can't start new thread" in host.condition("Converged").message, "the fault")
    time.sleep(1)
    assert processes.is_alive(agent)
    resource.prlimit(agent.pid, resource.RLIMIT_AS, before)
    host.converged()
    assert processes.is_alive(agent) and host.state("one", "ready")


def test_what_keeps_ending_is_failed_with_the_end_of_its_log(host: Host) -> None:
    bad = Service("bad", python("print('no disk'); raise SystemExit(1)"), health=Health(interval=0.1))
    absent = Service("absent", ("/nowhere/program",), health=Health(interval=0.1))
    host.want(services=(bad, absent, sleeper("good"), sleeper("later", after=("bad",))))
    host.start()
    assert "no disk" in host.state("bad", "failed").message
    assert "cannot start absent: /nowhere/program: " in host.state("absent", "failed").message
    assert host.state("good", "ready") and host.service("later").state == "pending"
    host.want(services=(sleeper("bad"), sleeper("good"), sleeper("later", after=("bad",))))
    host.converged()


def test_stop_ends_services_before_what_they_need_and_leaves_no_process(host: Host) -> None:
    order = host.home / "order"
    code = (
        "import signal, subprocess, sys, time\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(10000)'])\n"
        "def end(*_):\n"
        "    time.sleep(0.1); open(sys.argv[1], 'a').write(sys.argv[2]); sys.exit()\n"
        "signal.signal(getattr(signal, sys.argv[3]), end)\n"
        "while True: signal.pause()\n"
    )

    def service(name: str, stop_signal: str = "SIGTERM", **more: Any) -> Service:
        return Service(name, python(code, str(order), name, stop_signal), stop_signal=stop_signal, **more)

    deaf = Service("z", python("import signal; signal.signal(15, signal.SIG_IGN)\nwhile 1: signal.pause()"))
    host.want(
        services=(
            service("c", after=("b",)),
            service("b", after=("a",)),
            service("a", "SIGINT"),
            dataclasses.replace(deaf, stop_timeout=0.5),
        )
    )
    host.start()
    host.converged()
    time.sleep(0.2)
    assert host.agent("stop").returncode == 0
    assert order.read_text() == "cba"
    assert host.processes() == []
    assert {each.state for each in host.status().services} == {"stopped"}
    assert host.condition("Converged").reason == "Stopped"
    assert host.agent("stop").returncode == 0

    host.start()
    host.want(services=(service("a", "SIGINT"),))
    host.converged()


def test_a_service_waits_for_its_release_and_a_broken_one_stops_nothing(host: Host) -> None:
    lock = b"# nothing but the environment\n"
    digest = hashlib.sha256(lock).hexdigest()
    uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    release = Release("1.0-a", sys.executable, uv, Artifact("lock.txt", digest))
    broken = dataclasses.replace(release, id="1.0-b", lock=Artifact("lock.txt", "0" * 64))
    inside = (str(host.layout.releases / "1.0-a" / "bin" / "python"), "-c", SLEEPER)
    services = (Service("released", inside), sleeper("independent"))

    host.want(releases=(release, broken), services=services)
    host.start()
    host.state("independent", "ready")
    assert host.service("released").message == "waits for release 1.0-a"
    eventually(lambda: (c := host.condition("ReleasesInstalled")) and c.reason == "InstallFailed", "a failure")
    assert "release 1.0-b: lock.txt is not in the store" in host.condition("ReleasesInstalled").message
    write_atomically(host.home / "store" / "sha256" / digest, lock)
    host.want(releases=(release,), services=services)
    status = host.converged()
    assert status.releases == ("1.0-a",) and host.service("released").state == "ready"


def test_wrong_calls_and_homes_are_one_line(host: Host) -> None:
    assert host.agent("dance").returncode == 2
    nowhere = [sys.executable, "-I", "-S", str(host.layout.archive), "start", "--home", "/nowhere/at/all"]
    done = subprocess.run(nowhere, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "has this home been set up" in done.stderr
    assert host.agent("status").returncode == 1


def test_idle_it_costs_next_to_nothing(host: Host) -> None:
    host.want(services=tuple(sleeper(f"s{index}") for index in range(7)))
    pid = host.start()
    host.converged()
    before, began = cpu(pid), time.monotonic()
    time.sleep(2.0)
    share = (cpu(pid) - before) / (time.monotonic() - began)
    resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    print(f"idle agent: {resident / 1e6:.1f} MB, {share:.2%} CPU; circusd: {cpu(host.circusd()):.2f} s")
    assert resident <= 25e6
    assert host.agent("status").stdout == host.layout.status.read_text() + "\n"


def cpu(pid: int) -> float:
    """Seconds of CPU so far, to the nanosecond, of all its threads."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9
