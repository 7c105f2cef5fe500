from __future__ import annotations

import asyncio
import logging

import pytest

from blocks.server.schema import (
    Lineage,
    Observation,
    can_serve,
    describe,
    installed_lineage,
    standing,
    wait_until_served,
)

LINEAGE = Lineage(head="c3", known=frozenset({"a1", "b2", "c3"}))


@pytest.mark.parametrize(
    ("revisions", "expected"),
    [
        (set(), "absent"),
        ({"a1"}, "behind"),
        ({"a1", "b2"}, "behind"),
        ({"c3"}, "at head"),
        ({"d4"}, "ahead"),
    ],
)
def test_standing(revisions: set[str], expected: str) -> None:
    assert standing(frozenset(revisions), LINEAGE) == expected


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (Observation(), False),
        (Observation(frozenset({"b2"})), False),
        (Observation(frozenset({"c3"})), True),
        (Observation(frozenset({"d4"})), True),
        (Observation(problem="connection refused"), False),
    ],
)
def test_only_head_and_newer_can_be_served(seen: Observation, expected: bool) -> None:
    assert can_serve(seen, LINEAGE) is expected


def test_what_is_behind_says_which_job_to_run() -> None:
    message = describe(Observation(frozenset({"b2"})), LINEAGE)
    assert "b2" in message
    assert "migration job" in message


def test_the_installed_lineage_is_prefects_own() -> None:
    lineage = installed_lineage()
    assert lineage.head in lineage.known
    assert len(lineage.known) >= 114


class Database:
    """Observations one after another; the last for ever. Sleeping moves its clock."""

    def __init__(self, *observations: Observation) -> None:
        self.observations, self.now = list(observations), 0.0

    async def observe(self) -> Observation:
        return self.observations.pop(0) if len(self.observations) > 1 else self.observations[0]

    async def sleep(self, seconds: float) -> None:
        self.now += seconds

    def wait(self) -> Observation:
        return asyncio.run(wait_until_served(LINEAGE, observe=self.observe, sleep=self.sleep, clock=lambda: self.now))


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.name == "blocks.server.schema"]


def test_a_ready_database_is_not_worth_a_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "blocks.server.schema")
    assert Database(Observation(frozenset({"c3"}))).wait().revisions == {"c3"}
    assert messages(caplog) == []


def test_each_reason_is_logged_once_and_the_end(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "blocks.server.schema")
    refused = Observation(problem="connection refused")
    Database(refused, refused, Observation(), Observation(frozenset({"c3"}))).wait()
    assert messages(caplog) == [
        "waiting for the database, which cannot be reached: connection refused",
        "waiting for the database, which holds no Prefect schema yet",
        "the database stands at revision c3",
    ]


def test_a_long_wait_is_repeated_each_minute(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "blocks.server.schema")
    Database(*[Observation()] * 1250, Observation(frozenset({"c3"}))).wait()  # 125 s
    assert len(messages(caplog)) == 4


def test_a_newer_schema_is_served_and_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "blocks.server.schema")
    Database(Observation(frozenset({"d4"}))).wait()
    assert messages(caplog) == ["the database stands at revision d4, which is newer than this release (c3)"]
