"""Real Prefect servers on a held socket and a real PostgreSQL.

Servers take seconds to start, so the tests share them and run in the order they are written: first the wait
for the schema, then one slot, the other, and a crash.
"""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import prefect
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from blocks.server.strangers import CROWD
from tests.held import Holder, Slot, holding, server_environment
from tests.postgres import Cluster, base_environment
from tests.traffic import Traffic, clients, headers

AUTH = "admin:a-secret-of-this-test"
DATABASE = "served"


@pytest.fixture(scope="module")
def holder(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Holder]:
    run_dir = tmp_path_factory.mktemp("serve")
    environment = server_environment(run_dir, cluster.url(DATABASE), PREFECT_SERVER_API_AUTH_STRING=AUTH)
    with holding(run_dir, environment) as held:
        yield held


@pytest.fixture(scope="module")
def waiting(holder: Holder, cluster: Cluster) -> tuple[Slot, Slot]:
    """Both slots waiting: blue for a database which is not there, green for the schema in an empty one."""
    url = cluster.create_database("empty")
    blue = holder.start("blue")
    green = holder.start("green", PREFECT_SERVER_DATABASE_CONNECTION_URL=url)
    for slot in (blue, green):
        slot.wait(lambda slot=slot: "waiting for the database" in slot.output(), "waiting")  # type: ignore[misc]
    return blue, green


@pytest.fixture(scope="module")
def blue(waiting: tuple[Slot, Slot], cluster: Cluster, migrated_database: str) -> Slot:
    """The blue slot, ready because its database has appeared with the schema in it."""
    cluster.create_database(DATABASE, migrated_database)
    waiting[0].wait_ready()
    return waiting[0]


def test_while_it_waits_it_says_why_and_is_not_ready(waiting: tuple[Slot, Slot], cluster: Cluster) -> None:
    slot = waiting[0]
    assert 'database "served" does not exist' in slot.output()
    assert cluster.password not in slot.output()
    assert not slot.ready_file.exists()
    with slot.probe() as probe, pytest.raises(httpx.ConnectError):
        probe.get("/api/health")


def test_while_it_waits_it_holds_no_transaction(waiting: tuple[Slot, Slot], cluster: Cluster) -> None:
    """Each look at the schema is a short transaction; none that is seen open may stay so while the slot waits."""
    slot = waiting[1]
    assert "holds no Prefect schema yet" in slot.output()
    sessions = "SELECT state, pid, xact_start FROM pg_stat_activity WHERE datname = 'empty'"

    def open_ones(rows: list[Any]) -> set[tuple[int, datetime]]:
        return {(row["pid"], row["xact_start"]) for row in rows if row["state"].startswith("idle in transaction")}

    looks = [row for _ in range(50) for row in cluster.execute(sessions)]
    assert "idle" in {row["state"] for row in looks}
    slot.wait(
        lambda: not open_ones(looks) & open_ones(cluster.execute(sessions)),
        "without each transaction that was seen open",
    )


def test_sigterm_while_it_waits_ends_it_cleanly(waiting: tuple[Slot, Slot]) -> None:
    slot = waiting[1]
    assert slot.stop() == 0
    assert "Traceback" not in slot.output()
    assert not (slot.run_dir / "server-green.sock").exists()


def test_it_is_ready_once_the_schema_is_there_and_says_which_version(blue: Slot) -> None:
    ready = json.loads(blue.ready_file.read_text())
    assert ready["pid"] == blue.process.pid
    assert ready["version"] == prefect.__version__
    assert 0 < ready["ready_at"] <= time.time()


def test_the_slot_socket_answers_for_this_very_slot(blue: Slot) -> None:
    assert stat.S_IMODE((blue.run_dir / "server-blue.sock").stat().st_mode) == 0o600
    with blue.probe() as probe:
        assert probe.get("/api/health").json() is True
        assert probe.get("/api/admin/version").status_code == 401
        assert probe.get("/api/admin/version", headers=headers(AUTH)).json() == prefect.__version__


def test_log_lines_carry_date_and_time(blue: Slot) -> None:
    ready = next(line for line in blue.output().splitlines() if "is ready" in line)
    assert time.strptime(ready[:19], "%Y-%m-%d %H:%M:%S").tm_year >= 2026


