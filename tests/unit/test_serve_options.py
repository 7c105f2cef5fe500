from __future__ import annotations

import asyncio
import json
import os
import stat
from pathlib import Path

import pytest
from prefect.settings import PREFECT_SERVER_API_KEEPALIVE_TIMEOUT, temporary_settings

from blocks.server.grace import Message, Receive, Scope, Send
from blocks.server.readiness import MOST, ClientVersions, ReadyFile, remove_own, write_atomically
from blocks.server.serve import Laps, read_options
from blocks.server.uvicorn_server import DrainStep, drain_step, server_config


def test_defaults() -> None:
    options = read_options(["--slot", "blue", "--run-dir", "/run/x"])
    assert options.drain_seconds == 8.0
    assert options.forwarded_allow_ips == "127.0.0.1"
    assert options.ready_file == Path("/run/x/server-blue.json")
    assert options.slot_socket == Path("/run/x/server-blue.sock")


def test_uvicorn_gets_prefects_options_and_the_proxies_to_believe() -> None:
    with temporary_settings({PREFECT_SERVER_API_KEEPALIVE_TIMEOUT: 7}):
        config = server_config(lambda: None, "10.0.0.0/24,127.0.0.1")
    assert config.timeout_keep_alive == 7
    assert config.forwarded_allow_ips == "10.0.0.0/24,127.0.0.1"
    assert config.log_config is None, "uvicorn's own would replace Prefect's, which has timestamps"
    assert config.timeout_graceful_shutdown is not None


@pytest.mark.parametrize("slot", ["", "Blue", "blue1", "../blue", "blue\n"])
def test_a_slot_name_is_letters_alone(slot: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        read_options(["--slot", slot, "--run-dir", "/run/x"])
    assert ended.value.code == 2
    assert "is not a slot name" in capsys.readouterr().err


def test_a_ready_file_is_private_and_removed_by_its_writer_alone(tmp_path: Path) -> None:
    file = tmp_path / "server-blue.json"
    write_atomically(file, {"pid": os.getpid() + 1})
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    remove_own(file)
    assert json.loads(file.read_text()) == {"pid": os.getpid() + 1}
    write_atomically(file, {"pid": os.getpid()})
    remove_own(file)
    remove_own(file)
    assert list(tmp_path.iterdir()) == []


def test_laps_add_up() -> None:
    laps = Laps(started=0.0, taken=[("import", 1.0)])
    laps.lap("start")
    assert [name for name, _ in laps.taken] == ["import", "start"]
    assert str(laps).startswith("import 1.00 s, start ")


@pytest.mark.parametrize(
    ("drained_for", "http_connections", "websockets_closed_for", "expected"),
    [
        (0.0, 0, None, "wait"),  # connections just accepted are not in the books yet
        (0.6, 0, None, "close websockets"),  # nobody left who calls
        (0.6, 1, None, "wait"),
        (6.9, 1, None, "wait"),
        (7.1, 1, None, "close websockets"),
        (7.1, 1, 0.0, "wait"),
        (1.7, 0, 1.1, "exit"),
        (8.1, 1, 1.0, "exit"),
    ],
)
def test_drain_steps(
    drained_for: float, http_connections: int, websockets_closed_for: float | None, expected: DrainStep
) -> None:
    assert drain_step(drained_for, 8.0, http_connections, websockets_closed_for) == expected


def test_versions_of_clients_are_noted_once_a_minute(tmp_path: Path) -> None:
    clients = ClientVersions(nobody)
    ready = ReadyFile(tmp_path / "ready.json", clients)
    clients.note(b"prefect/3.8.3 (API 0.8.4)")
    assert not (tmp_path / "ready.json").exists()
    ready.announce("3.8.8")
    clients.note(b"prefect/3.8.8 (API 0.8.4)")
    for agent in (b"prefect/nonsense (API 0.8.4)", b"curl/8", b"", b"prefect/3.8.8 (API 0.8.4)"):
        clients.note(agent)
    said = json.loads((tmp_path / "ready.json").read_text())
    assert (said["version"], sorted(said["clients"])) == ("3.8.8", ["3.8.3", "3.8.8"])
    ready.withdraw()
    clients.note(b"prefect/3.8.7 (API 0.8.4)")
    assert not (tmp_path / "ready.json").exists()


def test_whoever_calls_himself_anything_does_not_fill_the_memory() -> None:
    clients = ClientVersions(nobody)
    for number in range(3 * MOST):
        clients.note(f"prefect/3.8.{number} (API 0.8.4)".encode())
    assert len(clients.seen) == MOST and f"3.8.{3 * MOST - 1}" in clients.seen


@pytest.mark.parametrize(
    ("method", "path", "status", "noted"),
    [
        ("POST", "/api/flow_runs/filter", 200, True),
        ("POST", "/api/flow_runs/", 422, True),  # a newer client
        ("GET", "/api/admin/version", 401, False),
        ("GET", "/api/health", 200, False),
        ("GET", "/api/ready", 200, False),
        ("OPTIONS", "/api/flow_runs/filter", 200, False),
        ("GET", "/ui-settings", 200, False),
    ],
)
def test_only_calls_that_were_let_in_count(method: str, path: str, status: int, noted: bool) -> None:
    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": status, "headers": []})

    clients, sent = ClientVersions(answer), list[Message]()

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        raise AssertionError("the answer needs no body")

    headers = [(b"user-agent", b"prefect/3.6.13 (API 0.8.4)")]
    scope: Scope = {"type": "http", "method": method, "path": path, "headers": headers}
    asyncio.run(clients(scope, receive, send))
    assert [each["status"] for each in sent] == [status]
    assert list(clients.seen) == (["3.6.13"] if noted else [])


async def nobody(scope: Scope, receive: Receive, send: Send) -> None:
    raise AssertionError("nobody calls")
