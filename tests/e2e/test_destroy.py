"""The end of the session's stack; runs last."""

from __future__ import annotations

import pwd
from dataclasses import replace
from pathlib import Path

import pytest

from tests.stack import Stack, eventually

pytestmark = pytest.mark.e2e


def has_user(stack: Stack) -> bool:
    return any(each.pw_gecos.startswith(f"prefect-selfhost stack {stack.name} ") for each in pwd.getpwall())


def test_destroy_asks_and_touches_nothing_when_nobody_can_answer(stack: Stack) -> None:
    before = stack.processes()
    refused = stack.call("destroy", *stack.where)
    assert refused.status == 2 and "--yes" in refused.stderr and "Traceback" not in refused.output
    assert stack.processes().keys() >= set(stack.pids().values()) and before
    assert stack.status()["healthy"] is True


def test_destroy_of_another_stack_than_the_homes_is_refused(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text('name = "another"\n')
    own = replace(stack, command=(str(stack.home / "bin/selfhost"),))
    for refused in (
        stack.call("destroy", "--home", str(stack.home), "--name", "another", "--yes"),
        own.call("destroy", "--spec", str(tmp_path / "other.toml"), "--yes"),
    ):
        assert refused.status == 2 and f"belongs to the stack '{stack.name}', not 'another'" in refused.stderr
    assert (stack.home / "stack.json").exists() and stack.processes()


def test_destroy_leaves_nothing_behind(stack: Stack) -> None:
    done = stack.destroy()
    assert f"the stack {stack.name} is gone" in done.stdout
    assert eventually(lambda: not stack.processes(), "the end of all processes", 10)
    assert not stack.home.exists()
    assert not has_user(stack)
    assert [each.name for each in stack.folder.iterdir()] == []
    again = stack.call("destroy", *stack.where, "--yes")
    assert again.status == 1 and "there is no stack in" in again.stderr
