"""An upgrade: preflight, rehearsal on a restored copy, then a new server takes over from the old one while all runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Annotated, Any, Literal, TypeVar

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.exceptions import FlowPauseTimeout
from prefect.flow_runs import pause_flow_run
from prefect.input import RunInput
from pydantic import Field

from blocks import catalog, rollout
from blocks.agent.spec import Job
from blocks.backups import Catalogue, Manifest
from blocks.database import Database
from blocks.errors import Blocked
from blocks.host import lease as leases
from blocks.host.wanted import SERVER
from blocks.services import server_toml
from blocks.spec import StackSpec
from blocks.stack import Stack, active_slot, other_slot, promoted_secrets
from flows import backup, change, stall
from flows.backup import as_task
from flows.cli.progress import step
from flows.converge import this_server
from flows.upgrade import preflight as upgrade_preflight
from flows.upgrade import switch as upgrade_switch
from flows.upgrade.report import Report, markdown, rehearsed
from flows.upgrade.switch import Way

T = TypeVar("T")
NEWEST: str = StackSpec.model_fields["prefect_version"].default
Version = Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+$")]
Hours = Annotated[int, Field(ge=1, le=168)]
Minutes = Annotated[int, Field(ge=0, le=1440)]
FRESH_SECONDS = 3600.0
"""Where a person took longer to approve, what was recorded meanwhile is backed up, too."""
Wheel = Annotated[str, Field(pattern="^([0-9a-f]{64})?$")]


class Approval(RunInput):
    """What a person answers."""

    switch: Literal["yes", "no"] = "yes"


@flow(name="upgrade")
def upgrade(
    to: Version = NEWEST,
    approve: bool = False,
    approval_hours: Hours = 24,
    drain_minutes: Minutes = 30,
    wheel: Wheel = "",
    stack: str | None = None,
) -> None:
    """Upgrade this server, its database and its workers while flows run.

    Checks first, makes a backup and restores it, rehearses the whole upgrade on that copy, then lets the new server
    take over. Whatever fails is rolled back. The report is the artifact `upgrade`.

    Args:
        to: Prefect version to upgrade to, such as 3.8.8. The default is the newest that is known to work.
        approve: Pause before the switch, with the rehearsal's report, until a person resumes this run.
        approval_hours: Hours a person gets for that; then the run ends and nothing was switched.
        drain_minutes: Minutes that flows on your own workers get to end, their pools paused; then a worker that still
            runs some is left on the old version.
        wheel: Leave it empty. `selfhost upgrade --self` puts the sha256 of another wheel of this project here.
        stack: Name of the stack; leave it out for the one this server belongs to.
    """
    old = catalog.load(stack)
    lease, reason = old.host.home.lease, f"upgrade to Prefect {to}"
    report = Report(old.releases[SERVER].id, "", to)
    try:
        with leases.held(lease, reason):
            way = prepared(old, to, wheel, report)
            if not approve or way.is_done:
                carry_out(way, report, drain_minutes, wheel)
                return
        began = time.monotonic()
        ask(report, approval_hours)
        with leases.held(lease, f"{reason}: switch", upgrade_switch.LEASE_SECONDS):
            way = still_there(way, report, time.monotonic() - began)
            carry_out(way, report, drain_minutes, wheel)
    finally:
        publish(report)


def prepared(old: Stack, to: str, wheel: str, report: Report) -> Way:
    """All that comes before the switch: what is wanted, checked, and rehearsed on a restored copy."""
    way = upgrade_switch.way_to(old, timed(report, "preflight", lambda: preflight(old, to, wheel, report)))
    report.new = way.new.releases[SERVER].id
    if way.is_done:
        return way
    with installed(way, report):
        return rehearse(way, report)


def preflight(old: Stack, to: str, wheel: str, report: Report) -> Stack:
    """Refuse with all faults together; the stack as it would be."""
    new = upgrade_preflight.wished_form(old, to, wheel)
    report.checked.append(f"release `{new.releases[SERVER].id}` resolves: Prefect {to} exists, its requirements agree")
    with this_server() as client:
        facts = upgrade_preflight.look(old, client)
    upgrade_preflight.require(upgrade_preflight.faults(facts))
    report.checked += upgrade_preflight.notes(facts, to)
    return new


@contextmanager
def installed(way: Way, report: Report) -> Iterator[None]:
    """The new releases beside the old ones for the rehearsal. Afterwards the host is told of what it had before alone,
    so that nothing differs from what is wanted while a person is waited for, or where it goes no further."""
    upgrade_switch.drop_leftover(way)
    before = change.current(way.old)
    try:
        timed(report, "install", lambda: upgrade_switch.install(way))
        yield
    finally:
        way.old.host.apply(rollout.again(change.current(way.old), before))


def rehearse(way: Way, report: Report) -> Way:
    """Backup, drill, and the whole upgrade on the restored copy."""
    stack = way.old
    with stack.host.workspace() as folder:
        catalogue = Catalogue.of(stack, folder)
        catalogue.sweep()
        reason = f"before the upgrade to Prefect {report.version}"
        manifest = timed(report, "dump", lambda: backup.dump(stack, catalogue, reason, folder / "dump"))
        report.backup = manifest.id

        def drill_and_rehearse() -> dict[str, Any]:
            with backup.drilled(stack, catalogue, manifest, folder / "copy") as (copy, _):
                return change.run_job(stack, *rehearsal_job(way, copy))

        found = timed(report, "drill and rehearsal", drill_and_rehearse)
        backup.publish(catalogue.all())
    report.rehearsal = found
    return replace(way, rolling=bool(found["old_serves"]))


def rehearsal_job(way: Way, copy: Database) -> tuple[Job, list[Any]]:
    """The rehearsal as a program on the stack's host, and the files it reads."""
    home, server = way.old.host.home, upgrade_switch.server_of(way.new_spec(), way.new_slot)
    state = home.state / "rehearsal"
    own = {"HOME": str(state), "PREFECT_HOME": str(state), "PREFECT_UI_STATIC_DIRECTORY": str(state / "ui")}
    old_python = upgrade_switch.server_of(way.old_spec(), way.old_slot).argv[0]
    options = {
        "--run-dir": str(home.run / "rehearsal"),
        "--old-python": old_python,
        "--old-version": way.old.spec.prefect_version,
        "--new-version": way.new.spec.prefect_version,
        "--revision-before": way.revision,
    }
    words = [word for each in options.items() for word in each]
    job = Job(
        name="rehearse",
        argv=(server.argv[0], "-P", "-m", "blocks.server.rehearse", *words),
        run="",
        cwd=str(home.etc / "rehearsal"),
        env={**server.env, **own},
        secrets=server.secrets,
        timeout=3600.0,
    )
    return job, [server_toml(way.new.spec, home.etc / "rehearsal", copy, promoted_secrets(way.old))]


