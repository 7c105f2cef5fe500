"""One machine for all tests of the lab, and one stack on it: booting takes seconds, a bootstrap a minute."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.lab import engine
from tests.lab.machine import Machine

STACK = "lab"
HOME = f"/var/lib/prefect-selfhost/{STACK}"
SPEC = "/root/stack.toml"


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
    """The machine, once it has a stack, of the oldest Prefect there may be."""
    machine.run("sh", "-c", f"echo 'prefect_version = \"3.8.3\"' > {SPEC}")
    print(machine.selfhost("bootstrap", "--name", STACK, "--spec", SPEC, timeout=900))
    return machine
