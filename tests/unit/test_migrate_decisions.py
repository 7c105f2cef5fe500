from __future__ import annotations

import json
from pathlib import Path

import pytest

from blocks.errors import Blocked, WrongCall
from blocks.server.migrate import direction, first_line, lock_seconds, target, treatment
from blocks.server.private_server import environment, reason
from blocks.server.rehearse import downgrade_wanted, judge_migration
from blocks.server.schema import Migration
from blocks.server.serve import read_options

MIGRATIONS = (
    Migration("a", "CREATE INDEX CONCURRENTLY IF NOT EXISTS ix_old"),
    Migration("b", "CREATE INDEX CONCURRENTLY IF NOT EXISTS ix_middle"),
    Migration("c", "INDEX_NAME = 'ix_new'"),
)


@pytest.mark.parametrize(
    ("current", "wanted", "expected"),
    [("", "c", "up"), ("a", "c", "up"), ("c", "c", "stay"), ("c", "a", "down"), ("a", "b", "up")],
)
def test_direction(current: str, wanted: str, expected: str) -> None:
    assert direction(current, wanted, MIGRATIONS) == expected


def test_an_unknown_revision_is_refused_both_in_the_database_and_in_the_call() -> None:
    with pytest.raises(Blocked, match="revision z, which this release does not know"):
        direction("z", "c", MIGRATIONS)
    with pytest.raises(WrongCall, match="its newest is c"):
        target("z", MIGRATIONS)
    assert (target("head", MIGRATIONS), target("a", MIGRATIONS)) == ("c", "a")


@pytest.mark.parametrize(
    ("index", "current", "wanted", "expected"),
    [
        ("ix_new", "b", "c", "drop"),  # the migration to come would take it for its own
        ("ix_old", "b", "c", "rebuild"),  # nothing makes it again
        ("ix_middle", "c", "a", "drop"),  # undone on the way down
        ("ix_new", "c", "c", "rebuild"),
        ("ix_new", "b", "b", "drop"),  # left by an attempt that got further than it is wanted now
        ("ix_a_persons_own", "a", "c", "rebuild"),
        ("ix_old_ccnew", "c", "c", "drop"),
        ("ix_old_ccold1", "c", "c", "drop"),
        ("ix_old", "", "c", "drop"),
    ],
)
def test_what_becomes_of_an_invalid_index(index: str, current: str, wanted: str, expected: str) -> None:
    assert treatment(index, current, wanted, MIGRATIONS) == expected


def test_only_what_nobody_queues_behind_may_wait_long() -> None:
    assert lock_seconds("ALTER TABLE flow ADD x int", 5) == 5
    assert lock_seconds("CREATE INDEX ix ON flow (id)", 5) == 5
    assert lock_seconds("\n  create index concurrently ix ON flow (id)", 5) > 60


def test_an_error_is_one_line_without_the_drivers_class() -> None:
    assert first_line(RuntimeError("<class 'asyncpg.X'>: canceling statement\nmore")) == "canceling statement"
    assert first_line(TimeoutError()) == "TimeoutError"


def test_a_migration_is_judged_by_its_last_line() -> None:
    assert judge_migration(0, "noise\n" + json.dumps({"to": "c"}) + "\n", "").report == {"to": "c"}
    assert judge_migration(1, "", "migrate: waiting\nmigrate: the disk is full\n").problem == "the disk is full"
    assert judge_migration(0, "", "").problem == "it printed no report"


def test_a_way_back_is_rehearsed_only_where_the_schema_moves() -> None:
    assert [downgrade_wanted(*each) for each in (("a", "c"), ("c", "c"), ("", "c"))] == [True, False, False]


def test_the_reason_of_an_end_is_the_last_exception_else_the_last_line() -> None:
    assert reason("a\nValueError: wrong\nApplication startup failed. Exiting.\n") == "ValueError: wrong"
    assert reason("one\ntwo\n\n") == "two"
    assert reason("") == "it printed nothing"


def test_a_rehearsed_server_shares_nothing_with_the_real_one() -> None:
    given = {"PREFECT_HOME": "/real", "LISTEN_FDS": "1", "PREFECT_MESSAGING_BROKER": "redis", "KEPT": "yes"}
    made = environment(given, Path("/run/x"))
    assert made["PREFECT_HOME"] == "/run/x/prefect-home"
    assert made["PREFECT_SERVER_EVENTS_MESSAGING_BROKER"].endswith("memory")
    assert made["KEPT"] == "yes"
    assert not {"LISTEN_FDS", "PREFECT_MESSAGING_BROKER"} & made.keys()


def test_services_run_unless_it_is_asked_that_they_do_not() -> None:
    assert read_options(["--slot", "blue", "--run-dir", "/run/x"]).services
    assert not read_options(["--slot", "blue", "--run-dir", "/run/x", "--no-services"]).services
