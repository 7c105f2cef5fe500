from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from flows.cli import progress
from flows.cli.progress import Step, listen, step


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Step]]:
    monkeypatch.setattr(progress, "_listeners", [])
    steps: list[Step] = []
    listen(steps.append)
    yield steps


def test_a_step_is_told_at_its_beginning_and_its_end(told: list[Step]) -> None:
    with step("copy") as detail:
        assert told == [Step("copy")]
        detail.text = "730 rows"
    begun, ended = told
    assert begun.seconds is None
    assert (ended.name, ended.detail, ended.failed) == ("copy", "730 rows", False)
    assert ended.seconds is not None


def test_a_failed_step_says_so_and_the_error_goes_on(told: list[Step]) -> None:
    with pytest.raises(KeyboardInterrupt), step("copy"):
        raise KeyboardInterrupt
    assert told[-1].failed


def test_every_listener_hears_it(told: list[Step]) -> None:
    more: list[Step] = []
    listen(more.append)
    with step("copy"):
        pass
    assert more == told


def test_its_end_is_a_log_line_for_the_record_of_a_run(told: list[Step], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="flows.cli.progress"), step("copy") as detail:
        detail.text = "730 rows"
    (record,) = [each for each in caplog.records if each.name == "flows.cli.progress"]
    assert record.getMessage().startswith("copy: 730 rows in ")
