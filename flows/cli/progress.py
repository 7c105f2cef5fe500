"""Named steps with their duration: a line each on a terminal, a log line each on a worker."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

logger = logging.getLogger(__name__)
logger.setLevel(logging.INFO)  # Prefect gives an extra logger its handler but no level: the root's would drop steps


@dataclass(frozen=True)
class Step:
    """A step that began (`seconds` is None) or ended."""

    name: str
    seconds: float | None = None
    detail: str = ""
    failed: bool = False


_listeners: list[Callable[[Step], None]] = []


def listen(listener: Callable[[Step], None]) -> None:
    """Show steps on a terminal as well as in the log, for the life of this process."""
    _listeners.append(listener)


def _tell(step: Step) -> None:
    if step.seconds is not None:
        logger.info("%s: %s in %.1f s", step.name, step.detail or "done", step.seconds)
    for listener in _listeners:
        listener(step)


class Detail:
    """What a step wants to say at its end."""

    text = ""


@contextlib.contextmanager
def step(name: str) -> Iterator[Detail]:
    """Announce a step, and its end with its duration; an exception goes on its way."""
    detail, started = Detail(), time.monotonic()
    _tell(Step(name))
    try:
        yield detail
    except BaseException:
        _tell(Step(name, time.monotonic() - started, "failed", failed=True))
        raise
    _tell(Step(name, time.monotonic() - started, detail.text))
