"""What is new in a log, of which only the last lines are known."""

from __future__ import annotations

import pytest

from blocks.machine import further


@pytest.mark.parametrize(
    ("seen", "now", "new"),
    [
        ([], [], []),
        ([], ["a"], ["a"]),
        (["a", "b"], ["a", "b"], []),
        (["a", "b"], ["a", "b", "c"], ["c"]),
        (["a", "b", "c"], ["b", "c", "d"], ["d"]),  # as many as are looked at, so that the first is left out now
        (["a", "a"], ["a", "a", "a"], ["a"]),
        (["a", "b"], ["b", "a"], ["a"]),
        (["a", "b", "li"], ["a", "b", "line"], ["line"]),  # half written
        (["a", "b"], ["x"], ["x"]),  # turned over
    ],
)
def test_what_was_not_there_at_the_last_look(seen: list[str], now: list[str], new: list[str]) -> None:
    assert list(further(seen, now)) == new