def opened(holder: Holder, first: str | bytes = "") -> ClientConnection:
    """A websocket for events, over which a first message has been sent, if any."""
    url = holder.address.replace("http", "ws") + "/api/events/in"
    connection = connect(url, subprotocols=[Subprotocol("prefect")], open_timeout=30, close_timeout=1)
    if first:
        with suppress(ConnectionClosed):  # it is closed while a long one is still being sent
            connection.send(first)
    return connection


def known(holder: Holder) -> ClientConnection:
    connection = opened(holder, json.dumps({"type": "auth", "token": AUTH}))
    assert json.loads(connection.recv(timeout=30))["type"] == "auth_success"
    return connection


def closed_with(connection: ClientConnection) -> int:
    """The code it is closed with; 1006 where the connection just ends."""
    with connection, pytest.raises(ConnectionClosed) as closed:
        connection.recv(timeout=30)
    return closed.value.rcvd.code if closed.value.rcvd else 1006


MALFORMED = ("hello", b"\0", "[" * 8000, json.dumps({"type": "auth", "token": "admin:änders"}))


def test_a_first_message_that_cannot_be_read_is_a_line_and_a_close(blue: Slot, holder: Holder) -> None:
    before = len(blue.output())
    assert [closed_with(opened(holder, each)) for each in MALFORMED] == [1008] * len(MALFORMED)
    assert closed_with(opened(holder, "x" * 16_000_000)) in (1009, 1006)
    assert "Traceback" not in blue.output()[before:]
    assert "a websocket of 127.0.0.1 was closed: the first message is not JSON" in blue.output()


def test_what_is_no_message_is_bounded_too(blue: Slot, holder: Holder) -> None:
    """Pings, and fragments of a message that never ends."""
    with opened(holder) as pinging, pytest.raises(ConnectionClosed):
        for _ in range(1000):
            pinging.ping(os.urandom(100))
        pinging.recv(timeout=30)
    with opened(holder) as fragmenting, pytest.raises(ConnectionClosed):
        fragmenting.send("" for _ in range(100_000))
    assert "Traceback" not in blue.output()


def test_a_crowd_of_silent_websockets_goes_and_known_clients_stay(blue: Slot, holder: Holder) -> None:
    with ExitStack() as stack:
        before = stack.enter_context(known(holder))
        silent = [stack.enter_context(opened(holder)) for _ in range(CROWD + 20)]

        def silent_and_open() -> int:
            return sum(each.state is State.OPEN for each in silent)

        blue.wait(lambda: silent_and_open() <= CROWD, "rid of those beyond the cap", 30)
        stack.enter_context(known(holder))
        before.ping().wait(timeout=30)
        assert before.state is State.OPEN


def test_an_event_too_long_is_dropped_and_the_next_one_is_stored(blue: Slot, holder: Holder) -> None:
    def event(name: str, padding: int) -> str:
        resource = {"prefect.resource.id": "test.strangers"}
        now = datetime.now(UTC).isoformat()
        payload = {"padding": "x" * padding}
        return json.dumps(
            {"event": name, "occurred": now, "id": str(uuid4()), "resource": resource, "payload": payload}
        )

    def stored() -> list[str]:
        answer = httpx.post(f"{holder.address}/api/events/filter", json=body, headers=headers(AUTH), timeout=30)
        return sorted(each["event"] for each in answer.json()["events"])

    body = {"filter": {"event": {"prefix": ["strangers."]}}}
    with known(holder) as connection:
        for name, padding in (("strangers.huge", 20_000_000), ("strangers.long", 1_400_000), ("strangers.short", 1)):
            connection.send(event(name, padding))
        blue.wait(lambda: stored() == ["strangers.long", "strangers.short"], "with the legal events stored", 30)
    assert blue.output().count("a message of 127.0.0.1 was dropped") == 1


@pytest.fixture(scope="module")
def replaced(blue: Slot, holder: Holder, cluster: Cluster) -> tuple[Traffic, Slot, int, int]:
    """Blue replaced by green under 8 clients and one websocket, the schema being a newer release's.

    What the clients saw, green, blue's exit status and the code its websocket was closed with.
    """
    url = holder.address.replace("http", "ws") + "/api/events/in"
    with clients(8, holder.address, AUTH) as traffic, connect(url, subprotocols=["prefect"]) as websocket:  # type: ignore[list-item]
        websocket.send(json.dumps({"type": "auth", "token": AUTH}))
        assert json.loads(websocket.recv())["type"] == "auth_success"
        cluster.execute("UPDATE alembic_version SET version_num = 'of-a-newer-one'", DATABASE)
        green = holder.start("green")
        green.wait_ready()
        blue.process.send_signal(signal.SIGTERM)
        with pytest.raises(ConnectionClosed) as closed:
            websocket.recv(timeout=20)
        status = blue.process.wait(timeout=20)
        traffic.wait_for(100)
    assert closed.value.rcvd is not None
    return traffic, green, status, closed.value.rcvd.code


