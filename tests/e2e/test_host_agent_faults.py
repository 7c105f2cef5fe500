"""The same host agent where something goes wrong: it says so, what runs goes on, and so does the agent."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from blocks.agent import processes
from blocks.agent.files import write_atomically
from blocks.agent.spec import Artifact, File, Health, Release, Service, Socket
from blocks.host.interpreter import uv_binary
from tests import disk
from tests.agent import SLEEPER, Host, eventually, over_circus, python, sleeper
from tests.e2e.test_host_agent import free_port, get, host, hosted, web

pytestmark = pytest.mark.e2e
__all__ = ["host"]


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


@over_circus
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


@over_circus
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
        assert "No space left on device" in host.log("agent")


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
    assert host.log("agent").count("Traceback") == 1
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
    bad = Service("bad", python("print('no disk'); raise SystemExit(1)"), health=Health(interval=2.0))
    absent = Service("absent", ("/nowhere/program",), health=Health(interval=0.1))
    host.want(services=(bad, absent, sleeper("good"), sleeper("later", after=("bad",))))
    host.start()
    assert "no disk" in host.state("bad", "failed").message
    assert "cannot start absent: /nowhere/program: " in host.state("absent", "failed").message
    assert host.state("good", "ready") and host.service("later").state == "pending"
    host.want(services=(sleeper("bad"), sleeper("good"), sleeper("later", after=("bad",))))
    host.converged()


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


def test_a_service_waits_for_its_release_and_a_broken_one_stops_nothing(host: Host) -> None:
    lock = b"# nothing but the environment\n"
    digest = hashlib.sha256(lock).hexdigest()
    host.layout.uv.symlink_to(uv_binary())
    release = Release("1.0-a", Artifact("lock.txt", digest))
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