def ask(report: Report, hours: int) -> None:
    """Pause until a person has read the rehearsal's report. The lease is free meanwhile: backups go on."""
    text = "\n".join([f"**Switch to Prefect {report.version}?**", "", *rehearsed(report.rehearsal)])
    begun, report.outcome = report.outcome, "rehearsed, waits for a person"
    publish(report)
    report.outcome = begun
    try:
        answer = pause_flow_run(
            wait_for_input=Approval.with_initial_data(description=text), timeout=hours * 3600, poll_interval=2
        )
    except FlowPauseTimeout as error:
        report.outcome = f"nobody approved it within {hours} h; nothing was switched"
        raise Blocked(report.outcome, "start it again when somebody is there") from error
    if answer is None or answer.switch != "yes":
        report.outcome = "refused by a person; nothing was switched"
        raise Blocked(report.outcome)


def still_there(way: Way, report: Report, waited: float) -> Way:
    """The same way once a person has approved it: from the slot in which the server runs by now, as a rotation may
    have moved it, and with another backup where that took long.

    Raises:
        Blocked: the stack has another form than the one that was rehearsed.
    """
    now = catalog.load(way.old.spec.name)
    if (now.spec, now.releases) != (way.old.spec, way.old.releases):
        raise Blocked("the stack was changed while this run waited", "start it again: it rehearses anew")
    if waited > FRESH_SECONDS:
        report.backup = timed(report, "another backup", lambda: back_up(way, report)).id
    slot = active_slot(change.current(way.old), way.old.releases[SERVER])
    new = replace(way.new, versions=now.versions)  # secrets may have been rotated meanwhile
    return replace(way, old=now, new=new, old_slot=slot, new_slot=other_slot(slot))


def back_up(way: Way, report: Report) -> Manifest:
    """What the rehearsal began with may be days old."""
    with way.old.host.workspace() as folder:
        return backup.run(way.old, f"before the upgrade to Prefect {report.version}, once approved", folder)


def carry_out(way: Way, report: Report, drain_minutes: int, wheel: str) -> None:
    """Switch, or finish a switch that was begun; roll back where it fails."""
    with told_from_outside(way, report):
        try:
            if not way.is_done:
                timed(report, "switch", lambda: upgrade_switch.switch(way))
            late = timed(report, "workers", lambda: upgrade_switch.settle(way, drain_minutes * 60.0))
            busy = timed(report, "verify", lambda: upgrade_switch.verify(way.new))
        except Exception as error:
            undo(way, report, error)
            raise
    report.outcome = "; ".join(filter(None, ("done", late, busy, upgrade_switch.have_new_code_finish(way, wheel))))


@contextmanager
def told_from_outside(way: Way, report: Report) -> Iterator[None]:
    """The report says how long a client of the front door had to wait in this context, however it ends."""
    with stall.watched(way.old.door) as seen:
        try:
            yield
        finally:
            report.stall = str(seen)


def undo(way: Way, report: Report, error: Exception) -> None:
    """Roll back what has failed, and say so; what was finished before this run is not rolled back."""
    if way.is_done:
        report.outcome = f"not finished, start it again: {error}"
        return
    report.outcome = f"it failed ({error}), and what it had changed was not rolled back: start it again"
    late = timed(report, "roll back", lambda: upgrade_switch.roll_back(way))
    report.outcome = f"rolled back to release {way.old.releases[SERVER].id}, as it failed: {error}"
    report.outcome += f"; {late}" if late else ""


def timed(report: Report, name: str, work: Callable[[], T]) -> T:
    """Do it as a task of this name; the report tells how long it took, and whether it failed."""
    with step(name), _noted(report, name):
        return as_task(name, work)


@contextmanager
def _noted(report: Report, name: str) -> Iterator[None]:
    began, end = time.monotonic(), "failed"
    try:
        yield
        end = "done"
    finally:
        report.steps.append((name, time.monotonic() - began, end))


def publish(report: Report) -> None:
    """Leave the report as an artifact."""
    create_markdown_artifact(markdown(report), key="upgrade", description=f"Upgrade to Prefect {report.version}")
