"""Backups that are killed, that do not restore, that find no room, whose database goes away; the next one counts."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.fault.runs import answers, begun, ended, has_task, kill_flow, without_room
from tests.stack import Stack, eventually
from tests.traffic import UNHURRIED, clients

pytestmark = pytest.mark.fault

ENDED_SECONDS = 120.0
UNTOUCHED = ("flow", "deployment", "work_pool", "block_document", "automation", "variable")
"""Tables in which a backup changes nothing."""
LIES = """
CREATE FUNCTION public.lies() RETURNS float IMMUTABLE LANGUAGE sql AS 'SELECT random()';
CREATE TABLE public.lying (id uuid PRIMARY KEY, value float GENERATED ALWAYS AS (public.lies()) STORED);
INSERT INTO public.lying (id) SELECT gen_random_uuid() FROM generate_series(1, 5);
"""
"""A table whose rows no restore can bring back as they were."""


@contextmanager
def undisturbed_service(stack: Stack) -> Iterator[None]:
    """Two clients without retries meanwhile, none of whose calls fails; the stack's own rows stay as they are."""
    before = counts(stack)
    with clients(2, stack.url, stack.secret("auth-string"), UNHURRIED) as traffic:
        yield
    assert not traffic.failed()
    assert counts(stack) == before


def counts(stack: Stack) -> dict[str, str]:
    return {table: stack.query(f"SELECT count(*) FROM {table}")[0][0] for table in UNTOUCHED}


def listed(stack: Stack) -> dict[str, bool]:
    """Every backup, and whether it is verified."""
    found = json.loads(stack.run("backup", "--list", "--json").stdout)["backups"]
    return {each["id"]: each["verified"] for each in found}


def is_leased(stack: Stack, _: UUID) -> bool:
    return not stack.ledger.is_free()


BOUNDARIES = {"lease taken": is_leased, "dump": has_task("dump"), "drill": has_task("drill")}


@pytest.mark.rare
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_a_killed_backup_does_not_count_and_the_next_one_does(stack: Stack, boundary: str) -> None:
    before = listed(stack)
    with undisturbed_service(stack):
        run = begun(stack, "backup/backup")
        eventually(lambda: BOUNDARIES[boundary](stack, run), boundary, ENDED_SECONDS)
        assert kill_flow(stack, run)
        assert ended(stack, run, ENDED_SECONDS).state_name == "Crashed"
        stack.run("backup")
    new = {name: verified for name, verified in listed(stack).items() if name not in before}
    assert list(new.values()).count(True) in (1, 2)  # the killed one, too, where it had got that far
    require_tidy(stack)


def store(stack: Stack) -> Path:
    return stack.home / "store/backups"


def is_stored(stack: Stack, before: set[str]) -> bool:
    return any(each.parent.name not in before for each in store(stack).glob("*/dump"))


def has_manifest(stack: Stack, before: set[str]) -> bool:
    return any(each.parent.name not in before for each in store(stack).glob("*/manifest.json"))


def is_restoring(stack: Stack, _: set[str]) -> bool:
    return bool(stack.query("SELECT 1 FROM pg_database WHERE datname LIKE 'drill-%'"))


def is_compared(stack: Stack, before: set[str]) -> bool:
    new = (each for each in store(stack).glob("*/manifest.json") if each.parent.name not in before)
    return any(json.loads(each.read_text())["drill"] for each in new)


PLACES = {"dump stored": is_stored, "manifest": has_manifest, "restoring": is_restoring, "compared": is_compared}


def test_backups_killed_one_after_the_other_leave_nothing_in_the_way(stack: Stack) -> None:
    """Each begins on what the one before left, and gets further; the process dies within milliseconds of the place."""
    with undisturbed_service(stack):
        for name, is_there in PLACES.items():
            before = {each.name for each in store(stack).glob("*")}  # no folder before the first backup
            run = begun(stack, "backup/backup")
            soon(lambda is_there=is_there, before=before: is_there(stack, before), name)  # type: ignore[misc]
            os.kill(stack.ledger.holder()["pid"], signal.SIGKILL)
            assert ended(stack, run, ENDED_SECONDS).state_name == "Crashed", name
            new = {each: well for each, well in listed(stack).items() if each not in before}
            assert not any(new.values()) or name == "compared", "half a backup counts"
        stack.run("backup")
    require_tidy(stack)


def soon(observe: Callable[[], bool], what: str) -> None:
    """`eventually` for what lasts some milliseconds."""
    deadline = time.monotonic() + ENDED_SECONDS
    while not observe():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.001)


@pytest.mark.rare
def test_of_two_at_once_the_second_says_who_holds_the_lease(stack: Stack) -> None:
    first = begun(stack, "backup/backup")
    eventually(lambda: is_leased(stack, first), "the lease", ENDED_SECONDS)
    pid = stack.ledger.holder()["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        second = ended(stack, begun(stack, "backup/backup"), ENDED_SECONDS)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert second.state is not None and second.state.is_failed()
    assert f"(process {pid})" in str(second.state.message) and "for: backup" in str(second.state.message)
    assert ended(stack, first, ENDED_SECONDS).state_name == "Completed"
    require_tidy(stack)


def require_tidy(stack: Stack) -> None:
    """No scratch database, no dump without a manifest, no half-written file."""
    databases = {row[0] for row in stack.query("SELECT datname FROM pg_database WHERE NOT datistemplate")}
    assert databases == {"postgres", "prefect-db"}
    files = sorted(each.name for each in store(stack).rglob("*") if each.is_file())
    assert files == sorted(["dump", "manifest.json"] * len(listed(stack)))


def test_what_does_not_restore_as_it_was_never_counts(stack: Stack) -> None:
    before = listed(stack)
    stack.query(LIES)
    try:
        done = stack.call("backup", *stack.where)
    finally:
        stack.query("DROP TABLE public.lying; DROP FUNCTION public.lies()")
    assert done.status == 1
    assert "does not restore: lying: other rows than were dumped" in done.stderr, done.output
    new = {name: verified for name, verified in listed(stack).items() if name not in before}
    assert list(new.values()) == [False]
    stack.run("backup")
    require_tidy(stack)


def test_a_full_disk_is_said_and_leaves_no_half_backup(stack: Stack) -> None:
    before = listed(stack)
    with without_room(store(stack)):
        with undisturbed_service(stack):
            done = stack.call("backup", *stack.where)
        assert not [each for each in store(stack).rglob("*") if each.is_file()]
    assert done.status == 1
    assert "cannot be written: No space left on device" in done.stderr, done.output
    assert listed(stack) == before


def test_a_database_that_goes_away_fails_the_run_and_the_next_one_counts(stack: Stack) -> None:
    before = listed(stack)
    run = begun(stack, "backup/backup")
    eventually(lambda: is_leased(stack, run), "the lease", ENDED_SECONDS)
    os.kill(stack.pids()["postgres"], signal.SIGKILL)
    eventually(lambda: answers(stack), "the database again", 60)
    ended(stack, run, ENDED_SECONDS)
    stack.run("backup")
    new: dict[str, Any] = {name: each for name, each in listed(stack).items() if name not in before}
    assert True in new.values()
    require_tidy(stack)
