"""What a person sees on a terminal, and a plain log gets: a line a step, panels, errors with their hint."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from threading import Lock
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from blocks.agent.spec import Condition
from blocks.errors import SelfhostError, WrongCall
from blocks.host import service_manager
from blocks.host.secret_files import AUTH_STRING, ENCRYPTION_KEY
from blocks.resource import Change
from blocks.spec import StackSpec
from flows.cli.progress import Step

if TYPE_CHECKING:
    from blocks.backups import Found
    from blocks.secret_store import SecretStore
    from blocks.targets import Access

out = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 160)
err = Console(stderr=True, highlight=False, soft_wrap=True)
_BACKUP_MARKS = {True: ("✓ verified    ", "green"), False: ("✗ not verified", "red")}
_UNCOUNTED_MARKS = {True: ("✗ foreign     ", "yellow"), False: ("✗ not signed  ", "yellow")}
_MARKS = {"create": "+", "update": "~", "delete": "-", "keep": "=", "leave": "!"}


class StepLines:
    """Prints a line when a step ends, with its duration; on a terminal also which steps are under way."""

    def __init__(self) -> None:
        self._open: dict[str, float] = {}
        self._lock = Lock()
        self._status = out.status("") if out.is_terminal else None

    def __call__(self, step: Step) -> None:
        with self._lock:
            if step.seconds is None:
                self._open[step.name] = time.monotonic()
            else:
                self._open.pop(step.name, None)
                out.print(_line(step))
            self._show_open()

    def _show_open(self) -> None:
        if self._status is None:
            return
        if self._open:
            self._status.update(Text("  " + ", ".join(list(self._open)[:4]), style="dim"))
            self._status.start()
        else:
            self._status.stop()


def _line(step: Step) -> Text:
    mark, style = ("✗", "red") if step.failed else ("✓", "green")
    detail = f"  {step.detail}" if step.detail and not step.failed else ""
    return Text.assemble((f"{mark} ", style), step.name, (f"  {step.seconds:.1f} s", "dim"), (detail, "dim"))


def say(text: str) -> None:
    """A line of its own among the steps."""
    out.print(text)


def plain(text: str) -> None:
    """Text for a person to copy: nothing in it is markup."""
    out.print(Text(text))


def err_line(text: str) -> None:
    """A line beside an output that a program reads."""
    err.print(text)


def fail(error: SelfhostError) -> None:
    """The one line of an error, and its hint on a second."""
    out.file.flush()
    err.print(Text.assemble(("error: ", "bold red"), " ".join(error.what.split())))  # tools answer in many lines
    for note in getattr(error, "__notes__", ()):  # what failed besides, after it
        err.print(Text.assemble(("note: ", "bold"), " ".join(note.split())))
    if error.hint:
        err.print(Text.assemble(("hint: ", "bold"), error.hint))


def changes(found: Sequence[Change]) -> None:
    """A plan, a line a change."""
    for each in found:
        fields = ", ".join(sorted(each.fields)) if each.action == "update" else ""
        out.print(
            Text.assemble((f"{_MARKS[each.action]} ", "bold"), f"{each.action} {each.resource}", (f"  {fields}", "dim"))
        )
        if each.interrupts:
            out.print(Text.assemble(("  ! ", "yellow"), each.interrupts))


def costs(found: Mapping[str, Any]) -> None:
    """About what the stack costs a month, a line a part, the sum, and what would change it."""
    say(f"about what it costs a month ({found['as_of']}; ~ not confirmed):")
    for each in found["parts"]:
        month = "     ?" if each["month"] is None else f"{each['month']:>6.2f}"
        mark = " " if each["confirmed"] else "~"
        out.print(Text.assemble(f"  {mark}{month}  {each['what']:<26}", (each["note"], "dim")))
    out.print(Text.assemble((f"   {found['total']:>6.2f}  in all", "bold")))
    for line in found["advice"]:
        out.print(Text.assemble("           ", (line, "dim")))


def conditions(found: Sequence[Condition]) -> None:
    """Checks, a line each."""
    for each in found:
        mark = ("✓ ", "green") if each.status else ("✗ ", "red")
        out.print(Text.assemble(mark, f"{each.type:<24}", (each.message, "dim")))


def report(found: dict[str, Any]) -> None:
    """What `selfhost status` shows a person."""
    out.print(Text.assemble((str(found["name"]), "bold"), f"  {found['url']}  Prefect {found['prefect_version']}"))
    for each in found["services"]:
        out.print(f"  {each['name']:<24}{each['state']:<14}{each['version']}")
    conditions([Condition(**each) for each in found["conditions"]])


def backups(found: Found, now: datetime) -> None:
    """Backups, a line each, the newest first."""
    if not found.readable:
        out.print("no backups")
    for each in reversed(found.readable):
        mark = _BACKUP_MARKS[each.verified] if each in found.own else _UNCOUNTED_MARKS[each in found.foreign]
        age = f"{_age((now - each.moment).total_seconds()):>7}"
        size = f"{each.size / 1e6:.1f} MB, {sum(each.rows.values())} rows"
        took = f"dump {each.seconds:.1f} s" + (f", drill {each.drill.seconds:.1f} s" if each.drill else "")
        what = f"  {age}  Prefect {each.prefect_version}  {size}  {took}  "
        out.print(Text.assemble(f"{each.id}  ", mark, what, (each.reason, "dim")))


def unreadable(found: Found) -> None:
    """Backups whose manifest cannot be read, a line each, beside the output."""
    for name, why in found.unreadable.items():
        err.print(Text.assemble(f"{name}  ", ("✗ unreadable  ", "red"), f"  {why}"))


def _age(seconds: float) -> str:
    """A duration in the unit that says most: `-3 d` lies in the future."""
    sizes = {"d": 86_400.0, "h": 3600.0, "min": 60.0}
    unit = next((unit for unit, size in sizes.items() if abs(seconds) >= 2 * size), "min")
    return f"{seconds / sizes[unit]:.0f} {unit}"


def workers(found: Sequence[Mapping[str, Any]]) -> None:
    """Workers, a line each."""
    for each in found:
        pool = f"pool {each['pool']}{' (paused)' if each['pool_paused'] else ''}, {each['pool_runs']} run now"
        what = f"{each['state']:<14}{each['version']:<10}at most {each['concurrency']}  {pool}"
        more = " ".join([*each["packages"], each["git_credentials"] or ""])
        out.print(Text.assemble(f"{each['name']:<24}", what, (f"  {more}".rstrip(), "dim")))


def confirm(question: str) -> None:
    """Ask before something cannot be taken back.

    Raises:
        WrongCall: nobody is there to ask, or the answer is not yes.
    """
    if not is_person():
        raise WrongCall("nobody can be asked here", "say --yes")
    if out.input(f"{question} Type yes: ").strip().lower() != "yes":
        raise WrongCall("not confirmed", "nothing was touched")


def login(secrets: SecretStore) -> str:
    """What to paste where the UI asks for a password: Prefect compares the whole auth string, it knows no users."""
    return f"log in with the whole text of {secrets.location(AUTH_STRING)}"


def _after_a_reboot(there: Access, command: object) -> str:
    if not there.is_here or service_manager.chosen(there.home) == "systemd":
        return f"{command} start     after a stop; a reboot brings it back by itself"
    return f"{command} start     after a reboot; in your crontab: @reboot {command} start"


def done(spec: StackSpec, there: Access) -> None:
    """The last panel of a bootstrap."""
    command = there.home.root / "bin/selfhost" if there.is_here else f"selfhost --home {there.home.root}"
    text = f"""\
[bold]{there.url(spec)}[/bold]
{login(there.secrets)}

Keep a copy of {there.secrets.location(ENCRYPTION_KEY)} elsewhere:
without it nobody can read the secret blocks in a backup.

What next
  {command} open      the UI in your browser
  {command} connect   a Prefect profile for this machine, and what others need
  {command} status    whether all is well
  {_after_a_reboot(there, command)}"""
    out.print(
        Panel(text, title=f"Prefect {spec.prefect_version}, stack {spec.name}", expand=False),
        soft_wrap=False,
        overflow="fold",
    )


def is_person() -> bool:
    """Whether somebody can be asked."""
    with suppress(OSError, ValueError):
        return os.isatty(0) and out.is_terminal
    return False
