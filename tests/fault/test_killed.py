"""The launcher, or its temporary server, killed at every step boundary: the same command always finishes the job."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress

import pytest

from tests.fault.comparison import Undisturbed, require_equal
from tests.fault.runs import boundary, disturbed_call, says_one_line_with_a_hint
from tests.stack import Result, Stack, eventually

pytestmark = pytest.mark.fault

MOST_ATTEMPTS = 80
"""More than there are steps: a bootstrap that never comes to its end must not run for ever."""


def attempt(stack: Stack, is_time: Callable[[str], bool], delay: float = 0.0) -> tuple[str | None, Result]:
    """Bootstrap, and kill the launcher `delay` seconds after a step whose name `is_time` accepts has ended.

    Returns that step (None when the bootstrap came to its end first) and the call.
    """
    killed: list[str] = []

    def kill_in_time(step: str, process: subprocess.Popen[str]) -> None:
        if not killed and is_time(step):
            time.sleep(delay)
            process.kill()
            killed.append(step)

    done = disturbed_call(stack, ("bootstrap", *stack.where), kill_in_time)
    return (killed[0] if killed else None), done


def test_killed_on_either_side_of_each_commit_point(disturbed: Stack, undisturbed: Undisturbed) -> None:
    """Where a bootstrap becomes another one: the host has its spec; the pivot; workers run.

    One home: before them its temporary server dies, and that one's database; at the pivot all of it dies, as by a
    reboot.
    """
    for part in ("server", "postgres"):
        without_its_temporary(disturbed, part)
    kill(disturbed, "host services")
    kill(disturbed, "stop the temporary server")
    reboot_after(disturbed, "copy its database")
    kill(disturbed, "services ready")
    disturbed.bootstrap()
    require_equal(disturbed, undisturbed)


@pytest.mark.rare
def test_killed_at_every_step_boundary(disturbed: Stack, undisturbed: Undisturbed) -> None:
    """One home: each attempt is killed at the first boundary that no attempt before has passed."""
    seen: set[str] = set()

    def is_new(step: str) -> bool:
        return boundary(step) not in seen

    for _ in range(MOST_ATTEMPTS):
        killed_at, done = attempt(disturbed, is_new)
        if killed_at is None:
            assert done.status == 0, done.output
            break
        assert done.status == -signal.SIGKILL, done.output
        seen |= {boundary(step) for step in done.steps}  # those that end side by side are one boundary
    missed = {boundary(step) for step in undisturbed.steps} - seen
    assert not missed, f"never killed at {missed}"
    require_equal(disturbed, undisturbed)


FIRST_SECONDS = (0.5, 1.0, 1.5, 2.0, 3.0)
INSIDE = [
    ("locks and wheel", 1.0),  # inside a release's installation
    ("temporary server ready", 0.3),  # inside the first tasks
    ("stop the temporary server", 0.1),  # inside the dump
    ("stop the temporary server", 0.3),  # inside the restore, or just after it
    ("services ready", 1.5),  # inside the verification
    ("resume schedules", 0.05),  # inside the removal of the temporary server
]
"""A step, and how many seconds after its end the launcher is killed."""


@pytest.mark.rare
def test_killed_in_its_first_seconds_by_a_reboot_and_inside_steps(disturbed: Stack, undisturbed: Undisturbed) -> None:
    """One home, which each attempt finds as the one before left it; the last one is let be."""
    for seconds in FIRST_SECONDS:
        process = disturbed.start("bootstrap", *disturbed.where)
        with suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=seconds)
        process.kill()
        process.communicate()
    reboot_after(disturbed, "host services")
    for step, delay in INSIDE:
        kill(disturbed, step, delay)
    disturbed.bootstrap()
    require_equal(disturbed, undisturbed)


def without_its_temporary(stack: Stack, part: str) -> None:
    """Bootstrap, and kill its temporary server, or that one's database, once both are ready."""

    def kill(step: str, _: object) -> None:
        if step == "temporary server ready":
            record = json.loads((stack.home / f"bootstrap/{part}.json").read_text())
            os.kill(int(record["pid"]), signal.SIGKILL)

    done = disturbed_call(stack, ("bootstrap", *stack.where), kill)
    assert done.status == 1 and says_one_line_with_a_hint(done), done.output
    assert len(done.stderr.splitlines()[0]) < 500, done.output


def kill(stack: Stack, step: str, delay: float = 0.0) -> None:
    """Bootstrap, and kill the launcher that long after a step."""
    killed_at, done = attempt(stack, lambda name: name == step, delay)
    assert killed_at == step and done.status == -signal.SIGKILL, done.output


def reboot_after(stack: Stack, step: str) -> None:
    """Everything of the home dies at one moment, the launcher too."""
    kill(stack, step)
    for pid in stack.processes():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    eventually(lambda: not stack.processes(), "the end of all processes")
