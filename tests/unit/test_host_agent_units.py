"""What Circus and systemd are given, as text."""

from __future__ import annotations

import dataclasses
import subprocess
from pathlib import Path

import pytest

from blocks.agent.circus import ini as circus_ini
from blocks.agent.config import AgentConfig, Layout
from blocks.agent.service_manager import ServiceManagerFailed
from blocks.agent.spec import Service, Socket
from blocks.agent.systemd import units

WEB = Socket("web", "127.0.0.1", 4201)
BLUE = Service("blue", ("/x",), sockets=("web",), stop_signal="SIGINT", stop_timeout=12.5)
PLAIN = Service("plain", ("/y",))
LAYOUT = Layout(Path("/h ome"))
WRAPPER = ("/usr/bin/python3", "-I", "-S", "/h ome/agent/agent.pyz")


def sections(*services: Service, sockets: tuple[Socket, ...] = (WEB,)) -> circus_ini.Sections:
    return circus_ini.render_sections(LAYOUT, WRAPPER, services, sockets)


def test_the_ini_of_circus() -> None:
    made = sections(BLUE, PLAIN)
    assert made["circus"]["endpoint"] == "ipc:///h ome/run/circus.ctl"
    assert made["socket:web"] == {
        "host": "127.0.0.1",
        "port": "4201",
        "family": "AF_INET",
        "backlog": "2048",
    }
    blue = made["watcher:blue"]
    assert blue["cmd"] == (
        "/usr/bin/python3 -I -S '/h ome/agent/agent.pyz' exec '/h ome' service blue web=$(circus.sockets.web)"
    )
    assert (blue["use_sockets"], made["watcher:plain"]["use_sockets"]) == ("true", "false")
    assert (blue["stop_signal"], blue["graceful_timeout"], blue["copy_env"]) == ("SIGINT", "12.5", "false")
    assert blue["stdout_stream.filename"] == "/h ome/logs/blue.log"
    assert blue.keys() == made["watcher:plain"].keys()


def test_the_ini_is_read_back_as_it_was_by_us_and_by_circus(tmp_path: Path) -> None:
    config = pytest.importorskip("circus.config")
    made = sections(BLUE, PLAIN)
    text = circus_ini.render_ini(made)
    assert circus_ini.parse_ini(text) == made
    path = tmp_path / "circus.ini"
    path.write_text(text)
    read = config.get_config(str(path))
    assert [each["cmd"] for each in read["watchers"]] == [made["watcher:blue"]["cmd"], made["watcher:plain"]["cmd"]]
    assert [each["name"] for each in read["sockets"]] == ["web"]
    assert read["umask"] == 0o077


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"rubbish",
        b"[circus",
        b"[circus]\nx\n",
        b"[a]\n[a]\n",
        b"\xff\xfe",
        b"[socket:web]\nhost = x\n",
        b"[watcher:a]\n",
    ],
)
def test_of_a_damaged_ini_nothing_is_known(content: bytes) -> None:
    assert circus_ini.known_sections(content) == {}


def test_of_an_ini_of_ours_all_is_known() -> None:
    made = sections(BLUE, PLAIN)
    assert circus_ini.known_sections(circus_ini.render_ini(made).encode()) == made


def test_a_home_too_long_for_a_socket_is_refused() -> None:
    with pytest.raises(ServiceManagerFailed, match="use a shorter home"):
        circus_ini.render_sections(Layout(Path("/" + "x" * 100)), WRAPPER, (), ())


def test_running_services_keep_their_section_and_their_socket() -> None:
    loaded = sections(BLUE)
    moved = dataclasses.replace(WEB, port=4202)
    wanted = sections(dataclasses.replace(BLUE, stop_timeout=1.0), PLAIN, sockets=(moved,))
    kept = circus_ini.keep_running(loaded, wanted, frozenset({"blue"}))
    assert (kept["watcher:blue"], kept["socket:web"]) == (loaded["watcher:blue"], loaded["socket:web"])
    assert kept["watcher:plain"] == wanted["watcher:plain"]
    assert circus_ini.keep_running(loaded, wanted, frozenset()) == wanted


def test_circusd_with_running_services_keeps_its_own_section() -> None:
    wanted = sections(BLUE)
    loaded = {**wanted, "circus": {**wanted["circus"], "check_delay": "0.25"}}
    assert circus_ini.reload_steps(loaded, circus_ini.keep_running(loaded, wanted, frozenset({"blue"}))) == []
    assert circus_ini.keep_running(loaded, wanted, frozenset()) == wanted


