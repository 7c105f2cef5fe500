"""Faults of an upgrade's switch: each waits for its moment, breaks something, and mends it once the upgrade ended."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.postgres import connected
from tests.stack import Stack, eventually, processes_of

MOST_SECONDS = 300.0
"""A bound for one upgrade on a busy machine."""
OTHER = "3.8.4"
"""What the release that is switched to says it is."""
BUILDERS = "SELECT pid FROM pg_stat_progress_create_index WHERE datname = current_database()"


@contextmanager
def migration_killed(stack: Stack) -> Iterator[None]:
    """In the midst of building an index, which an open transaction keeps from its end."""
    with connected(stack.login.url(), "a reader") as reader:
        eventually(lambda: stack.jobs() == ["migrate"], "the migration", MOST_SECONDS)
        reader("BEGIN ISOLATION LEVEL REPEATABLE READ")
        reader("SELECT count(*) FROM flow_run")
        eventually(lambda: stack.query(BUILDERS), "an index being built", MOST_SECONDS)
        eventually(lambda: kill_program(stack, "blocks.server.migrate"), "its process")
    yield
    assert stack.query("SELECT indexrelid::regclass FROM pg_index WHERE NOT indisvalid") == []


@contextmanager
def server_kept_from_starting(stack: Stack) -> Iterator[None]:
    """Its socket's path is taken."""
    eventually(lambda: stack.jobs() == ["rehearse"], "the rehearsal", MOST_SECONDS)
    in_the_way = stack.home / "state/server/server-green.sock"
    (in_the_way / "x").mkdir(parents=True)
    yield
    (in_the_way / "x").rmdir()
    in_the_way.rmdir()


@contextmanager
def server_of_another_version(stack: Stack) -> Iterator[None]:
    """What was rehearsed is another release by the time it is switched to."""
    eventually(lambda: stack.jobs() == ["migrate"], "the migration", MOST_SECONDS)
    python = Path(stack.host_spec()["jobs"][0]["argv"][0])
    (info,) = python.parents[1].glob("lib/*/site-packages/prefect/_build_info.py")
    text = info.read_text()
    replace(info, re.sub(r'"3\.8\.\d+"', f'"{OTHER}"', text))
    yield
    replace(info, text)


@contextmanager
def verification_that_cannot_pass(stack: Stack) -> Iterator[None]:
    """Everything has been switched by then, workers too. Nothing is scheduled for a deployment that is paused."""
    eventually(lambda: stack.jobs() == ["migrate"], "the migration", MOST_SECONDS)
    with stack.client() as client:
        probe = client.read_deployment_by_name("probe/maintenance").id
        client.pause_deployment(probe)
        yield
        client.resume_deployment(probe)


def replace(path: Path, text: str) -> None:
    """As a file of its own: the one that is there may be shared with the installer's cache."""
    other = path.with_suffix(".new")
    other.write_text(text)
    other.rename(path)


def kill_program(stack: Stack, module: str) -> bool:
    found = [pid for pid, command in processes_of(stack.home).items() if module in command]
    for pid in found:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return bool(found)
