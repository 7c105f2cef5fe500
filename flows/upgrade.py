"""An upgrade: preflight, rehearsal on a restored copy, then a new server takes over from the old one while all runs."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.exceptions import FlowPauseTimeout
from prefect.flow_runs import pause_flow_run
from prefect.input import RunInput
from pydantic import Field

from blocks import catalog, resource, rollout, verification
from blocks.backups import Catalogue
from blocks.database import Database
from blocks.errors import Blocked
from blocks.host import control
from blocks.host import lease as leases
from blocks.host.agent.spec import HostSpec, Job, Service
from blocks.host.wanted import SERVER
from blocks.server_objects import server_objects
from blocks.spec import StackSpec
from blocks.stack import (
    SLOT_PREFIX,
    Stack,
    active_slot,
    host_spec,
    next_spec,
    other_slot,
    server_toml,
)
from flows import backup, change, stall, upgrade_preflight
from flows import status as seen_from_outside
from flows.backup import as_task
from flows.converge import this_server
from flows.progress import step
from flows.upgrade_report import Report, markdown, rehearsed

T = TypeVar("T")
NEWEST: str = StackSpec.model_fields["prefect_version"].default
Version = Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+$")]
Hours = Annotated[int, Field(ge=1, le=168)]
Minutes = Annotated[int, Field(ge=0, le=1440)]
Wheel = Annotated[str, Field(pattern="^([0-9a-f]{64})?$")]


class Approval(RunInput):
    """What a person answers."""

    switch: Literal["yes", "no"] = "yes"


@dataclass(frozen=True)
class Way:
    """From one form of a stack to another, and the slots their servers run in."""

    old: Stack
    new: Stack
    old_slot: str
    new_slot: str
    revision: str
    """Of the schema before."""
    rolling: bool = True
    """Whether the old server lives on the new schema, so that both may run at one time."""

    def old_spec(self) -> HostSpec:
        return host_spec(self.old, 0, self.old_slot)

    def new_spec(self) -> HostSpec:
        return host_spec(self.new, 0, self.new_slot)

    @property
    def is_done(self) -> bool:
        """Whether the new form is the wanted one already; a run that was killed may still have to finish it."""
        return self.old.releases == self.new.releases


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
    lease = old.machine.home().lease
    report = Report(old.releases[SERVER].id, "", to)
    try:
        with leases.held(lease, f"upgrade to Prefect {to}: rehearsal"):
            way = prepare(old, to, wheel, report)
            if not way.is_done:
                with installed(way, report):
                    way = rehearse(way, report)
        if approve and not way.is_done:
            ask(report, approval_hours)
        with leases.held(lease, f"upgrade to Prefect {to}: switch"):
            require_unchanged(old, stack)
            carry_out(way, report, drain_minutes)
    finally:
        publish(report)


def prepare(old: Stack, to: str, wheel: str, report: Report) -> Way:
    """Resolve what is wanted, check what can be checked."""
    new = timed(report, "preflight", lambda: preflight(old, to, wheel, report))
    report.new = new.releases[SERVER].id
    revision = old.database.schema_revision() or ""
    slot = active_slot(change.current(old), old.releases[SERVER])
    return Way(old, new, slot, other_slot(slot), revision)


def preflight(old: Stack, to: str, wheel: str, report: Report) -> Stack:
    """Refuse with all faults together; the stack as it would be."""
    new = upgrade_preflight.wished_form(old, to, wheel)
    report.checked.append(f"release `{new.releases[SERVER].id}` resolves: Prefect {to} exists, its requirements agree")
    with this_server() as client:
        facts = upgrade_preflight.look(old, client)
    upgrade_preflight.require(upgrade_preflight.faults(facts))
    report.checked += upgrade_preflight.notes(facts)
    return new


@contextmanager
def installed(way: Way, report: Report) -> Iterator[None]:
    """The new releases beside the old ones for the rehearsal. Afterwards the host is told of the old form alone, so
    that nothing differs from what is wanted while a person is waited for, or where it goes no further."""
    try:
        timed(report, "install", lambda: install(way))
        yield
    finally:
        way.old.machine.apply(next_spec(way.old))


def install(way: Way) -> None:
    """Install the new releases beside the old ones; what a server needs is imported once.

    A server which a killed run left in the other slot goes first: two for long would do background work twice.
    """
    change.drop_server(way.old, way.old_spec(), way.new_slot)
    way.old.machine.apply(rollout.with_releases(change.current(way.old), way.new_spec()))


def rehearse(way: Way, report: Report) -> Way:
    """Backup, drill, and the whole upgrade on the restored copy."""
    stack, home = way.old, way.old.machine.home()
    with backup.workspace(home) as folder:
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
    home, server = way.old.machine.home(), server_of(way.new_spec(), way.new_slot)
    state = home.state / "rehearsal"
    own = {"PREFECT_HOME": str(state), "PREFECT_UI_STATIC_DIRECTORY": str(state / "ui")}
    old_python = server_of(way.old_spec(), way.old_slot).argv[0]
    options = {
        "--run-dir": str(home.run / "rehearsal"),
        "--old-python": old_python,
        "--old-version": way.old.spec.prefect_version,
        "--new-version": way.new.spec.prefect_version,
        "--revision-before": way.revision,
    }
    job = Job(
        name="rehearse",
        argv=(server.argv[0], "-P", "-m", "blocks.host.rehearse", *(word for each in options.items() for word in each)),
        run="",
        cwd=str(home.etc / "rehearsal"),
        env={**server.env, **own},
        secrets=server.secrets,
        timeout=3600.0,
    )
    return job, [server_toml(way.new, home.etc / "rehearsal", copy)]


def migration_job(way: Way, to: str = "head") -> tuple[Job, list[Any]]:
    """The migration of the stack's own database, by the new release, which knows the way back too."""
    spec = way.new_spec()
    server = server_of(spec, way.new_slot)
    argv = (server.argv[0], "-P", "-m", "blocks.host.migrate", "--to", to)
    job = Job("migrate", argv, "", cwd=server.cwd, env=server.env, secrets=server.secrets, timeout=3600.0)
    return job, [each for each in spec.files if each.path in server.files]


