"""Readiness over time, and findings turned into a status."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from blocks.agent import health
from blocks.agent.health import Watch, probe, ready_report
from blocks.agent.planning import Decision, ServiceProcess
from blocks.agent.processes import ProcessRecord
from blocks.agent.reporting import Findings, build_status, is_settled
from blocks.agent.retry import Retry
from blocks.agent.spec import (
    Artifact,
    Health,
    HostSpec,
    HostStatus,
    Job,
    JobStatus,
    Release,
    Service,
    from_json,
    to_json,
)

SERVICE = Service("s", ("/x",), health=Health("tcp", port=1, interval=0.5, timeout=10.0))
SPEC = HostSpec("t", 7, services=(SERVICE,))
FRESH = HostStatus(0)


def process(pid: int = 1, failures: int = 0, held: bool = False) -> ServiceProcess:
    return ServiceProcess(ProcessRecord(pid, 1), "d", "", held, failures, 0.0)


def test_a_service_gets_ready_unready_and_ready_again() -> None:
    watch = Watch()
    watch.follow(process(), 0.0, 100.0)
    assert (watch.state, watch.is_due(0.0), watch.since) == ("starting", True, 100.0)
    watch.judge(SERVICE, "refused", 0.1, 100.1)
    assert (watch.state, watch.message, watch.is_due(0.5), watch.is_due(0.6)) == ("starting", "refused", False, True)
    watch.judge(SERVICE, "", 0.6, 100.6)
    assert (watch.state, watch.since, watch.message) == ("ready", 100.6, "")
    watch.judge(SERVICE, "refused", 8.0, 108.0)
    assert watch.state == "ready" and watch.is_due(9.0)
    watch.judge(SERVICE, "refused", 9.0, 109.0)
    assert (watch.state, watch.since) == ("unready", 109.0)
    watch.judge(SERVICE, "", 10.0, 110.0)
    assert watch.state == "ready"


def test_one_that_never_gets_ready_is_unready_after_its_timeout() -> None:
    watch = Watch()
    watch.follow(process(), 0.0, 0.0)
    watch.judge(SERVICE, "refused", 11.0, 11.0)
    assert (watch.state, watch.message) == ("unready", "not ready after 10 s: refused")


def test_another_process_starts_again_and_one_that_keeps_ending_has_failed() -> None:
    watch = Watch()
    watch.follow(process(1), 0.0, 0.0)
    watch.judge(SERVICE, "", 0.1, 0.1)
    watch.follow(process(1), 1.0, 1.0)
    assert watch.state == "ready"
    watch.follow(None, 2.0, 2.0)
    assert watch.state == "starting" and not watch.is_due(2.0)
    watch.follow(process(2, failures=3), 3.0, 3.0)
    assert watch.state == "failed"
    watch.judge(SERVICE, "", 4.0, 4.0)
    assert watch.state == "failed"
    watch.judge(SERVICE, "", 14.0, 14.0)
    assert watch.state == "ready"


def test_lives_too_short_to_be_seen_are_counted_too() -> None:
    watch = Watch()
    watch.follow(process(held=True, failures=2), 0.0, 0.0)
    assert watch.state == "pending"
    watch.follow(process(held=True, failures=3), 1.0, 1.0)
    assert (watch.state, watch.message) == ("failed", "ended 3 times soon after its start")


@contextmanager
def answering(listening: socket.socket, answer: bytes) -> Iterator[None]:
    def serve() -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    yield
    thread.join(5)


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", ""),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", "/ready: HTTP/1.1 503 Service Unavailable"),
        (b"", "/ready: closed without an answer"),
    ],
)
def test_http_over_tcp_and_unix_sockets(tmp_path: Path, answer: bytes, fault: str) -> None:
    path = str(tmp_path / "s.sock")
    with socket.socket() as tcp, socket.socket(socket.AF_UNIX) as unix:
        tcp.bind(("127.0.0.1", 0))
        unix.bind(path)
        port = tcp.getsockname()[1]
        for listening, health in (
            (tcp, Health("http", port=port, path="/ready")),
            (unix, Health("http", socket=path, path="/ready")),
        ):
            listening.listen()
            with answering(listening, answer):
                found = probe(Service("s", ("/x",), health=health), 1)
            assert found == (fault and (health.socket or f"127.0.0.1:{port}") + fault)
    assert "Connection refused" in probe(Service("s", ("/x",), health=Health("tcp", port=port)), 1)


def test_a_ready_file_counts_when_its_own_process_wrote_it(tmp_path: Path) -> None:
    path = tmp_path / "ready"
    service = Service("s", ("/x",), ready_file=str(path))
    assert probe(service, 5) == "has not reported ready yet"
    path.write_text(json.dumps({"pid": 4, "version": "3.8.8"}))
    assert probe(service, 5) == "has not reported ready yet"
    assert probe(service, 4) == ""


@pytest.mark.parametrize("answer", [b"HTTP/1.1 200 OK", b"x"])
def test_a_service_that_goes_on_answering_does_not_hold_a_check(answer: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an end of the line: either fast, and the memory fills, or a byte at a time, and no read times out."""
    monkeypatch.setattr(health, "PROBE_TIMEOUT", 0.5)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        checked = Health("http", port=listening.getsockname()[1], path="/")
        gave_up = threading.Event()

        def serve() -> None:
            connection, _ = listening.accept()
            with connection, contextlib.suppress(OSError):
                while not gave_up.wait(0.1 if answer == b"x" else 0.0):
                    connection.sendall(answer if answer == b"x" else answer * 1000)

        thread = threading.Thread(target=serve)
        thread.start()
        giving_up = threading.Timer(5.0, gave_up.set)
        giving_up.start()
        began = time.monotonic()
        fault = probe(Service("s", ("/x",), health=checked), 1)
        took = time.monotonic() - began
        giving_up.cancel()
        gave_up.set()
        thread.join()
    assert took < 3.0 and ("timed out" in fault if answer == b"x" else fault == "")


