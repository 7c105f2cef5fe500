"""One machine for all tests of the lab, and one stack on it: booting takes seconds, a bootstrap a minute."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator

import pytest

from tests.lab import engine
from tests.lab.cloud import Lab, running_lab
from tests.lab.machine import Machine

STACK = "lab"
HOME = f"/var/lib/prefect-selfhost/{STACK}"
SPEC = "/root/stack.toml"


REQUIRED = "SELFHOST_LAB_REQUIRED"
"""Set where no test of the lab may skip, as in CI."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that skips has failed, where none may."""
    report = yield
    if report.skipped and os.environ.get(REQUIRED):
        report.outcome, report.longrepr = "failed", f"{REQUIRED}: it may not skip: {report.longrepr}"
    return report


@pytest.fixture(scope="session", autouse=True)
def docker_engine() -> None:
    """What all of the lab needs."""
    try:
        engine.require()
    except engine.NoEngine as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def machine() -> Iterator[Machine]:
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
def said(machine: Machine) -> str:
    """What a bootstrap of a stack with the oldest Prefect there may be has said."""
    machine.run("sh", "-c", f"echo 'prefect_version = \"3.8.3\"' > {SPEC}")
    return machine.selfhost("bootstrap", "--name", STACK, "--spec", SPEC, timeout=900)


@pytest.fixture(scope="session")
def stack(machine: Machine, said: str) -> Machine:
    """The machine, once it has a stack."""
    print(said)
    return machine


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """One cloud for all tests of a run; each makes a project, and ranges of addresses, of its own."""
    with running_lab(os.environ.get("SELFHOST_LAB", "test")) as running:
        yield running
        assert running.cloud.complaints == []