def test_a_changed_socket_is_loaded_after_its_watchers_are_gone() -> None:
    loaded = sections(BLUE, PLAIN)
    wanted = sections(BLUE, PLAIN, sockets=(dataclasses.replace(WEB, port=4202),))
    first, second = circus_ini.reload_steps(loaded, wanted)
    assert "watcher:blue" not in first and first["socket:web"] == loaded["socket:web"]
    assert second == wanted
    assert circus_ini.reload_steps(loaded, loaded) == []
    assert len(circus_ini.reload_steps(loaded, sections(BLUE))) == 1


def test_a_taken_port_leaves_out_what_needs_it() -> None:
    left, reasons = circus_ini.without_taken_ports(sections(BLUE, PLAIN), {}, lambda host, port: f"{port} taken")
    assert left.keys() == {"circus", "watcher:plain"}
    assert reasons == {"blue": "4201 taken"}
    held = sections(BLUE, PLAIN)
    assert circus_ini.without_taken_ports(held, held, lambda host, port: "taken") == (held, {})


CONFIG = AgentConfig("/var/lib/selfhost", "systemd", units="selfhost-main-")


def test_the_units_of_systemd() -> None:
    service = dataclasses.replace(BLUE, user="prefect", secrets={"KEY": "encryption-key"}, after=("plain",))
    text = units.render_service(service, CONFIG, ("/usr/bin/python3", "-I", "-S", "/opt/agent.pyz"))
    unit = text.splitlines()
    for line in (
        "# Written by the host agent of /var/lib/selfhost",
        "ExecStart=!/usr/bin/python3 -I -S /opt/agent.pyz exec /var/lib/selfhost unit blue",
        "Restart=always",
        "User=prefect",
        "NoNewPrivileges=true",
        "ProtectSystem=strict",
        "ReadWritePaths=/var/lib/selfhost",
        "Sockets=selfhost-main-web.socket",
        "KillMode=mixed",
        "KillSignal=SIGINT",
        "TimeoutStopSec=12.5",
        "After=selfhost-main-plain.service",
        "Before=selfhost-main-agent.service",
        "StartLimitIntervalSec=0",
    ):
        assert line in unit
    assert "encryption-key" not in text
    socket = units.render_socket(WEB, CONFIG).splitlines()
    for line in ("ListenStream=127.0.0.1:4201", "FileDescriptorName=web", "Service=selfhost-main-web.anchor.service"):
        assert line in socket
    plain = units.render_service(PLAIN, CONFIG, ("/x",))
    assert "User=" not in plain and "Sockets=" not in plain


def test_workers_for_users_flows_share_a_limit_of_memory_and_no_others_have_one() -> None:
    worker = dataclasses.replace(PLAIN, restart="when-idle")
    theirs = units.render_service(dataclasses.replace(worker, user="w"), CONFIG, ("/x",))
    assert "Slice=selfhost_main_workers.slice" in theirs
    assert "Slice=" not in units.render_service(worker, CONFIG, ("/x",)) + units.render_service(BLUE, CONFIG, ("/x",))
    assert "MemoryMax=60%" in units.render_workers_slice(CONFIG)


def test_a_home_below_home_folders_stays_open_to_its_services() -> None:
    service = dataclasses.replace(PLAIN, user="u")
    at_home = dataclasses.replace(CONFIG, home="/home/me/x")
    assert "ProtectHome" in units.render_service(service, CONFIG, ("/x",))
    assert "ProtectHome" not in units.render_service(service, at_home, ("/x",))
    assert "ProtectHome" not in units.render_service(service, CONFIG, ("/root/bin/python",))
    in_tmp = units.render_service(service, dataclasses.replace(CONFIG, home="/tmp/x"), ("/x",))
    assert "ProtectHome" in in_tmp and "PrivateTmp" not in in_tmp


def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path) -> None:
    green = dataclasses.replace(BLUE, name="green", user="daemon")
    worker = Service("w", ("/y",), restart="when-idle", user="daemon")
    written = {
        units.agent_name(CONFIG): units.render_agent(CONFIG, ("/bin/true",)),
        units.socket_name(CONFIG, "web"): units.render_socket(WEB, CONFIG),
        units.anchor_name(CONFIG, "web"): units.render_anchor(WEB, CONFIG),
        units.slice_name(CONFIG): units.render_workers_slice(CONFIG),
        **{
            units.service_name(CONFIG, each.name): units.render_service(each, CONFIG, ("/bin/true",))
            for each in (BLUE, green, worker)
        },
    }
    for name, text in written.items():
        (tmp_path / name).write_text(text)
    try:
        command = ["systemd-analyze", "verify", *(str(tmp_path / name) for name in written)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except FileNotFoundError:
        pytest.skip("systemd-analyze is not on this machine")
    assert not [line for line in done.stderr.splitlines() if "selfhost-" in line]
