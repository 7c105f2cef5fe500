from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from blocks.errors import Blocked, NotReady
from blocks.waiting import wait_until


@dataclass
class Time:
    """A clock which only sleeping moves."""

    now: float = 100.0
    slept: list[float] = field(default_factory=list)

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def answers(*values: object) -> Callable[[], object]:
    """A probe which gives these answers one after the other; an exception is raised."""
    rest = list(values)

    def probe() -> object:
        value = rest.pop(0) if len(rest) > 1 else rest[0]
        if isinstance(value, Exception):
            raise value
        return value

    return probe


def wait(probe: Callable[[], object], time: Time, timeout: float = 10.0, every: float = 2.0, hint: str = "") -> object:
    return wait_until(probe, "the thing", timeout=timeout, every=every, hint=hint, clock=time.clock, sleep=time.sleep)


def test_returns_what_the_probe_saw() -> None:
    time = Time()
    assert wait(answers(None, 0, "", "here"), time) == "here"
    assert time.slept == [2.0, 2.0, 2.0]


def test_tries_once_however_short_the_time() -> None:
    time = Time()
    assert wait(answers("here"), time, timeout=0.0) == "here"
    assert time.slept == []


def test_tells_the_last_observation_when_the_time_is_over() -> None:
    time = Time()
    with pytest.raises(NotReady) as caught:
        wait(answers(NotReady("nothing yet"), NotReady("half of it")), time, hint="look there")
    assert caught.value.what == "the thing did not happen within 10 s; last seen: 'half of it'"
    assert caught.value.hint == "look there"
    assert time.now == 110.0


def test_never_sleeps_past_its_deadline() -> None:
    time = Time()
    with pytest.raises(NotReady):
        wait(answers(None), time, timeout=5.0, every=2.0)
    assert sum(time.slept) == 4.0


def test_lets_any_other_error_through_at_once() -> None:
    time = Time()
    with pytest.raises(Blocked, match="dead"):
        wait(answers(Blocked("dead")), time)
    assert time.slept == []
