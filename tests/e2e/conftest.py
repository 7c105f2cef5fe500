"""One real stack for the whole test run: a bootstrap takes half a minute or more."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.stack import CommandLines, Result, Stack, scratch

LAST = ("test_secrets.py", "test_destroy.py")
"""Modules that look back at what the others did, and that end the stack."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LAST.index(item.path.name) + 1 if item.path.name in LAST else 0)


@dataclass(frozen=True)
class Bootstrapped:
    """The session's stack and how it was made."""

    stack: Stack
    first: Result
    command_lines: CommandLines


@pytest.fixture(scope="session")
def bootstrapped() -> Iterator[Bootstrapped]:
    kept = os.environ.get("SELFHOST_TEST_STACK")  # "HOME NAME PORT": one that was made before, to develop tests
    if kept:
        home, name, port = kept.split()
        stack = Stack(Path(home), name, int(port))
        with CommandLines() as lines:
            yield Bootstrapped(stack, stack.bootstrap(), lines)
        return
    with scratch() as stack, CommandLines() as lines:
        yield Bootstrapped(stack, stack.bootstrap(), lines)


@pytest.fixture
def stack(bootstrapped: Bootstrapped) -> Stack:
    """The session's stack, as the tests before left it: bootstrapped and running."""
    return bootstrapped.stack
