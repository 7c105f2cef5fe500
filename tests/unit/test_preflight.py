from __future__ import annotations

import json
import os
import pwd
import shutil
import socket

import pytest

from blocks.agent import processes
from blocks.agent.files import make_folders
from blocks.agent.spec import Health, HostSpec, Service, Socket, to_json
from blocks.host import preflight
from blocks.host.home import Home, claim
from blocks.host.preflight import faults
from tests.postgres import free_port


def test_nothing_in_the_way(home: Home) -> None:
    assert faults(home, "prefect", {"front door": ("127.0.0.1", free_port())}, ()) == []
    assert not home.root.exists()


def test_tells_all_faults_together(home: Home) -> None:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        taken = [each.getsockname()[1] for each in (one, two)]
        ports = {"front door": ("127.0.0.1", taken[0]), "server": ("127.0.0.1", taken[1])}
        found = faults(home, "prefect", ports, ())
    assert found == [
        f"port {taken[0]} (front door) is taken by another program: choose another with --port",
        f"port {taken[1]} (server) is taken by another program: choose another with --port",
    ]


def test_address_that_is_not_this_machines_is_told(home: Home) -> None:
    (found,) = faults(home, "prefect", {"front door": ("192.0.2.1", free_port())}, ())
    assert "on 192.0.2.1 cannot be used" in found


def test_a_home_that_cannot_be_comes_first(home: Home) -> None:
    claim(home, "theirs")
    (found,) = faults(home, "ours", {"front door": ("192.0.2.1", 1)}, ())
    assert "belongs to the stack 'theirs'" in found


def running(home: Home, *names: str, spec: HostSpec | None = None) -> None:
    """A home whose service manager runs (this very process), by the spec in the files of those names."""
    claim(home, "prefect")
    home.run.mkdir()
    (home.run / "circusd.pid").write_text(json.dumps(processes.record_of(os.getpid())._asdict()))
    home.agent.mkdir()
    for name in names:
        (home.agent / name).write_text(to_json(spec) if spec else "{")


def spec_of(held: int, checked: int) -> HostSpec:
    service = Service("postgres", ("/x",), health=Health("tcp", port=checked))
    return HostSpec("prefect", 3, sockets=(Socket("server", "127.0.0.1", held),), services=(service,))


@pytest.mark.parametrize("name", ["spec.json", "last-good.json"])
def test_ports_of_our_own_running_services_are_not_taken_and_all_others_are_looked_at(home: Home, name: str) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as held,
        socket.create_server(("127.0.0.1", 0)) as checked,
        socket.create_server(("127.0.0.1", 0)) as theirs,
    ):
        ours, database, taken = (each.getsockname()[1] for each in (held, checked, theirs))
        running(home, name, spec=spec_of(ours, database))
        ports = {"server": ("127.0.0.1", ours), "database": ("127.0.0.1", database)}
        assert faults(home, "prefect", ports, ()) == []
        assert faults(home, "prefect", ports | {"front door": ("127.0.0.1", taken)}, ()) == [
            f"port {taken} (front door) is taken by another program: choose another with --port"
        ]


def test_a_spec_that_cannot_be_read_is_no_reason_to_refuse_our_own_ports(home: Home) -> None:
    running(home, "spec.json")
    with socket.create_server(("127.0.0.1", 0)) as ours:
        assert faults(home, "prefect", {"front door": ("127.0.0.1", ours.getsockname()[1])}, ()) == []


def test_a_dead_service_manager_holds_no_port(home: Home) -> None:
    claim(home, "prefect")
    home.run.mkdir()
    dead = processes.record_of(os.getpid())._replace(pid=2**22 - 1)
    (home.run / "circusd.pid").write_text(json.dumps(dead._asdict()))
    with socket.create_server(("127.0.0.1", 0)) as theirs:
        assert "is taken" in faults(home, "prefect", {"front door": ("127.0.0.1", theirs.getsockname()[1])}, ())[0]


def test_too_small_a_disk_is_told_with_the_figures(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    free = shutil.disk_usage(home.root.parent).free
    monkeypatch.setattr(preflight, "FREE_BYTES", 2 * free)
    (found,) = faults(home, "prefect", {}, ())
    assert f"{2 * free / 1e9:.1f} are needed" in found


@pytest.mark.parametrize("wanted", ["store/ledger/wanted", "wanted.json"])
def test_a_stack_that_is_there_needs_no_more_disk(home: Home, monkeypatch: pytest.MonkeyPatch, wanted: str) -> None:
    claim(home, "prefect")
    make_folders((home.root / wanted).parent)
    (home.root / wanted).touch()
    monkeypatch.setattr(preflight, "FREE_BYTES", 2**62)
    assert faults(home, "prefect", {}, ()) == []


def test_a_user_that_is_not_ours_is_left_alone(home: Home) -> None:
    nobody = pwd.getpwuid(os.getuid()).pw_name
    found = faults(home, "prefect", {}, [nobody])
    assert f"there are system users not ours: {nobody}; choose another --name, or remove them with userdel" in found


@pytest.mark.skipif(shutil.which("useradd") is None, reason="this system has no useradd")
def test_postgresql_must_be_able_to_pass_to_the_home(home: Home) -> None:
    home.root.mkdir(mode=0o700)
    (found,) = faults(Home(home.root / "below"), "prefect", {}, ["selfhost-absent"])
    assert "the services' own users cannot pass through" in found
    assert "choose another --home" in found


def test_changes_nothing(home: Home) -> None:
    claim(home, "prefect")
    before = sorted(home.root.iterdir())
    faults(home, "prefect", {"front door": ("127.0.0.1", free_port())}, ())
    assert sorted(home.root.iterdir()) == before
