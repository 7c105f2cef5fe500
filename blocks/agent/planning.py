"""Decides, for one service, what to do next. Pure: no clock, no disk, no process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .definitions import Wanted
from .processes import ProcessRecord

Action = Literal["start", "stop", "reload", "keep", "hold", "wait-idle"]


WAITS_TO_GO = "no longer wanted; is ended once it has no child process"


@dataclass(frozen=True)
class ServiceProcess:
    """A living process of a service, as the exec wrapper recorded it."""

    record: ProcessRecord
    digest: str
    files_digest: str
    """Content of its files when it started, or when it was last told to reload."""
    held: bool
    """It is the wrapper, waiting for permission or for its backoff to pass."""
    failures: int
    """Quick exits in a row of this definition, before this process."""
    started: float
    """Unix time."""


@dataclass(frozen=True)
class Decision:
    action: Action
    reason: str = ""
    """For a person; empty where nothing is amiss."""


def decide(wanted: Wanted | None, process: ServiceProcess | None, obstacle: str, has_children: bool) -> Decision:
    """What to do about one service.

    Args:
        wanted: its definition, None where it is no longer in the spec.
        process: what runs now, None where nothing does.
        obstacle: why it cannot be (re)started now, such as a release still being installed; or empty.
        has_children: whether a process that is changed or ended only `when-idle` has child processes.
    """
    runs = process is not None and not process.held
    if wanted is None:
        return Decision("wait-idle", WAITS_TO_GO) if has_children else Decision("stop", "no longer wanted")
    if process is None or not runs:
        return Decision("hold", obstacle) if obstacle else Decision("start")
    if process.digest == wanted.digest and process.files_digest == wanted.files_digest:
        return Decision("keep")
    if obstacle:
        return Decision("keep", f"keeps running as it was: {obstacle}")
    if process.digest == wanted.digest:
        return Decision("reload", "its files have changed")
    if wanted.service.restart == "when-idle" and has_children:
        return Decision("wait-idle", "is restarted once it has no child process")
    return Decision("stop", "its definition has changed")