def test_replacing_a_slot_fails_no_call(replaced: tuple[Traffic, Slot, int, int]) -> None:
    traffic, *_ = replaced
    assert traffic.failed() == []
    assert len(traffic.calls) > 100


def test_a_newer_schema_is_served_and_said(replaced: tuple[Traffic, Slot, int, int]) -> None:
    assert "stands at revision of-a-newer-one, which is newer than this release" in replaced[1].output()


def test_a_draining_slot_asks_its_clients_to_close(replaced: tuple[Traffic, Slot, int, int]) -> None:
    traffic, *_ = replaced
    asked = [each for each in traffic.calls if each.asked_to_close]
    assert 1 <= len(asked) <= 8 * 2, "once for each connection, not for as long as the drain lasts"


def test_websockets_are_closed_as_a_restart(replaced: tuple[Traffic, Slot, int, int]) -> None:
    assert replaced[3] == 1012


def test_a_drained_slot_exits_cleanly_and_leaves_nothing(replaced: tuple[Traffic, Slot, int, int], blue: Slot) -> None:
    assert replaced[2] == 0
    assert not blue.ready_file.exists()
    assert not (blue.run_dir / "server-blue.sock").exists()
    assert "Traceback" not in blue.output()


def test_calls_wait_while_nobody_accepts(replaced: tuple[Traffic, Slot, int, int], holder: Holder) -> None:
    green, answers = replaced[1], list[int]()
    green.stop(signal.SIGKILL)
    assert green.ready_file.exists(), "a killed server cannot remove its file: the next one replaces it"

    def call() -> None:
        answers.append(httpx.get(f"{holder.address}/api/health", timeout=60).status_code)

    caller = threading.Thread(target=call)
    caller.start()
    successor = holder.start("green", "--drain-seconds", "600")
    ready = successor.wait_ready()
    caller.join(timeout=60)
    assert answers == [200]
    assert ready["pid"] == successor.process.pid
    with successor.probe() as probe:
        assert probe.get("/api/health").status_code == 200


def test_a_second_sigterm_cuts_the_drain_short(holder: Holder) -> None:
    slot = holder.slots[-1]  # its drain would last 600 s
    with httpx.Client(base_url=holder.address) as kept_alive:
        kept_alive.get("/api/health")
        slot.process.send_signal(signal.SIGTERM)
        slot.wait(lambda: "draining" in slot.output(), "draining")
        assert slot.process.poll() is None
        assert slot.stop() == 0


def run_serve(*options: str, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "blocks.server.serve", "--run-dir", str(home), *options]
    return subprocess.run(
        argv, env=base_environment(home) | environment, cwd=home, capture_output=True, text=True, timeout=60
    )


def test_without_a_socket_it_says_so(tmp_path: Path) -> None:
    ended = run_serve("--slot", "blue", home=tmp_path)
    assert ended.returncode == 2
    assert len(ended.stderr.splitlines()) == 1
    assert "no listening socket was handed over" in ended.stderr


def test_a_socket_meant_for_another_process_is_refused(tmp_path: Path) -> None:
    ended = run_serve("--slot", "blue", home=tmp_path, LISTEN_FDS="1", LISTEN_PID="1")
    assert ended.returncode == 2
    assert "meant for process '1'" in ended.stderr


def test_migrations_on_start_are_refused(tmp_path: Path, cluster: Cluster) -> None:
    environment = server_environment(tmp_path, cluster.url("any"), PREFECT_SERVER_DATABASE_MIGRATE_ON_START="true")
    with holding(tmp_path, environment) as holder:
        slot = holder.start("blue")
        assert slot.process.wait(timeout=60) == 2
    assert "PREFECT_SERVER_DATABASE_MIGRATE_ON_START=false" in slot.output()
    assert "Traceback" not in slot.output()
