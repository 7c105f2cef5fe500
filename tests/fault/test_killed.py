"""The launcher killed at every step boundary, and inside steps: the same command always finishes the job."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress

import pytest

from tests.fault.comparison import require_equal
from tests.stack import CALL_SECONDS, Result, Stack, eventually

pytestmark = pytest.mark.fault

MOST_ATTEMPTS = 80
"""More than there are steps: a bootstrap that never comes to its end must not run for ever."""


def ended_step(line: str) -> str | None:
    """The step which a line says has ended."""
    steps = Result((), 0, line, "").steps
    return steps[0] if steps else None


def attempt(stack: Stack, is_time: Callable[[str], bool], delay: float = 0.0) -> tuple[str | None, Result]:
    """Bootstrap, and kill the launcher `delay` seconds after a step whose name `is_time` accepts has ended.

    Returns that step (None when the bootstrap came to its end first) and the call.
    """
    argv = ("bootstrap", *stack.where)
    lines, killed_at = [], None
    process = stack.start(*argv)
    assert process.stdout is not None and process.stderr is not None
    for line in process.stdout:
        lines.append(line)
        step = ended_step(line)
        if killed_at is None and step is not None and is_time(step):
            time.sleep(delay)
            process.kill()
            killed_at = step
    stderr = process.stderr.read()
    process.wait(timeout=CALL_SECONDS)
    return killed_at, stack.ended(process, argv, "".join(lines), stderr)


def finish(stack: Stack, undisturbed: Stack) -> None:
    """The same command finishes the job, and nothing is there twice or missing."""
    stack.bootstrap()
    require_equal(stack, undisturbed)


def test_killed_at_every_step_boundary(disturbed: Stack, undisturbed: Stack) -> None:
    """One home: each attempt is killed at the first step that no attempt before has passed."""
    seen: list[str] = []

    def is_new(step: str) -> bool:
        return step not in seen

    for _ in range(MOST_ATTEMPTS):
        killed_at, done = attempt(disturbed, is_new)
        if killed_at is None:
            assert done.status == 0, done.output
            break
        assert done.status == -signal.SIGKILL, done.output
        seen += done.steps  # steps that end side by side within the same moment are one boundary
    # Blocks are called like their stack, which is another one here.
    boundaries = {step.replace(undisturbed.name, disturbed.name) for step in undisturbed.transcript[0].steps}
    missed = boundaries - set(seen)
    assert not missed, f"never killed at {missed}"
    require_equal(disturbed, undisturbed)


@pytest.mark.parametrize(
    ("step", "delay"),
    [
        ("locks and wheel", 1.0),  # inside a release's installation
        ("temporary server ready", 0.3),  # inside the first tasks
        ("stop the temporary server", 0.1),  # inside the dump
        ("stop the temporary server", 0.3),  # inside the restore, or just after it
        ("services ready", 1.5),  # inside the verification
        ("resume schedules", 0.05),  # inside the removal of the temporary server
    ],
)
def test_killed_inside_a_step(disturbed: Stack, undisturbed: Stack, step: str, delay: float) -> None:
    killed_at, done = attempt(disturbed, lambda name: name == step, delay)
    assert killed_at == step and done.status == -signal.SIGKILL, done.output
    finish(disturbed, undisturbed)


def test_killed_in_the_first_seconds_again_and_again(disturbed: Stack, undisturbed: Stack) -> None:
    for seconds in (0.5, 1.0, 1.5, 2.0, 3.0):
        process = disturbed.start("bootstrap", *disturbed.where)
        with suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=seconds)
        process.kill()
        process.communicate()
    finish(disturbed, undisturbed)


@pytest.mark.parametrize("step", ["host services", "copy its database"])
def test_a_reboot_in_the_middle(disturbed: Stack, undisturbed: Stack, step: str) -> None:
    """Everything of the home dies at one moment, the launcher too."""
    killed_at, _ = attempt(disturbed, lambda name: name == step)
    assert killed_at == step
    for pid in disturbed.processes():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    eventually(lambda: not disturbed.processes(), "the end of all processes")
    finish(disturbed, undisturbed)
