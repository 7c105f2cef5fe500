"""What an upgrade decides: refusals, faults and notes of the preflight, the words of its report."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from blocks.agent.spec import Condition
from blocks.database import Vitals
from blocks.errors import Blocked, WrongCall
from blocks.spec import read_spec
from flows.upgrade.preflight import Facts, faults, notes, require, wanted_spec
from flows.upgrade.report import Report, markdown

GB = 1_000_000_000
MOVES = Condition("SchedulerMoves", True, "RunAppeared", "a new schedule got its scheduled run")
WELL = Facts(Vitals(GB, {"log": 7_000_000}, (), ()), (), GB, 20 * GB, "no run", (), {"3.8.3": 0.0}, MOVES)
REHEARSED: dict[str, Any] = {
    "migration_seconds": 6.5,
    "steps": [{"what": "upgraded", "seconds": 6.4}],
    "new": {"ready_seconds": 8.0, "checks": [{"name": "version", "found": "3.8.8", "seconds": 0.1}]},
    "old_serves": True,
    "old_reason": "",
    "downgrade_seconds": 14.0,
    "downgrade_reason": "",
}


def test_another_version_is_the_only_difference() -> None:
    now = read_spec(None, {"prefect_version": "3.8.3"})
    wanted = wanted_spec(now, "3.8.8")
    assert wanted.prefect_version == "3.8.8"
    assert wanted.model_copy(update={"prefect_version": "3.8.3"}) == now
    assert wanted_spec(now, "3.8.3") == now


@pytest.mark.parametrize(
    ("to", "told"),
    [
        ("3.8.2", "below 3.8.3"),
        ("3.9.0", "not known to work"),
        ("3.8", "is not a release such as 3.8.8"),
        ("latest", "is not a release such as 3.8.8"),
        ("3.8.4", "3.8.4 is older than 3.8.5, which runs: there is no downgrade"),
    ],
)
def test_a_version_is_refused_with_the_reason(to: str, told: str) -> None:
    with pytest.raises(WrongCall, match=told):
        wanted_spec(read_spec(None, {"prefect_version": "3.8.5"}), to)


def test_nothing_is_in_the_way_of_a_stack_that_is_well() -> None:
    assert faults(WELL) == []
    require([])


def test_all_faults_are_told_together() -> None:
    vitals = replace(WELL.vitals, long_transactions=("process 7 of prefect, idle in transaction, open for 90 s",))
    paused = Condition("SchedulerMoves", False, "DeploymentPaused", "probe/maintenance is paused; resume it in the UI")
    found = faults(replace(WELL, free_bytes=GB, vitals=vitals, scheduler=paused))
    assert len(found) == 3 and "probe/maintenance is paused" in found[2]
    with pytest.raises(Blocked, match=r"1\.0 GB of disk are free, 3\.3 are needed.*process 7 of prefect"):
        require(found)


def test_a_person_is_told_what_is_no_fault() -> None:
    vitals = replace(WELL.vitals, invalid_indexes=("ix_log",))
    told = "\n".join(
        notes(replace(WELL, vitals=vitals, strangers=("laptop on default",), running="night (default)"), "3.8.5")
    )
    for each in (
        "20.0 GB free",
        "1000 MB",
        "by version: 3.8.3",
        "log 7 MB",
        "night (default)",
        "ix_log",
        "laptop on default",
    ):
        assert each in told


def test_clients_that_are_newer_than_the_new_server_are_named() -> None:
    told = notes(replace(WELL, clients={"3.8.3": 0.0, "3.8.8": 0.0, "3.10.0": 0.0}), "3.8.8")
    assert "clients newer than 3.8.8, which its server refuses (422) as the present one does: 3.10.0" in told
    assert "newer" not in "\n".join(notes(WELL, "3.8.3"))


def test_report_has_all_that_was_done() -> None:
    report = Report("3.8.3-aaa", "3.8.8-bbb", "3.8.8", checked=["the version exists"], backup="20261124T1-x")
    report.rehearsal = REHEARSED
    report.steps.append(("switch", 20.71, "done"))
    report.stall, report.outcome = "longest stall 0.6 s", "done"
    text = markdown(report)
    for each in (
        "# Upgrade to Prefect 3.8.8: done",
        "`3.8.3-aaa`",
        "`3.8.8-bbb`",
        "- the version exists",
        "6.5 s: upgraded 6.4 s",
        "ready after 8.0 s; it answers: version (3.8.8)",
        "goes back in 14.0 s",
        "| switch | 20.7 | done |",
        "longest stall 0.6 s",
        "backup `20261124T1-x`",
    ):
        assert each in text


def test_report_says_when_servers_cannot_live_side_by_side() -> None:
    report = Report("a", "b", "3.8.8", rehearsal={**REHEARSED, "old_serves": False, "old_reason": "no column x"})
    assert "goes first, calls wait: no column x" in markdown(report)
    report = Report("a", "b", "3.8.8", rehearsal={**REHEARSED, "downgrade_reason": "it lost a column"})
    assert "does not go back: it lost a column" in markdown(report)


def test_report_of_a_run_that_was_killed_says_what_to_do() -> None:
    text = markdown(Report("a", "", "3.8.8"))
    assert "the same upgrade started again finishes it" in text
    assert "Rehearsal" not in text and "Steps" not in text
