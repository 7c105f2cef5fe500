"""What a restore says and decides without touching anything."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from blocks import verification
from blocks.agent.spec import Condition
from blocks.backups import Manifest
from blocks.host.restore_record import Record
from flows.cli.restore import question
from flows.restore import restored
from flows.restore.hand_over import instructions
from tests.unit.test_restorable import OURS

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
RECORD = Record("id", "made", 1, "", "label", NOW.isoformat(), {})


@pytest.mark.parametrize(
    ("type", "status", "reason", "is_note"),
    [
        ("WorkerRuns/default", False, "RunNotStarted", True),
        ("WorkerRuns/default", False, "RunFailed", False),
        ("WorkerRuns/default", True, "RunCompleted", False),
        ("SchedulerMoves", False, "NothingScheduled", False),
    ],
)
def test_only_a_pool_that_began_no_run_is_no_fault(type: str, status: bool, reason: str, is_note: bool) -> None:
    assert verification.is_note(Condition(type, status, reason, "")) is is_note


@pytest.mark.parametrize(
    ("age", "is_finishing"),
    [(timedelta(0), True), (timedelta(minutes=9), True), (timedelta(days=14), False), (timedelta(minutes=-1), False)],
)
def test_a_restore_whose_workers_started_long_ago_is_not_under_way(age: timedelta, is_finishing: bool) -> None:
    began = replace(RECORD, finishing=(NOW - age).isoformat())
    assert restored.is_finishing(began, NOW) is is_finishing
    assert not restored.is_finishing(RECORD, NOW)


def test_the_question_promises_a_safety_backup_only_where_one_is_made() -> None:
    manifest: Manifest = OURS
    assert "it is backed up first, and the old database is kept" in question(manifest, safety=True)
    assert "backed up" not in question(manifest, safety=False)
    assert "only the old database is kept" in question(manifest, safety=False)


def test_a_restore_that_was_handed_over_says_where_to_look() -> None:
    watch = "watch http://127.0.0.1:1 on the stack's machine (log in as here), or selfhost logs job-restore"
    assert watch in instructions("http://127.0.0.1:1")
    assert "it still looks at the backup, see selfhost logs job-restore" in instructions("")
