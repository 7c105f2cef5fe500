"""The host agent as it is shipped: a zip under `python -I -S`, a real circusd, real processes."""

from __future__ import annotations

import dataclasses
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from blocks.agent.spec import (
    File,
    Health,
    Job,
    Service,
    Socket,
)
from tests.agent import PATIENCE, SLEEPER, SYSTEMD, Host, eventually, python, sleeper

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
signal.signal(signal.SIGHUP, load)
load()
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
    assert "up" in host.log("first")
    assert SYSTEMD or (host.layout.log("first").stat().st_mode & 0o777) == 0o600
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
    eventually(lambda: seen.exists() and seen.read_text() == "1 hunter2", "what it read")
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


def test_a_job_outlives_the_agent_that_started_it(host: Host) -> None:
    ready, go = host.home / "ready", host.home / "go"
    code = "import pathlib, sys, time; ready, go = map(pathlib.Path, sys.argv[1:]); ready.touch()\n"
    code += "while not go.exists(): time.sleep(0.05)\nprint('done')"
    host.want(jobs=(Job("migrate", python(code, str(ready), str(go)), run="1"),))
    agent = host.start()
    eventually(ready.exists, "the job")
    os.kill(agent, signal.SIGKILL)
    host.start()
    go.touch()
    eventually(lambda: [each.state for each in host.status().jobs] == ["succeeded"], "its end")
    assert host.status().jobs[0].output == "done\n"


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


def test_stop_ends_services_level_by_level_each_at_once_and_leaves_no_process(host: Host) -> None:
    order = host.home / "order"
    code = (
        "import signal, subprocess, sys, time\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(10000)'])\n"
        "def say(what): open(sys.argv[1], 'a').write(what)\n"
        "def end(*_): say('-' + sys.argv[2]); time.sleep(0.5); say('+' + sys.argv[2]); sys.exit()\n"
        "signal.signal(getattr(signal, sys.argv[3]), end)\n"
        "while True: signal.pause()\n"
    )

    def service(name: str, stop_signal: str = "SIGTERM", **more: Any) -> Service:
        return Service(name, python(code, str(order), name, stop_signal), stop_signal=stop_signal, **more)

    deaf = Service("z", python("import signal; signal.signal(15, signal.SIG_IGN)\nwhile 1: signal.pause()"))
    host.want(
        services=(
            service("a", "SIGINT", stop_level=2),
            service("b", stop_level=1),
            service("c"),
            service("d", after=("a",)),
            dataclasses.replace(deaf, stop_timeout=0.7),
        )
    )
    host.start()
    host.converged()
    time.sleep(0.2)
    assert host.agent("stop").returncode == 0
    told = order.read_text()
    first, rest = told[:8], told[8:]
    assert (set(first[:4].split("-")), set(first[4:].split("+"))) == ({"", "c", "d"}, {"", "c", "d"}), "they wait"
    assert rest == "-b+b-a+a"
    assert host.processes() == []
    assert {each.state for each in host.status().services} == {"stopped"}
    assert host.condition("Converged").reason == "Stopped"
    assert host.agent("stop").returncode == 0

    host.start()
    host.want(services=(service("a", "SIGINT"),))
    host.converged()


@pytest.mark.skipif(not SYSTEMD, reason="of systemd, and Circus runs the services here")
def test_a_unit_that_is_stopped_is_signalled_without_what_it_has_started_and_comes_back(host: Host) -> None:
    told = host.home / "told"
    code = (
        "import signal, subprocess, sys, time\n"
        "if sys.argv[2:]: subprocess.Popen([sys.executable, '-c', *sys.argv[2:], sys.argv[1]])\n"
        "who = 'service ' if sys.argv[2:] else 'child '\n"
        "def end(*_): open(sys.argv[1], 'a').write(who); time.sleep(0.5); sys.exit()\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "while True: signal.pause()\n"
    )
    host.want(services=(Service("one", python(code, str(told), code)),))
    host.start()
    host.converged()
    first = host.state("one", "ready").pid
    subprocess.run(["systemctl", "stop", f"selfhost-{host.home.name}-one.service"], check=True)
    assert told.read_text() == "service "
    eventually(lambda: host.service("one").state == "ready" and host.service("one").pid != first, "another one")


def test_idle_it_costs_next_to_nothing(host: Host) -> None:
    host.want(services=tuple(sleeper(f"s{index}") for index in range(7)))
    pid = host.start()
    host.converged()
    before, began = cpu(pid), time.monotonic()
    time.sleep(2.0)
    share = (cpu(pid) - before) / (time.monotonic() - began)
    resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    print(f"idle agent: {resident / 1e6:.1f} MB, {share:.2%} CPU")
    if not SYSTEMD:
        print(f"circusd: {cpu(host.circusd()):.2f} s")
    assert resident <= 25e6
    assert host.agent("status").stdout == host.layout.status.read_text() + "\n"


def cpu(pid: int) -> float:
    """Seconds of CPU so far, to the nanosecond, of all its threads."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9
