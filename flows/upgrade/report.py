"""What an upgrade tells a person: what was checked, what the rehearsal said, how long each step took. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flows.stall import Stall

Rehearsal = Mapping[str, Any]
"""What `blocks.server.rehearse` printed."""


@dataclass
class Report:
    """Filled while an upgrade goes on, and published however it ends. Seconds everywhere."""

    old: str
    """Release now, such as `3.8.3-1f0c2d3e4a5b`."""
    new: str
    version: str
    checked: list[str] = field(default_factory=list)
    backup: str = ""
    rehearsal: Rehearsal | None = None
    steps: list[tuple[str, float, str]] = field(default_factory=list)
    """Name, seconds, how it ended."""
    stall: Stall | None = None
    """How long a client of the front door had to wait, as far as is seen yet."""
    disk: str = ""
    """What was removed at the end, and how much is free."""
    notes: list[str] = field(default_factory=list)
    """What a person should know of a run that came to its end; empty ones do not count."""
    outcome: str = "interrupted before its end: the same upgrade started again finishes it"


def markdown(report: Report) -> str:
    """The whole report as the artifact `upgrade`."""
    parts = [
        f"# Upgrade to Prefect {report.version}: {report.outcome}",
        f"from release `{report.old}` to `{report.new or 'none yet'}`",
        *_section("What was checked", [f"- {each}" for each in report.checked]),
        *_section("Rehearsal on a restored copy", rehearsed(report.rehearsal)),
        *_section("Steps", _table(report.steps)),
        *_section("Seen from outside", [str(report.stall)] if report.stall else []),
        *_section("Disk", [report.disk] if report.disk else []),
        *_section("What it would be rolled back to", _back(report)),
    ]
    return "\n\n".join(parts) + "\n"


def rehearsed(rehearsal: Rehearsal | None) -> list[str]:
    """The rehearsal in words, a line each."""
    if rehearsal is None:
        return []
    lines = [f"- the schema moves in {rehearsal['migration_seconds']:.1f} s: {_moves(rehearsal['steps'])}"]
    new = rehearsal["new"]
    checks = ", ".join(f"{each['name']} ({each['found']})" for each in new["checks"])
    lines.append(f"- the new server is ready after {new['ready_seconds']:.1f} s; it answers: {checks}")
    lines.append(
        "- the old server lives on the new schema: servers change without a pause"
        if rehearsal["old_serves"]
        else f"- the old server cannot live on the new schema, so it goes first, calls wait: {rehearsal['old_reason']}"
    )
    if rehearsal.get("downgrade_reason"):
        lines.append(f"- the schema does not go back: {rehearsal['downgrade_reason']}")
    elif rehearsal.get("downgrade_seconds") is not None:
        lines.append(f"- the schema goes back in {rehearsal['downgrade_seconds']:.1f} s")
    return lines


def _moves(steps: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(f"{each['what']} {each['seconds']:.1f} s" for each in steps) or "nothing to do"


def _section(title: str, lines: Sequence[str]) -> list[str]:
    return [f"## {title}\n\n" + "\n".join(lines)] if lines else []


def _table(steps: Sequence[tuple[str, float, str]]) -> list[str]:
    rows = [f"| {name} | {seconds:.1f} | {end} |" for name, seconds, end in steps]
    return ["| step | seconds | end |", "| --- | --- | --- |", *rows] if rows else []


def _back(report: Report) -> list[str]:
    copy = f", backup `{report.backup}`" if report.backup else ""
    return [f"release `{report.old}`, which is installed as long as this run lasts{copy}"]
