"""Which test runs where and when: those that share a stack or a server in one of the two lanes, in their order.

The fault matrix begins with what takes longest and matters most, and begins nothing more once its time is over.
"""

from __future__ import annotations

import os
import time

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

UNTIL = "SELFHOST_TESTS_UNTIL"
"""Unix time after which no test of the fault matrix begins: a slow machine does fewer of them, and says which not."""
ONE_STACK = ("tests/e2e/", "tests/day_two/")
"""Folders whose files share a stack."""
FIRST = (
    "tests/fault/test_upgrade.py",
    "tests/fault/test_restore.py",
    "tests/fault/test_workers.py",
    "tests/day_two/",
    "tests/fault/test_rotate.py",
    "tests/fault/test_disk_full.py",
    "tests/fault/test_killed.py",
)


class Lanes(LoadScopeScheduling):
    """A file at a time for each lane, and a folder that shares a stack as if it were one file."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return next((folder for folder in ONE_STACK if file.startswith(folder)), file)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Lanes:
    return Lanes(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: next((n for n, name in enumerate(FIRST) if item.nodeid.startswith(name)), len(FIRST)))


def pytest_runtest_setup(item: pytest.Item) -> None:
    until = os.environ.get(UNTIL)
    if until and item.get_closest_marker("fault") and time.time() > float(until):
        pytest.skip(f"no time is left for it in this run ({UNTIL})")