def test_whatever_a_servers_user_puts_into_its_ready_file_the_status_can_be_read(tmp_path: Path) -> None:
    path, now = tmp_path / "ready", 1_700_000_000
    clients = {
        "3.8.8": now, "3.8.7": now + 0.5, "3.8.6": "y", "3.8.5": True, "3.8.4": float("nan"), "3.8.3": float("inf"),
        "3.8.2": 10**400, "3.8.1": -1, "3.8.0": None, "x": now, "3..8": now, "\ud800": now,
    }  # fmt: skip
    path.write_text(json.dumps({"pid": 1, "version": "3.8.8", "clients": clients}))
    report = ready_report(str(path), 1)
    assert report == {"version": "3.8.8", "clients": {"3.8.8": now, "3.8.7": now + 0.5}}
    found = build_status(Findings(SPEC), "", {"s": report}, {}, FRESH, 50.0)
    assert from_json(HostStatus, to_json(found)).services[0].clients == report["clients"]
    for version, listed in (("\ud800", ["x"]), (["3"], "x"), ({}, None), ("x" * 65, 1), ("a b", {})):
        path.write_text(json.dumps({"pid": 1, "version": version, "clients": listed}))
        assert ready_report(str(path), 1) == {"version": "", "clients": {}}


def test_no_file_in_a_ready_files_place_holds_the_agent(tmp_path: Path) -> None:
    path = tmp_path / "ready"
    path.write_text("[" * 60_000)
    assert ready_report(str(path), 1) is None
    os.truncate(path, 1 << 40)
    assert ready_report(str(path), 1) is None
    path.unlink()
    os.mkfifo(path)
    writer = os.open(path, os.O_RDWR)
    os.write(writer, b'{"pid": 1}')
    assert ready_report(str(path), 1) is None
    os.close(writer)


def status(findings: Findings, fault: str = "", previous: HostStatus = FRESH, now: float = 50.0) -> HostStatus:
    return build_status(findings, fault, {}, {"s": "last words"}, previous, now)


