"""One running stack for all that is done to a stack in use: a bootstrap takes half a minute or more."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stack import Stack, scratch


@pytest.fixture(scope="package")
def stack() -> Iterator[Stack]:
    """A stack, as the tests before left it: bootstrapped and running. It ends with this package, as it costs CPU."""
    kept = os.environ.get("SELFHOST_TEST_STACK")  # "HOME NAME PORT": one that was made before, to develop tests
    if kept:
        home, name, port = kept.split()
        yield Stack(Path(home), name, int(port))
        return
    with scratch("day-") as made:
        made.bootstrap()
        yield made
