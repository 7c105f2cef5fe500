"""Backups that are killed, that do not restore, that find no room, whose database goes away; the next one counts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import pytest

from blocks.host import lease as leases
from tests.fault.runs import begun, ended, has_task, kill_flow
from tests.stack import Stack, eventually
from tests.traffic import clients

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
    with clients(2, stack.url, stack.secret("auth-string")) as traffic:
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
    return not leases.is_free(stack.paths.lease)


BOUNDARIES = {"lease taken": is_leased, "dump": has_task("dump"), "drill": has_task("drill")}


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_a_killed_backup_does_not_count_and_the_next_one_does(undisturbed: Stack, boundary: str) -> None:
    before = listed(undisturbed)
    with undisturbed_service(undisturbed):
        run = begun(undisturbed, "backup/backup")
        eventually(lambda: BOUNDARIES[boundary](undisturbed, run), boundary, ENDED_SECONDS)
        assert kill_flow(undisturbed, run)
        assert ended(undisturbed, run, ENDED_SECONDS).state_name == "Crashed"
        undisturbed.run("backup")
    new = {name: verified for name, verified in listed(undisturbed).items() if name not in before}
    assert list(new.values()).count(True) in (1, 2)  # the killed one, too, where it had got that far
    require_tidy(undisturbed)


def require_tidy(stack: Stack) -> None:
    """No scratch database, no dump without a manifest, no half-written file."""
    databases = {row[0] for row in stack.query("SELECT datname FROM pg_database WHERE NOT datistemplate")}
    assert databases == {"postgres", "prefect-db"}
    files = sorted(each.name for each in (stack.home / "store/backups").rglob("*") if each.is_file())
    assert files == sorted(["dump", "manifest.json"] * len(listed(stack)))


def test_what_does_not_restore_as_it_was_never_counts(undisturbed: Stack) -> None:
    before = listed(undisturbed)
    undisturbed.query(LIES)
    try:
        done = undisturbed.call("backup", *undisturbed.where)
    finally:
        undisturbed.query("DROP TABLE public.lying; DROP FUNCTION public.lies()")
    assert done.status == 1
    assert "does not restore: lying: other rows than were dumped" in done.stderr, done.output
    new = {name: verified for name, verified in listed(undisturbed).items() if name not in before}
    assert list(new.values()) == [False]
    undisturbed.run("backup")
    require_tidy(undisturbed)


def test_a_full_disk_is_said_and_leaves_no_half_backup(undisturbed: Stack) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small filesystem")
    before = listed(undisturbed)
    folder = undisturbed.home / "store/backups"
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=0700", "tmpfs", str(folder)], check=True)
    try:
        with undisturbed_service(undisturbed):
            done = undisturbed.call("backup", *undisturbed.where)
        assert not [each for each in folder.rglob("*") if each.is_file()]
    finally:
        subprocess.run(["umount", str(folder)], check=True)
    assert done.status == 1
    assert "cannot be written: No space left on device" in done.stderr, done.output
    assert listed(undisturbed) == before


def test_a_database_that_goes_away_fails_the_run_and_the_next_one_counts(undisturbed: Stack) -> None:
    before = listed(undisturbed)
    run = begun(undisturbed, "backup/backup")
    eventually(lambda: is_leased(undisturbed, run), "the lease", ENDED_SECONDS)
    os.kill(undisturbed.pids()["postgres"], signal.SIGKILL)
    eventually(lambda: _answers(undisturbed), "the database again", 60)
    ended(undisturbed, run, ENDED_SECONDS)
    undisturbed.run("backup")
    new: dict[str, Any] = {name: each for name, each in listed(undisturbed).items() if name not in before}
    assert True in new.values()
    require_tidy(undisturbed)


def _answers(stack: Stack) -> bool:
    try:
        return stack.query("SELECT 1") == [["1"]]
    except Exception:  # noqa: BLE001 (whatever it says while it starts)
        return False