def conditions(found: HostStatus) -> dict[str, tuple[bool, str]]:
    return {each.type: (each.status, each.reason) for each in found.conditions}


READY = Watch(ProcessRecord(1, 1), "ready", 40.0)


def test_all_well_is_converged_since_it_became_so() -> None:
    findings = Findings(SPEC, watches={"s": READY}, processes={"s": process()}, decisions={"s": Decision("keep")})
    first = status(findings)
    assert set(conditions(first).values()) == {
        (True, "Installed"), (True, "Ready"), (True, "Done"), (True, "Converged"),
    }  # fmt: skip
    assert is_settled(first) and first.observed_generation == 7
    again = status(findings, previous=first, now=60.0)
    assert again.time == 60.0 and {each.since for each in again.conditions} == {50.0}


@pytest.mark.parametrize(
    ("findings", "fault", "kind", "reason"),
    [
        (Findings(None), "", "Converged", "NoSpec"),
        (Findings(SPEC, watches={"s": READY}, decisions={"s": Decision("keep")}), "$.x", "Converged", "InvalidSpec"),
        (Findings(SPEC, file_faults=("/f: no",)), "", "Converged", "FilesFailed"),
        (Findings(SPEC, secret_faults=("403",), file_faults=("/f: no",)), "", "Converged", "SecretsMissing"),
        (Findings(SPEC, manager_fault="circusd"), "", "ServicesReady", "ServiceManagerFailed"),
        (Findings(SPEC), "", "ServicesReady", "Pending"),
        (Findings(SPEC, decisions={"s": Decision("wait-idle", "r")}), "", "ServicesReady", "WaitingIdle"),
        (Findings(SPEC, decisions={"s": Decision("stop", "r")}), "", "ServicesReady", "Starting"),
        (
            Findings(SPEC, watches={"s": READY}, decisions={"s": Decision("keep", "kept")}),
            "", "Converged", "HeldBack",
        ),
        (
            Findings(HostSpec("t", 1), decisions={"old": Decision("stop", "r")}),
            "", "ServicesReady", "Stopping",
        ),
        (
            Findings(HostSpec("t", 1, releases=(Release("r", Artifact("", "")),))),
            "", "ReleasesInstalled", "Installing",
        ),
        (
            Findings(
                HostSpec("t", 1, releases=(Release("r", Artifact("", "")),)), release_faults=("no wheel",)
            ),
            "", "ReleasesInstalled", "InstallFailed",
        ),
        (Findings(HostSpec("t", 1, jobs=(Job("j", ("/x",), "1"),)), jobs=(None,)), "", "JobsDone", "Running"),
        (
            Findings(HostSpec("t", 1, jobs=(Job("j", ("/x",), "1"),)), jobs=(JobStatus("j", "1", "failed"),)),
            "", "JobsDone", "Failed",
        ),
    ],
)  # fmt: skip
def test_what_is_amiss_is_told_and_nothing_is_converged(findings: Findings, fault: str, kind: str, reason: str) -> None:
    found = status(findings, fault)
    assert conditions(found)[kind] == (False, reason)
    assert conditions(found)["Converged"][0] is False and not is_settled(found)


def test_a_failed_service_brings_the_end_of_its_log() -> None:
    watch = Watch(ProcessRecord(1, 1), "failed", 40.0, "ended 3 times soon after its start")
    found = status(Findings(SPEC, watches={"s": watch}, decisions={"s": Decision("keep")}))
    assert found.services[0].message == "ended 3 times soon after its start; last words"


def test_a_retry_backs_off_and_starts_afresh_after_a_success() -> None:
    retry = Retry()
    delays = []
    for _ in range(8):
        retry.failed("no", 100.0)
        delays.append(retry.not_before - 100.0)
    assert delays == [1, 2, 4, 8, 16, 32, 60, 60] and not retry.is_due(159.0) and retry.is_due(160.0)
    retry.succeeded()
    assert retry.is_due(0.0) and retry.reason == ""
