"""Old and new definition and what runs in, decision out."""

from __future__ import annotations

import dataclasses

import pytest

from blocks.agent.definitions import Wanted, releases_needed, wanted_services
from blocks.agent.planning import Action, Decision, ServiceProcess, decide
from blocks.agent.processes import ProcessRecord
from blocks.agent.spec import Health, HostSpec, Service, Socket

SERVICE = Service("s", ("/x",), sockets=("web",), files=("/f",))
SPEC = HostSpec("t", 1, sockets=(Socket("web", "127.0.0.1", 1),), services=(SERVICE,))


def wanted(service: Service = SERVICE, content: bytes = b"1", port: int = 1) -> Wanted:
    spec = dataclasses.replace(SPEC, sockets=(Socket("web", "127.0.0.1", port),), services=(service,))
    return wanted_services(spec, {"/f": content})["s"]


def running(form: Wanted, held: bool = False) -> ServiceProcess:
    return ServiceProcess(ProcessRecord(1, 1), form.digest, form.files_digest, held, 0, 0.0)


RELOADS = dataclasses.replace(SERVICE, reload_signal="SIGHUP")
WORKER = dataclasses.replace(SERVICE, restart="when-idle")


@pytest.mark.parametrize(
    ("form", "process", "obstacle", "children", "action"),
    [
        (wanted(), None, "", False, "start"),
        (wanted(), running(wanted(), held=True), "", False, "start"),
        (wanted(), None, "waits for db", False, "hold"),
        (wanted(), running(wanted(), held=True), "waits for db", False, "hold"),
        (wanted(), running(wanted()), "", False, "keep"),
        (wanted(), running(wanted()), "waits for db", False, "keep"),
        (wanted(content=b"2"), running(wanted()), "", False, "stop"),
        (wanted(content=b"2"), running(wanted()), "waits for release", False, "keep"),
        (wanted(port=2), running(wanted()), "", False, "stop"),
        (wanted(RELOADS, b"2"), running(wanted(RELOADS)), "", False, "reload"),
        (wanted(RELOADS, b"2", port=2), running(wanted(RELOADS)), "", False, "stop"),
        (wanted(WORKER, b"2"), running(wanted(WORKER)), "", True, "wait-idle"),
        (wanted(WORKER, b"2"), running(wanted(WORKER)), "", False, "stop"),
        (wanted(WORKER), running(wanted(WORKER)), "", True, "keep"),
        (None, running(wanted()), "", False, "stop"),
        (None, running(wanted(WORKER)), "", True, "wait-idle"),
    ],
)
def test_decisions(
    form: Wanted | None, process: ServiceProcess | None, obstacle: str, children: bool, action: Action
) -> None:
    assert decide(form, process, obstacle, children).action == action


def test_keeping_what_should_have_changed_says_why() -> None:
    kept = decide(wanted(content=b"2"), running(wanted()), "waits for release 2", False)
    assert kept == Decision("keep", "keeps running as it was: waits for release 2")


@pytest.mark.parametrize(
    "changes",
    [
        {"health": Health("tcp", port=1)},
        {"stop_timeout": 1.0},
        {"stop_signal": "SIGINT"},
        {"version": "2"},
        {"restart": "when-idle"},
        {"ready_file": "/r"},
    ],
)
def test_how_it_is_watched_and_ended_changes_no_process(changes: dict[str, object]) -> None:
    assert wanted(dataclasses.replace(SERVICE, **changes)).digest == wanted().digest  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes",
    [{"argv": ("/y",)}, {"cwd": "/y"}, {"user": "u"}, {"env": {"A": "1"}}, {"secrets": {"A": "b"}}],
)
def test_what_a_process_is_made_from_changes_it(changes: dict[str, object]) -> None:
    assert wanted(dataclasses.replace(SERVICE, **changes)).digest != wanted().digest  # type: ignore[arg-type]


def test_the_first_version_of_a_secret_is_what_its_name_alone_meant_and_any_other_is_another() -> None:
    """So nothing restarts when a stack from before secrets had versions names them."""
    named, first, second = (
        wanted(dataclasses.replace(SERVICE, secrets={"A": each})).digest for each in ("key", "key@1", "key@2")
    )
    assert named == first != second


def test_a_release_is_needed_by_what_points_into_it() -> None:
    argv = ("/h/releases/3.8.8-a/bin/python", "-m", "x")
    assert releases_needed(argv, "/h/releases", ("3.8.8-a", "3.8.8-ab", "3.8.8")) == ("3.8.8-a",)
