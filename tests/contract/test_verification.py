"""Checks against a front door behind which no server lives, as nginx answers then: each ends within its own bound."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from blocks import verification
from blocks.agent.spec import Condition
from blocks.errors import NotReady
from blocks.front_door import FrontDoor
from tests.postgres import free_port

Answer = tuple[int, dict[str, str], bytes]
MAINTENANCE: Answer = (503, {"Prefect-Maintenance": "true", "Retry-After": "1"}, b"{}")
"""What nginx says while the server is refused; Prefect's own client then repeats the call for ever."""
SOME_ID = "00000000-0000-0000-0000-000000000001"
POOL = {"name": "default", "type": "process", "is_paused": False, "default_queue_id": SOME_ID}
GIVEN_UP_SECONDS = 60
"""Far more than any check below may take; without a bound they would take for ever."""


@contextmanager
def answering(answer: Callable[[BaseHTTPRequestHandler], Answer]) -> Iterator[FrontDoor]:
    """A front door where every call gets this answer."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, headers, body = answer(self)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            with suppress(BrokenPipeError):  # a caller that has given up
                self.wfile.write(body)

        do_POST = do_PATCH = do_GET  # noqa: N815 (names which http.server calls)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: pytest's output is for people."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield FrontDoor(f"http://127.0.0.1:{server.server_port}", "admin:secret")
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(autouse=True)
def short_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls that give up soon, to have tests that end soon; what is tested is that they give up."""
    monkeypatch.setattr("blocks.front_door.CALL_SECONDS", 1.0)


@pytest.fixture
def maintenance() -> Iterator[FrontDoor]:
    with answering(lambda request: MAINTENANCE) as door:
        yield door


def ended(check: Callable[[], Condition]) -> Condition:
    """The check's answer; a check that does not end fails the test instead of hanging it."""
    executor = ThreadPoolExecutor(1)
    try:
        return executor.submit(check).result(GIVEN_UP_SECONDS)
    finally:
        executor.shutdown(wait=False)


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_nobody_behind_the_front_door_is_silence_and_not_an_open_door(status: int) -> None:
    with answering(lambda request: (status, {}, b"<html>")) as door:
        seen = verification.version_is(door, "3.8.8")
    assert (seen.status, seen.reason) == (False, "FrontDoorSilent")
    assert f"answers {status}" in seen.message


def test_nobody_at_the_front_door_is_silence() -> None:
    seen = verification.version_is(FrontDoor(f"http://127.0.0.1:{free_port()}", "admin:secret"), "3.8.8")
    assert (seen.status, seen.reason) == (False, "FrontDoorSilent")


def test_a_door_without_a_lock_is_told() -> None:
    with answering(lambda request: (200, {}, b'"3.8.8"')) as door:
        seen = verification.version_is(door, "3.8.8")
    assert (seen.status, seen.reason) == (False, "OpenToStrangers")


@pytest.mark.parametrize(
    ("body", "reason"), [(b'"3.8.8"', "AsExpected"), (b'"3.8.3"', "OtherVersion"), (b"<html>", "OtherVersion")]
)
def test_version_is_what_the_server_says(body: bytes, reason: str) -> None:
    def answer(request: BaseHTTPRequestHandler) -> Answer:
        return (200, {}, body) if request.headers["Authorization"] else (401, {}, b"{}")

    with answering(answer) as door:
        assert verification.version_is(door, "3.8.8").reason == reason


def test_silence_leaves_out_what_would_only_wait(maintenance: FrontDoor) -> None:
    for seen in (
        verification.verify(maintenance, "3.8.8", ["default"], None),
        verification.quick(maintenance, "3.8.8", None),
    ):
        assert [each.type for each in seen] == ["ServicesReady", "ExpectedVersion"]


@pytest.mark.parametrize(
    ("check", "reason"),
    [
        (lambda door: verification.probe(door, "default"), "RunFailed"),
        (verification.scheduler_moves, "NothingScheduled"),
        (lambda door: verification.alerts_reach(door, "slack-webhook/ops"), "NoSuchBlock"),
    ],
)
def test_a_check_ends_while_the_server_is_away(
    maintenance: FrontDoor, check: Callable[[FrontDoor], Condition], reason: str
) -> None:
    seen = ended(lambda: check(maintenance))
    assert (seen.status, seen.reason) == (False, reason)
    assert "answers 503" in seen.message


def test_a_server_that_goes_away_meanwhile_is_waited_for_no_longer_than_the_bound() -> None:
    """The run is made, then the server is gone: the wait goes on through 503 and ends with its own time."""
    known = {
        "work_pools": POOL,
        "deployments": {"id": SOME_ID, "name": "default", "flow_id": SOME_ID},
    }
    calls: list[str] = []

    def answer(request: BaseHTTPRequestHandler) -> Answer:
        calls.append(request.path)
        if "csrf-token" in request.path:
            return 404, {}, b"{}"
        body = known.get(request.path.split("/")[2])  # a flow run that was made looks like its deployment
        return (200, {}, json.dumps(body).encode()) if body else MAINTENANCE

    with answering(answer) as door:
        seen = ended(lambda: verification.probe(door, "default", seconds=3))
    assert (seen.status, seen.reason) == (False, "RunFailed")
    assert "/flow_runs/" in seen.message
    assert "answers 503" in seen.message
    assert len([each for each in calls if each.startswith("/api/flow_runs/")]) > 2


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_impatient_client_repeats_a_call_within_its_time(status: int) -> None:
    calls: list[str] = []

    def answer(request: BaseHTTPRequestHandler) -> Answer:
        calls.append(request.path)
        return (200, {}, json.dumps(POOL).encode()) if len(calls) > 1 else (status, MAINTENANCE[1], b"{}")

    with answering(answer) as door, door.impatient_client() as client:
        assert client.read_work_pool("default").name == "default"
    assert len(calls) == 2


def test_impatient_client_does_not_wait_for_an_answer_that_does_not_come() -> None:
    asked, given_up = threading.Event(), threading.Event()

    def answer(request: BaseHTTPRequestHandler) -> Answer:
        asked.set()
        given_up.wait(GIVEN_UP_SECONDS)
        return 200, {}, b"{}"

    with answering(answer) as door, door.impatient_client() as client:
        with pytest.raises(NotReady, match="ReadTimeout"):
            client.read_work_pool("default")
        given_up.set()
    assert asked.is_set()


def test_impatient_client_tells_what_was_refused() -> None:
    with (
        answering(lambda request: (401, {}, b"{}")) as door,
        door.impatient_client() as client,
        pytest.raises(httpx.HTTPStatusError, match="401"),
    ):
        client.read_work_pool("default")
