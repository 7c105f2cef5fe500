"""The fault matrix begins with what takes longest and matters most, and begins nothing more once its time is over."""

from __future__ import annotations

import os
import time

import pytest

UNTIL = "SELFHOST_TESTS_UNTIL"
"""Unix time after which no test of the fault matrix begins: a slow machine does fewer of them, and says which not."""
FIRST = (
    "tests/fault/test_upgrade.py",
    "tests/fault/test_restore.py",
    "tests/fault/test_workers.py",
    "tests/day_two/",
    "tests/fault/test_rotate.py",
    "tests/fault/test_disk_full.py",
    "tests/fault/test_killed.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: next((n for n, name in enumerate(FIRST) if item.nodeid.startswith(name)), len(FIRST)))


def pytest_runtest_setup(item: pytest.Item) -> None:
    until = os.environ.get(UNTIL)
    if until and item.get_closest_marker("fault") and time.time() > float(until):
        pytest.skip(f"no time is left for it in this run ({UNTIL})")
