"""Which test runs where and when: those that share a stack or a server in one of the three lanes, in their order.

What takes longest comes first, so that the lanes end together; in the fault matrix what matters most, too, which begins
nothing more once its time is over.
"""

from __future__ import annotations

import os
import time

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from tests.digests import SUBJECTS

UNTIL = "SELFHOST_TESTS_UNTIL"
"""Unix time after which no test of the fault matrix begins: a slow machine does fewer of them, and says which not."""
PARTS = ("keyword", "deselect", "ignore", "ignore_glob", "lf", "collectonly", "slice")
"""Options by which not all tests of a mark run."""
SHARED = ("tests/e2e/", "tests/day_two/", "tests/flow/", "tests/kills/", "tests/lab/")
"""Folders whose files share a stack or a server."""
ALONE = ("tests/e2e/test_bad_input.py", "tests/e2e/test_host_agent.py", "tests/e2e/test_host_agent_faults.py")
"""Files of those folders which have homes of their own."""
FIRST = (
    "tests/fault/test_upgrade.py",
    "tests/day_two/",
    "tests/kills/",
    "tests/fault/test_killed.py",
    "tests/fault/test_restore.py",
    "tests/fault/test_rotate.py",
    "tests/fault/test_workers.py",
    "tests/fault/",
    "tests/e2e/",
    "tests/flow/",
    "tests/contract/",
    "tests/lab/test_systemd.py",
)


class Lanes(LoadScopeScheduling):
    """A file at a time for each lane, and a folder that shares a stack or a server as if it were one file."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return file if file in ALONE else next((each for each in SHARED if file.startswith(each)), file)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slice", metavar="K/N", help="Of the chosen tests every Nth, from the Kth on.")


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Lanes:
    return Lanes(config, log)


@pytest.hookimpl(trylast=True)  # after markers have chosen
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    chosen = config.getoption("--slice")
    if chosen:
        place, number = map(int, chosen.split("/"))
        mine = sorted(items, key=lambda each: each.nodeid)[place::number]
        config.hook.pytest_deselected(items=[each for each in items if each not in mine])
        items[:] = mine
    items.sort(key=_place)


def _place(item: pytest.Item) -> tuple[int, bool]:
    """A stack that is shared comes before files of the same folder which have homes of their own."""
    first = next((number for number, name in enumerate(FIRST) if item.nodeid.startswith(name)), len(FIRST))
    return first, item.nodeid.partition("::")[0] in ALONE


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """All tests of a mark that has a digest have passed: `.ci/run` need not repeat them."""
    option = session.config.option
    terminal = session.config.pluginmanager.get_plugin("terminalreporter")  # a lane has none
    is_named = session.config.args_source is pytest.Config.ArgsSource.ARGS
    is_part = is_named or any(getattr(option, each) for each in PARTS)
    amiss = terminal is None or any(terminal.stats.get(each) for each in ("failed", "error", "skipped"))
    if exitstatus == 0 and option.markexpr in SUBJECTS and not (is_part or amiss):
        SUBJECTS[option.markexpr].keep()


def pytest_runtest_setup(item: pytest.Item) -> None:
    until = os.environ.get(UNTIL)
    if until and item.get_closest_marker("fault") and time.time() > float(until):
        pytest.skip(f"no time is left for it in this run ({UNTIL})")