def server_of(spec: HostSpec, slot: str) -> Service:
    """The server in a slot."""
    return next(each for each in spec.services if each.name == SLOT_PREFIX + slot)


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


def require_unchanged(old: Stack, stack: str | None) -> None:
    """Refuse to go on from another form of the stack than the one that was rehearsed."""
    now = catalog.load(stack)
    if (now.spec, now.releases) != (old.spec, old.releases):
        raise Blocked("the stack was changed while this run waited", "start it again: it rehearses anew")


def carry_out(way: Way, report: Report, drain_minutes: int) -> None:
    """Switch, or finish a switch that was begun; roll back where it fails."""
    try:
        with stall.watched(way.old.door) as seen:
            if not way.is_done:
                timed(report, "switch", lambda: switch(way))
            late = timed(report, "workers", lambda: settle(way, drain_minutes * 60.0))
            busy = timed(report, "verify", lambda: verify(way.new))
    except Exception as error:
        if not way.is_done:
            timed(report, "roll back", lambda: roll_back(way))
            report.outcome = f"rolled back to release {way.old.releases[SERVER].id}, as it failed: {error}"
        else:
            report.outcome = f"not finished, start it again: {error}"
        raise
    report.stall = str(seen)
    report.outcome = "; ".join(filter(None, ("done", late, busy, have_new_code_finish(way))))


def switch(way: Way) -> None:
    """Move the schema, start the new server beside the old one, make the new form the wanted one."""
    install(way)  # again, in a moment: their files are there since the rehearsal
    if not way.rolling:
        change.drop_server(way.old, way.new_spec(), way.old_slot)  # calls wait in the held socket from here on
    change.run_job(way.old, *migration_job(way))
    change.start_server(way.old, way.new_spec(), way.new_slot)
    with this_server() as client:
        change.keep(way.new, client)


def settle(way: Way, drain_seconds: float) -> str:
    """Bring everything else to the wanted form. Returns which workers go on as before, in words."""
    new, slot = way.new, active_slot(change.current(way.new), way.new.releases[SERVER])
    wished = host_spec(new, 0, slot)
    change.drop_server(new, wished, other_slot(slot))
    with this_server() as client:
        late = change.change_workers(new, wished, change.changed_workers(new, wished), client, drain_seconds)
        if late:
            # The workers of this very flow are restarted once it has ended.
            new.machine.apply(rollout.take(change.current(new), wished, new.own_workers()))
        else:
            resource.converge(new.resources())
        resource.converge(server_objects(new.spec, new.blocks(), client))
    return late


def verify(new: Stack) -> str:
    """Look at the stack through its front door. Returns which pools did not run a probe, in words: they may be busy,
    which is no fault of the new version.

    Raises:
        Blocked: the server is not as it should be.
    """
    control.wait_ready(new.machine.home(), change.current(new).generation)
    version, names = new.spec.prefect_version, seen_from_outside.pools(new)
    found = verification.verify(new.door, version, names, new.machine.observe())
    probes = [each for each in found if each.type.startswith("WorkerRuns/")]
    seen_from_outside.require([each for each in found if each not in probes])
    return "; ".join(f"{each.type}: {each.message}" for each in probes if not each.status)


def have_new_code_finish(way: Way) -> str:
    """Another wheel of ours brings deployments, automations and a host agent of its own, which its own code puts in
    place: a bootstrap as a host job, once the worker of this very flow has become the new one. Returns what is told."""
    if way.old.releases[SERVER].wheels == way.new.releases[SERVER].wheels:
        return ""
    home = way.new.machine.home()
    python = home.releases / way.new.releases[SERVER].id / "bin/python"
    argv = (str(python), "-P", "-m", "flows.cli", "bootstrap", "--home", str(home.root))
    job = Job(
        "bootstrap", argv, uuid.uuid4().hex, env={"HOME": str(Path.home())}, after=way.new.own_workers(), timeout=1800.0
    )
    way.new.machine.apply(rollout.with_job(change.current(way.new), job))
    return f"its own code brings the rest in line: {home.logs / 'job-bootstrap.log'}"


def roll_back(way: Way) -> None:
    """Bring the old form back: its server, the schema where that moved, its workers."""
    old, before = way.old, way.old_spec()
    if way.rolling:
        change.start_server(old, before, way.old_slot)
    change.drop_server(old, before, way.new_slot)
    if old.database.schema_revision() != way.revision:
        change.run_job(old, *migration_job(way, way.revision))
    if not way.rolling:
        change.start_server(old, before, way.old_slot)
    with this_server() as client:
        change.keep(old, client)
        change.change_workers(old, before, change.changed_workers(old, before), client, change.SERVER_SECONDS)
    old.machine.apply(next_spec(old))


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
