"""Wrong calls, specs and homes: one clear line with a hint, the right exit status, nothing changed."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from blocks.host import at_work
from tests import in_process
from tests.disk import mounted
from tests.stack import Result, Stack, scratch, tree

pytestmark = pytest.mark.e2e


@pytest.fixture
def fresh() -> Iterator[Stack]:
    """A stack that is not there yet."""
    with scratch() as stack:
        yield stack


def called(stack: Stack, *argv: str) -> Result:
    """In this process: nearly all that is asked here is which words are said, and that nothing is touched."""
    done = in_process.selfhost(*argv, folder=stack.folder)
    return Result(argv, done.returncode, done.stdout, done.stderr)


def refused(done: Result, status: int, *said: str) -> None:
    """It ended with that status and said why in one line, and what to do in another."""
    assert done.status == status, done.output
    assert "Traceback" not in done.output
    lines = done.stderr.splitlines()
    assert [each.partition(":")[0] for each in lines] == ["error", "hint"], done.output
    for text in said:
        assert text in done.stderr, done.output


def spec_file(stack: Stack, text: str) -> tuple[str, str]:
    path = stack.folder / "spec.toml"
    path.write_text(text)
    return "--spec", str(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nmae = 'x'", "nmae: unknown key"),
        ("[server]\nlog_levle = 'INFO'", "server.log_levle: unknown key"),
        ("[[workers]]\nname = 'a'\npool = 'maintenance'\ncolour = 1", "workers.0.colour: unknown key"),
        ("[ports]\npublic = '4300'", "ports.public"),
        ("[ports]\npublic = 70000", "ports.public"),
        ("[ports]\npublic = 4300\nserver = 4300", "must differ"),
        ("prefect_version = 3.8", "prefect_version"),
        ("prefect_version = '3.8.1'", "task runs are silently never stored"),
        ("prefect_version = '3.9.1'", "3.9.1 is not known to work"),
        ("prefect_version = 'latest'", "is not a release such as 3.8.8"),
        ("target = 'moon'", "target"),
        ("name = 'Has Blanks'", "name"),
        ("workers = []", "must serve the pool 'maintenance'"),
        ("[database]\nurl = 'postgresql://u@h/d'", "url and password_file go together"),
        ("[database]\nurl = 'postgresql://u:secret@h/d'\npassword_file = 'f'", "database.url"),
        ("this is no TOML", "cannot be read as TOML"),
    ],
)
def test_a_wrong_spec_is_refused_with_its_path(fresh: Stack, text: str, said: str) -> None:
    refused(called(fresh, "bootstrap", "--home", str(fresh.home), *spec_file(fresh, text)), 2, said)
    assert not fresh.home.exists()


@pytest.mark.parametrize("verb", ["bootstrap", "plan"])
def test_all_faults_of_a_spec_are_told_together(fresh: Stack, verb: str) -> None:
    text = "nmae = 'x'\nlisten = 7\nprefect_version = '3.8.1'"
    refused(called(fresh, verb, *spec_file(fresh, text)), 2, "nmae: unknown key", "listen", "3.8.1")
    assert not fresh.home.exists()


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("bootstrap", "--prot", "4300"), "--prot"),
        (("bootstrap", "--port", "many"), "many"),
        (("bootstrap", "--port", "0"), "ports.public"),
        (("bootstrap", "--port", "65535"), "ports"),
        (("bootstrap", "--name", "Über"), "name"),
        (("bootstrap", "--spec", "absent.toml"), "no spec file at absent.toml"),
        (("boostrap",), "boostrap"),
        (("bootstrap", "now"), "now"),
    ],
)
def test_a_wrong_call_is_refused(fresh: Stack, argv: tuple[str, ...], said: str) -> None:
    refused(called(fresh, *argv), 2, said)
    assert list(fresh.folder.iterdir()) == []


@pytest.mark.parametrize(
    "argv",
    [
        ("bootstrap", "--prot", "4300"),
        ("boostrap",),
        ("bootstrap", "--spec", "absent.toml"),
        ("plan", "--spec", "spec.toml"),
        ("status", "--home", "nowhere"),
        ("destroy", "--home", "nowhere", "--yes"),
    ],
)
def test_a_process_of_its_own_says_the_same(fresh: Stack, argv: tuple[str, ...]) -> None:
    spec_file(fresh, "nmae = 'x'")
    process, here = fresh.call(*argv), called(fresh, *argv)
    refused(process, here.status)
    assert (process.stdout, process.stderr) == (here.stdout, here.stderr)
    assert [each.name for each in fresh.folder.iterdir()] == ["spec.toml"]


@pytest.mark.parametrize("verb", ["status", "start", "stop", "connect", "logs", "open"])
def test_a_verb_without_a_stack_says_so(fresh: Stack, verb: str) -> None:
    refused(called(fresh, verb, "--home", str(fresh.home)), 1, str(fresh.home), "selfhost bootstrap")
    assert not fresh.home.exists()


def test_destroy_without_a_stack_says_so(fresh: Stack) -> None:
    refused(called(fresh, "destroy", "--home", str(fresh.home), "--yes"), 1, "there is no stack in")
    assert not fresh.home.exists()


@pytest.mark.parametrize(("offset", "what"), [(0, "front door"), (1, "server"), (2, "database")])
def test_a_taken_port_is_named(fresh: Stack, offset: int, what: str) -> None:
    with socket.create_server(("127.0.0.1", fresh.port + offset)):
        done = called(fresh, "bootstrap", *fresh.where)
    refused(done, 1, f"port {fresh.port + offset} ({what}) is taken", "--port", "nothing was changed")
    assert not fresh.home.exists()


def test_all_that_is_in_the_way_is_told_together(fresh: Stack) -> None:
    with socket.create_server(("127.0.0.1", fresh.port)), socket.create_server(("127.0.0.1", fresh.port + 2)):
        done = called(fresh, "bootstrap", *fresh.where)
    refused(done, 1, f"port {fresh.port} ", f"port {fresh.port + 2} ")


@contextmanager
def unwritable(folder: Path) -> Iterator[None]:
    """A folder nobody can write to: for root, that takes a file system which is mounted read-only."""
    if os.geteuid() != 0:
        folder.chmod(0o500)
        yield
        folder.chmod(0o700)
        return
    with mounted(folder, "ro,size=1m,mode=0755"):
        yield


@pytest.mark.parametrize("below", ["", "stack"])
def test_a_home_that_cannot_be_written_is_refused(fresh: Stack, below: str) -> None:
    fresh.home.mkdir()
    with unwritable(fresh.home):
        done = called(fresh, "bootstrap", "--home", str(fresh.home / below), "--name", fresh.name)
        refused(done, 1, str(fresh.home), "not a folder you can write to", "nothing was changed")


def test_a_home_below_a_file_is_refused(fresh: Stack) -> None:
    fresh.home.write_text("a file")
    for home in (fresh.home, fresh.home / "below"):
        refused(
            called(fresh, "bootstrap", "--home", str(home), "--name", fresh.name), 1, "not a folder you can write to"
        )
    assert fresh.home.read_text() == "a file"


def test_a_home_with_a_long_path_is_refused(fresh: Stack) -> None:
    refused(called(fresh, "bootstrap", "--home", str(fresh.folder / ("x" * 80))), 1, "sockets allow 70")
    assert list(fresh.folder.iterdir()) == []


def test_a_folder_with_foreign_files_is_refused(fresh: Stack) -> None:
    fresh.home.mkdir()
    (fresh.home / "thesis.tex").write_text("years of work")
    before = tree(fresh.home)
    refused(called(fresh, "bootstrap", *fresh.where), 1, "is not empty and carries no mark of ours", "--home")
    refused(called(fresh, "destroy", *fresh.where, "--yes"), 1, "there is no stack in")
    assert tree(fresh.home) == before


def test_another_stacks_home_is_refused(fresh: Stack) -> None:
    fresh.home.mkdir()
    (fresh.home / "stack.json").write_text('{"stack": "theirs"}')
    before = tree(fresh.home)
    for verb in (("bootstrap",), ("destroy", "--yes")):
        refused(called(fresh, *verb, *fresh.where), 2, "belongs to the stack 'theirs'", f"not '{fresh.name}'")
    assert tree(fresh.home) == before


@pytest.mark.parametrize(
    ("text", "argv"),
    [
        ("", ("bootstrap",)),
        ("no JSON", ("destroy", "--yes")),
        ("[]", ("plan",)),
        ("{}", ("bootstrap",)),
        ('{"stack": ', ("destroy", "--yes")),
        ("\x00\xff", ("plan",)),
    ],
)
def test_a_damaged_ownership_mark_is_said_and_left(fresh: Stack, text: str, argv: tuple[str, ...]) -> None:
    fresh.home.mkdir()
    (fresh.home / "stack.json").write_bytes(text.encode("latin-1"))
    before = tree(fresh.home)
    refused(called(fresh, *argv, *fresh.where), 1, "stack.json is damaged", "put back")
    assert tree(fresh.home) == before


@pytest.mark.parametrize(
    ("text", "verb"),  # to start, stop or read logs the file is not needed
    [
        ("", "status"),
        ("no JSON", "connect"),
        ("[]", "status"),
        ("{}", "connect"),
        ('{"spec": 1, "releases": []}', "status"),
    ],
)
def test_a_damaged_wanted_file_is_said_and_left(fresh: Stack, text: str, verb: str) -> None:
    fresh.home.mkdir()
    (fresh.home / "stack.json").write_text(json.dumps({"stack": fresh.name}))
    fresh.wanted_file.parent.mkdir(parents=True)
    fresh.wanted_file.write_text(text)
    before = tree(fresh.home)
    refused(called(fresh, verb, "--home", str(fresh.home)), 1)
    assert tree(fresh.home) == before


def test_a_second_bootstrap_at_the_same_time_is_told_who_and_since_when(fresh: Stack) -> None:
    fresh.home.mkdir()
    claim = {"owner": "me@here", "pid": os.getpid(), "since": "2026-11-30 02:00:00 UTC", "reason": "bootstrap"}
    held = at_work.lock(fresh.paths.lease, claim)
    try:
        for verb, more in (("bootstrap", ()),):
            done = called(fresh, verb, *fresh.where, *more)
            refused(
                done, 1, "the lease is held by", f"(process {os.getpid()}) since 2", "for: bootstrap", "wait for it"
            )
    finally:
        at_work.unlock(held)
    assert sorted(each.name for each in fresh.home.iterdir()) == ["lease.json"]


@pytest.mark.parametrize("text", ["", "no JSON", "[1]", '{"owner": 1}'])
def test_a_damaged_lease_text_is_no_obstacle_to_the_answer(fresh: Stack, text: str) -> None:
    fresh.home.mkdir()
    path = fresh.home / "lease.json"
    path.write_text(text)
    with path.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        refused(called(fresh, "bootstrap", *fresh.where), 1, "the lease is held by")
