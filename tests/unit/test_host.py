from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from blocks.agent.config import AgentConfig, Layout
from blocks.agent.files import write_atomically
from blocks.agent.spec import HostStatus, ServiceStatus, to_json
from blocks.errors import Blocked, NotReady
from blocks.host.bundle import build_agent
from blocks.host.home import Home
from blocks.host.host import Host

SECRET = {"PREFECT_API_AUTH_STRING": "admin:secret", "PGPASSWORD": "secret", "SELFHOST_HOME": "/x", "PYTHONPATH": "/x"}
BUSY = ServiceStatus("worker-default", "waiting-idle", pid=os.getppid())
"""The process of this one's parent: it has a child."""
NEEDED = {"SSL_CERT_FILE": "/etc/ca.pem", "UV_INDEX_URL": "https://index.example.org", "HTTPS_PROXY": "http://proxy:1"}


@pytest.fixture
def installed(home: Home) -> Iterator[Home]:
    """A home with a host agent in it, which is stopped afterwards."""
    Layout(home.root).make()
    write_atomically(home.agent / "agent.pyz", build_agent(), 0o755)
    config = AgentConfig(home=str(home.root), manager="circus", circus_python=sys.executable)
    write_atomically(home.agent / "config.json", to_json(config).encode(), 0o600)
    yield home
    Host(home).stop()


def report(home: Home, *services: ServiceStatus) -> None:
    """What an agent would have reported, of this very process."""
    Layout(home.root).make()
    (home.agent / "agent.pid").write_text(json.dumps({"pid": os.getpid()}))
    (home.agent / "status.json").write_text(to_json(HostStatus(1, agent_pid=os.getpid(), services=services)))


def test_agent_keeps_no_secret_of_its_starters_environment(installed: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (SECRET | NEEDED).items():
        monkeypatch.setenv(name, value)
    Host(installed).start()
    pid = json.loads((installed.agent / "agent.pid").read_text())["pid"]
    variables = Path(f"/proc/{pid}/environ").read_text().split("\0")
    found = dict(each.split("=", 1) for each in variables if each)
    assert {name: found.get(name) for name in NEEDED} == NEEDED
    assert found["PATH"] == os.environ["PATH"]
    assert not [name for name in found if name.startswith(("PREFECT_", "PYTHON", "PG", "SELFHOST_"))]


def test_how_an_index_is_reached_is_kept_for_who_does_not_know_it(
    installed: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (SECRET | NEEDED).items():
        monkeypatch.setenv(name, value)
    Host(installed).start()
    Host(installed).stop()
    for name in (*SECRET, *NEEDED):
        monkeypatch.delenv(name)
    Host(installed).start()  # as a flow on a worker does, or cron
    pid = json.loads((installed.agent / "agent.pid").read_text())["pid"]
    found = Path(f"/proc/{pid}/environ").read_text()
    assert all(f"{name}={value}\0" in found for name, value in NEEDED.items())
    assert NEEDED.items() <= Host(installed).reach().items()
    kept = installed.agent / "reach.json"
    assert kept.stat().st_mode & 0o077 == 0
    assert not any(value in kept.read_text() for value in SECRET.values())


def test_a_busy_worker_that_is_restarted_later_is_ready(home: Home) -> None:
    report(home, ServiceStatus("server-blue", "ready"), BUSY)
    assert len(Host(home).wait_ready(1, timeout=0).services) == 2


def test_an_idle_worker_that_is_about_to_restart_is_waited_for(home: Home) -> None:
    with subprocess.Popen(["/bin/sleep", "60"]) as childless:
        report(home, ServiceStatus("server-blue", "ready"), replace(BUSY, pid=childless.pid))
        with pytest.raises(NotReady, match="worker-default is waiting-idle"):
            Host(home).wait_ready(1, timeout=0)
        childless.kill()


@pytest.mark.parametrize("state", ["pending", "starting", "unready", "failed", "stopped"])
def test_every_other_state_is_waited_for_and_named(home: Home, state: str) -> None:
    report(
        home,
        BUSY,
        ServiceStatus("server-blue", state),  # type: ignore[arg-type]
    )
    with pytest.raises(NotReady, match=f"server-blue is {state}") as caught:
        Host(home).wait_ready(1, timeout=0)
    assert "server-blue said last: nothing" in caught.value.what
    assert "worker-default" not in caught.value.what
    assert caught.value.hint == "selfhost logs server-blue"


def test_a_busy_worker_that_is_no_longer_wanted_is_not_gone(home: Home) -> None:
    left = replace(BUSY, message="is ended once it has no child process")
    report(home, ServiceStatus("postgres", "ready"), left)
    Host(home).wait_ready(1, timeout=0)
    with pytest.raises(NotReady, match="worker-default is waiting-idle: is ended once it has no child process"):
        Host(home).wait_alone({"postgres"}, 1, timeout=0)
    report(home, ServiceStatus("postgres", "ready"))
    Host(home).wait_alone({"postgres"}, 1, timeout=0)
    with pytest.raises(NotReady, match="has not reported yet"):
        Host(home).wait_alone({"postgres"}, 2, timeout=0)


def test_a_host_without_a_server_is_not_started(home: Home) -> None:
    whole = (ServiceStatus("server-green", "ready"), ServiceStatus("worker-maintenance", "ready"))
    Host(home).require_whole(HostStatus(1, services=whole))
    with pytest.raises(Blocked, match="to run no worker") as caught:
        Host(home).require_whole(HostStatus(1, services=whole[:1]))
    assert caught.value.hint == "selfhost bootstrap goes on with it"
    home.restoring.mkdir(parents=True)
    with pytest.raises(Blocked, match="to run no server and no worker") as caught:
        Host(home).require_whole(HostStatus(1, services=(ServiceStatus("postgres", "ready"),)))
    assert caught.value.hint == "selfhost restore latest goes on with it"
