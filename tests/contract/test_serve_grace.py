"""Further auth strings on a real Prefect server: a header, a websocket, a whole flow; then their deadline."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from blocks.agent.files import write_atomically
from blocks.front_door import FrontDoor
from tests.bench.fourteen import TASKS
from tests.held import Slot, holding, server_environment
from tests.postgres import Cluster, base_environment
from tests.stack import eventually
from tests.traffic import headers

OWN, OLD, NEXT = "admin:own-of-this-test", "admin:old-of-this-test", "admin:next-of-this-test"


@dataclass(frozen=True)
class Server:
    """A slot, where it answers, and its file of further auth strings."""

    slot: Slot
    address: str
    grace: Path

    def keep(self, *entries: tuple[str, float | None]) -> None:
        text = json.dumps([{"auth_string": text, "until": until} for text, until in entries])
        write_atomically(self.grace, text.encode())

    def status(self, auth: str) -> int:
        return httpx.get(f"{self.address}/api/admin/version", headers=headers(auth), timeout=10).status_code

    def websocket(self, auth: str) -> ClientConnection:
        """A subscription to events, let in or not."""
        url = self.address.replace("http", "ws") + "/api/events/in"
        connection = connect(url, subprotocols=["prefect"])  # type: ignore[list-item]
        connection.send(json.dumps({"type": "auth", "token": auth}))
        return connection

    def lets_in(self, auth: str) -> bool:
        with self.websocket(auth) as connection:
            try:
                return bool(json.loads(connection.recv(timeout=10))["type"] == "auth_success")
            except ConnectionClosed as closed:
                assert closed.rcvd is not None and closed.rcvd.code == 1008
                return False


@pytest.fixture(scope="module")
def server(cluster: Cluster, migrated_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("grace")
    url = cluster.create_database("grace", migrated_database)
    with holding(folder, server_environment(folder, url, PREFECT_SERVER_API_AUTH_STRING=OWN)) as held:
        slot = held.start("blue")
        slot.wait_ready()
        yield Server(slot, held.address, folder / "auth-grace.json")


def test_without_a_file_its_own_string_alone_is_accepted(server: Server) -> None:
    assert [server.status(each) for each in (OWN, OLD)] == [200, 401]
    assert [server.lets_in(each) for each in (OWN, OLD)] == [True, False]


def test_what_the_file_holds_is_accepted_too_without_a_restart(server: Server) -> None:
    server.keep((OLD, time.time() + 600), (NEXT, None))
    eventually(lambda: server.status(OLD) == 200, "the file", 5)
    assert [server.status(each) for each in (OWN, NEXT, "admin:another")] == [200, 200, 401]
    assert [server.lets_in(each) for each in (OWN, OLD, NEXT, "admin:another")] == [True, True, True, False]


def test_a_flow_with_an_old_string_loses_no_task_run_and_no_line(server: Server, tmp_path: Path) -> None:
    """Task runs come over a websocket, lines by calls: a layer which knew the header alone would lose the former."""
    server.keep((OLD, time.time() + 600))
    eventually(lambda: server.status(OLD) == 200, "the file", 5)
    environment = base_environment(tmp_path)
    environment |= {"PREFECT_API_URL": f"{server.address}/api", "PREFECT_API_AUTH_STRING": OLD}
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.fourteen", "0.05"],
        env={**environment, "PYTHONPATH": str(Path(__file__).parents[2])},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    run = done.stdout.splitlines()[0]
    with FrontDoor(server.address, OWN).client() as client:
        body = {"flow_runs": {"id": {"any_": [run]}}}

        def counts() -> tuple[int, int]:
            tasks = client._client.post("/task_runs/filter", json=body).json()
            lines = client._client.post("/logs/filter", json={"logs": {"flow_run_id": {"any_": [run]}}}).json()
            completed = [each for each in tasks if each["state_type"] == "COMPLETED"]
            return len(completed), sum("line of task" in each["message"] for each in lines)

        eventually(lambda: counts() == (TASKS, TASKS), "all task runs and lines", 20)
        assert client.read_flow_run(UUID(run)).state_name == "Completed"


def test_past_its_deadline_it_is_refused_and_its_websockets_end(server: Server) -> None:
    server.keep((OLD, until := time.time() + 3))
    with server.websocket(OLD) as connection:
        assert json.loads(connection.recv(timeout=10))["type"] == "auth_success"
        assert server.status(OLD) == 200
        eventually(lambda: server.status(OLD) == 401, "the deadline", 10)
        assert time.time() >= until
        with pytest.raises(ConnectionClosed) as closed:
            connection.send("an event")
            connection.recv(timeout=10)
    assert closed.value.rcvd is not None and closed.value.rcvd.code == 1008
    assert not server.lets_in(OLD)
    assert [server.status(OWN), server.lets_in(OWN)] == [200, True]


def test_a_damaged_file_changes_nothing(server: Server) -> None:
    server.keep((OLD, None))
    eventually(lambda: server.status(OLD) == 200, "the file", 5)
    write_atomically(server.grace, b'[{"auth_string": "admin:old-of')
    eventually(lambda: server.status(OLD) == 200 and "is damaged" in server.slot.output(), "the line in the log", 5)
    assert server.slot.output().count("is damaged") == 1


def test_no_auth_string_is_in_its_log(server: Server) -> None:
    output = server.slot.output()
    assert "Traceback" not in output
    assert [each for each in (OWN, OLD, NEXT) if each.partition(":")[2] in output] == []
