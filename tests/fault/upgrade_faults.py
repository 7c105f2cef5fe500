"""Faults of an upgrade's switch: each waits for its moment, breaks something, and mends it once the upgrade ended."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.postgres import connected
from tests.stack import Stack, eventually, processes_of

MOST_SECONDS = 300.0
"""A bound for one upgrade on a busy machine."""
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
def verification_that_cannot_pass(stack: Stack) -> Iterator[None]:
    """Everything has been switched by then, workers too. Nothing is scheduled for a deployment that is paused."""
    eventually(lambda: stack.jobs() == ["migrate"], "the migration", MOST_SECONDS)
    with stack.client() as client:
        probe = client.read_deployment_by_name("probe/maintenance").id
        client.pause_deployment(probe)
        yield
        client.resume_deployment(probe)


def kill_program(stack: Stack, module: str) -> bool:
    found = [pid for pid, command in processes_of(stack.home).items() if module in command]
    for pid in found:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return bool(found)
