"""One machine for all tests of the lab, and one stack on it: booting takes seconds, a bootstrap a minute."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.lab import engine
from tests.lab.machine import Machine

STACK = "lab"
HOME = f"/var/lib/prefect-selfhost/{STACK}"


@pytest.fixture(scope="session")
def machine() -> Iterator[Machine]:
    try:
        engine.require()
    except engine.NoEngine as error:
        pytest.skip(str(error))
    kept = os.environ.get("SELFHOST_LAB_MACHINE")  # such as `machine`, that of `up`: to develop tests
    if kept:
        yield Machine(kept)
        return
    made = Machine("test")
    try:
        made.create()
        yield made
    finally:
        made.remove()


@pytest.fixture(scope="session")
def stack(machine: Machine) -> Machine:
    """The machine, once it has a stack."""
    print(machine.selfhost("bootstrap", "--name", STACK, timeout=900))
    return machine
