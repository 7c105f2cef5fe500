"""Which runs are silent, and which are dead."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import StateType

from blocks.sweep import SILENT, Seen, dead, silent

NOW = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)
GONE = Seen(uuid4(), "gone", StateType.RUNNING, uuid4(), uuid4(), NOW - SILENT - timedelta(seconds=1))


@pytest.mark.parametrize("kind", [each for each in StateType if each != StateType.RUNNING])
def test_only_running_runs_are_silent(kind: StateType) -> None:
    """So none which is paused, suspended, waits for a retry, is being cancelled, or has ended."""
    assert silent([replace(GONE, state_type=kind)], NOW) == []


@pytest.mark.parametrize(
    ("last", "is_silent"),
    [
        (None, False),  # its client sends none, or has sent none since the run was resumed
        (timedelta(seconds=-30), False),  # the server's clock was set back
        (timedelta(seconds=181), False),
        (timedelta(seconds=540), False),
        (timedelta(seconds=541), True),
        (timedelta(days=3), True),
    ],
)
def test_silence_is_three_missed_heartbeats(last: timedelta | None, is_silent: bool) -> None:
    run = replace(GONE, received=NOW - last if last else None)
    assert bool(silent([run], NOW)) == is_silent


@pytest.mark.parametrize(
    ("after", "is_dead"),
    [
        ([GONE], True),
        ([], False),  # it has ended, is paused or waits
        ([replace(GONE, heartbeat=uuid4(), received=NOW)], False),  # the server was away, or the machine asleep
        ([replace(GONE, state=uuid4())], False),  # it was suspended and resumed
        ([replace(GONE, state=uuid4(), heartbeat=None, received=None)], False),
        ([replace(GONE, id=uuid4())], False),
    ],
)
def test_dead_is_what_has_done_nothing_while_it_was_watched(after: list[Seen], is_dead: bool) -> None:
    assert dead([GONE], after) == ([GONE] if is_dead else [])
