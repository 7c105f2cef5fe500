"""Which test runs where and when: those that share a stack or a server in one of the two lanes, in their order.

The fault matrix begins with what takes longest and matters most, and begins nothing more once its time is over.
"""

from __future__ import annotations

import os
import time

import pytest

UNTIL = "SELFHOST_TESTS_UNTIL"
"""Unix time after which no test of the fault matrix begins: a slow machine does fewer of them, and says which not."""
ONE_STACK = ("tests/e2e", "tests/day_two")
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


@pytest.hookimpl(tryfirst=True)  # before the lanes look at the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        folder, file = item.nodeid.partition("::")[0].rsplit("/", 1)
        item.add_marker(pytest.mark.xdist_group(folder if folder in ONE_STACK else f"{folder}/{file}"))
    items.sort(key=lambda item: next((n for n, name in enumerate(FIRST) if item.nodeid.startswith(name)), len(FIRST)))


def pytest_runtest_setup(item: pytest.Item) -> None:
    until = os.environ.get(UNTIL)
    if until and item.get_closest_marker("fault") and time.time() > float(until):
        pytest.skip(f"no time is left for it in this run ({UNTIL})")
