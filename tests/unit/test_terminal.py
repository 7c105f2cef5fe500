"""What is printed where nobody sits at a terminal: plain lines, no control characters."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from blocks import targets
from blocks.agent.spec import Condition
from blocks.backups import Drill, Found, Manifest, new_id
from blocks.errors import Blocked, SelfhostError, WrongCall
from blocks.host.home import Home
from blocks.resource import Change
from blocks.spec import read_spec
from flows.cli import terminal
from flows.cli.progress import Step


@pytest.fixture(autouse=True)
def consoles(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Consoles that were made after the output was captured."""
    monkeypatch.setattr(terminal, "out", Console(highlight=False, soft_wrap=True, width=160))
    monkeypatch.setattr(terminal, "err", Console(stderr=True, highlight=False, soft_wrap=True))


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    captured = capsys.readouterr().out
    assert "\x1b" not in captured
    return [line.rstrip() for line in captured.splitlines()]


def test_a_line_for_each_step_that_ended(capsys: pytest.CaptureFixture[str]) -> None:
    show = terminal.StepLines()
    show(Step("preflight"))
    show(Step("copy its database"))
    show(Step("preflight", 0.04))
    show(Step("copy its database", 1.56, "730 rows in 36 tables"))
    show(Step("verify", 2.0, "failed", failed=True))
    assert lines(capsys) == [
        "✓ preflight  0.0 s",
        "✓ copy its database  1.6 s  730 rows in 36 tables",
        "✗ verify  2.0 s",
    ]


def test_error_is_one_line_and_its_hint_another_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.fail(Blocked("port 4200 is taken", "choose another with --port"))
    terminal.fail(SelfhostError("no more"))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "error: port 4200 is taken",
        "hint: choose another with --port",
        "error: no more",
    ]


def test_what_failed_besides_is_told_after_the_error(capsys: pytest.CaptureFixture[str]) -> None:
    error = Blocked("the swap was refused", "try again")
    error.add_note("on the way back: the database\ndoes not answer")
    terminal.fail(error)
    assert capsys.readouterr().err.splitlines() == [
        "error: the swap was refused",
        "note: on the way back: the database does not answer",
        "hint: try again",
    ]


def test_square_brackets_of_a_message_are_text(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.fail(Blocked("workers[0] is [bold]wrong[/bold]", "see [workers]"))
    assert "workers[0] is [bold]wrong[/bold]" in capsys.readouterr().err


def test_a_long_error_stays_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.fail(Blocked("word " * 100, ""))
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_plan_is_a_line_for_each_change(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.changes(
        [
            Change("home", "create", {"stack": (None, "prefect")}),
            Change("wall", "update", {"stones": (2, 3), "colour": ("red", "blue")}),
            Change("roof", "delete", {"colour": ("red", None)}),
        ]
    )
    assert lines(capsys) == ["+ create home", "~ update wall  colour, stones", "- delete roof"]


def test_conditions_are_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.conditions(
        [Condition("ServicesReady", True, "AllReady", "5 services"), Condition("X", False, "No", "look at [this]")]
    )
    found = lines(capsys)
    assert re.fullmatch(r"✓ ServicesReady +5 services", found[0])
    assert re.fullmatch(r"✗ X +look at \[this\]", found[1])


def test_report_of_a_stack_names_its_services(capsys: pytest.CaptureFixture[str]) -> None:
    condition = {"type": "ServicesReady", "status": True, "reason": "AllReady", "message": "1 service is ready"}
    service = {"name": "nginx", "state": "ready", "version": "1.31.3"}
    found = {"name": "trial", "url": "http://x", "prefect_version": "3.8.8"}
    terminal.report({**found, "services": [service], "conditions": [condition]})
    printed = lines(capsys)
    assert printed[0] == "trial  http://x  Prefect 3.8.8"
    assert printed[1].split() == ["nginx", "ready", "1.31.3"]


def test_last_panel_says_where_what_is_and_shows_no_secret(capsys: pytest.CaptureFixture[str], home: Home) -> None:
    home.secrets.mkdir(parents=True)
    (home.secrets / "auth-string").write_text("admin:open-sesame")
    terminal.done(read_spec(None, {"home": str(home.root)}), targets.access(home))
    printed = "\n".join(lines(capsys))
    wanted = [
        "http://127.0.0.1:4200",
        "the whole text of",
        "secrets/auth-string",
        "secrets/encryption-key",
        "@reboot",
        "status",
    ]
    assert not [each for each in wanted if each not in printed]
    assert "open-sesame" not in printed


def test_nobody_is_asked_where_nobody_is() -> None:
    with pytest.raises(WrongCall) as caught:
        terminal.confirm("Remove it?")
    assert "--yes" in caught.value.hint


def test_backups_are_a_line_each_with_age_and_durations(capsys: pytest.CaptureFixture[str]) -> None:
    now = datetime(2025, 11, 24, 12, tzinfo=UTC)
    verified = a_backup(now - timedelta(minutes=90), drill=Drill(now.isoformat(), 3.26))
    unverified, foreign = a_backup(now - timedelta(days=3)), a_backup(now - timedelta(hours=40))
    found = Found([unverified, verified], [foreign], {"20251101T000000Z-000000": "the manifest [x] is damaged"})
    terminal.backups(found, now)
    terminal.unreadable(found)
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [
        f"{verified.id}  ✓ verified       90 min  Prefect 3.8.8  1.5 MB, 3 rows  dump 0.4 s, drill 3.3 s  by hand",
        f"{foreign.id}  ✗ foreign          40 h  Prefect 3.8.8  1.5 MB, 3 rows  dump 0.4 s  by hand",
        f"{unverified.id}  ✗ not verified      3 d  Prefect 3.8.8  1.5 MB, 3 rows  dump 0.4 s  by hand",
    ]
    assert captured.err == "20251101T000000Z-000000  ✗ unreadable    the manifest [x] is damaged\n"


def a_backup(made: datetime, drill: Drill | None = None) -> Manifest:
    said = {"stack": "prefect", "home": "0", "reason": "by hand", "prefect_version": "3.8.8", "schema_revision": "a"}
    rows = {"flow": 1, "log": 2}
    return Manifest(
        id=new_id(made),
        made=made.isoformat(),
        size=1_500_000,
        sha256="",
        key="",
        rows=rows,
        digests={},
        seconds=0.41,
        drill=drill,
        **said,
    )
