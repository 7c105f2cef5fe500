"""The steps of one upgrade, and what they know of each other. Their order is the flow's."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, Literal, TypeVar

from prefect.artifacts import create_markdown_artifact
from prefect.exceptions import FlowPauseTimeout
from prefect.flow_runs import pause_flow_run
from prefect.input import RunInput

from blocks import catalog, rollout
from blocks.agent.spec import File, Folder, HostSpec, Job
from blocks.backups import Catalogue, Manifest
from blocks.database import Database
from blocks.errors import Blocked
from blocks.lease import Lease
from blocks.services import server_files
from blocks.spec import SERVER
from blocks.stack import Stack, active_slot, other_slot, promoted_secrets
from flows import backup, change, stall
from flows.backup import as_task
from flows.cli.progress import step
from flows.converge import this_server
from flows.expire import drop_disused
from flows.upgrade import preflight, switch
from flows.upgrade.report import Report, markdown, rehearsed
from flows.upgrade.switch import Transition

T = TypeVar("T")
FRESH_SECONDS = 3600.0
"""Where a person took longer to approve, what was recorded meanwhile is backed up, too."""


class Approval(RunInput):
    """What a person answers."""

    switch: Literal["yes", "no"] = "yes"


class Upgrade:
    """One upgrade: each step leaves what the next ones need, and its line in the report."""

    transition: Transition
    """Known after the preflight."""

    def __init__(self, old: Stack, to: str, wheel: str) -> None:
        """`wheel` is the sha256 of another wheel of ours; empty for the one that runs."""
        self._old = old
        self._wheel = wheel
        self._lease: Lease | None = None
        self._before: HostSpec | None = None
        """What the host had before anything was installed for the rehearsal alone."""
        self._watch = ExitStack()
        self.report = Report(old.releases[SERVER].id, "", to)

    def take_lease(self, patience: float = 0.0) -> None:
        reason = f"upgrade to Prefect {self.report.version}"
        self._lease = self._old.ledger.acquire(reason, patience)

    def give_lease_back(self) -> None:
        if self._lease is not None:
            self._lease.release()
            self._lease = None

    def check(self) -> None:
        """Refuse with all faults together; from here on the transition is known.

        Raises:
            Blocked: something is in the way; nothing was changed.
        """
        new = self._timed("preflight", self._checked)
        self.transition = switch.transition(self._old, new)
        self.report.new = new.releases[SERVER].id

    def _checked(self) -> Stack:
        old, report = self._old, self.report
        new = preflight.wanted_form(old, report.version, self._wheel)
        resolved = f"release `{new.releases[SERVER].id}` resolves: Prefect {report.version} exists"
        report.checked.append(f"{resolved}, its requirements agree")
        with this_server() as client:
            facts = preflight.look(old, client)
        preflight.require(preflight.faults(facts))
        report.checked += preflight.notes(facts, report.version)
        return new

    def install(self) -> None:
        """The new releases beside the old ones; what a server needs is imported once."""
        switch.drop_leftover(self.transition)
        self._before = change.current(self._old)
        self._timed("install", lambda: switch.install(self.transition))

    def withdraw(self) -> None:
        """Give the host its spec from before the rehearsal again, so that nothing differs from what is wanted while a
        person is waited for, or where the upgrade goes no further."""
        if self._before is not None:
            self._old.host.apply(rollout.as_before(change.current(self._old), self._before))
            self._before = None

    def dump_and_rehearse(self) -> None:
        """A backup, its drill, and the whole upgrade on the copy which that restored."""
        stack, report = self._old, self.report
        with stack.host.workspace() as folder:
            catalogue = Catalogue.of(stack, folder)
            catalogue.sweep()
            reason = f"before the upgrade to Prefect {report.version}"
            manifest = self._timed("dump", lambda: backup.dump(stack, catalogue, reason, folder / "dump"))
            report.backup = manifest.id

            def drill_and_rehearse() -> dict[str, Any]:
                with backup.drilled(stack, catalogue, manifest, folder / "copy") as (copy, _):
                    return change.run_job(stack, *rehearsal_job(self.transition, copy))

            report.rehearsal = self._timed("drill and rehearsal", drill_and_rehearse)
            backup.publish(catalogue.all())
        self.transition = replace(self.transition, rolling=bool(report.rehearsal["old_serves"]))

    def ask(self, hours: int) -> None:
        """Pause until a person has read the rehearsal's report. The lease is free meanwhile: backups go on.

        Raises:
            Blocked: refused, or nobody answered; nothing was switched.
        """
        began = time.monotonic()
        self.withdraw()
        self.give_lease_back()
        publish(replace(self.report, outcome="rehearsed, waits for a person"))
        with self._old.host.holding(self.transition.new.releases.values()):
            self._await_approval(hours)
            self.take_lease(switch.LEASE_SECONDS)
        self._look_again(time.monotonic() - began)

    def _await_approval(self, hours: int) -> None:
        report = self.report
        text = "\n".join([f"**Switch to Prefect {report.version}?**", "", *rehearsed(report.rehearsal)])
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

    def _look_again(self, waited: float) -> None:
        """Whether the stack is still the one that was rehearsed. A rotation may have moved its server to another slot;
        and after a long wait there is another backup.

        Raises:
            Blocked: the stack has another form.
        """
        now = catalog.load(self._old.spec.name)
        if (now.spec, now.releases) != (self._old.spec, self._old.releases):
            raise Blocked("the stack was changed while this run waited", "start it again: it rehearses anew")
        self._old = now
        if waited > FRESH_SECONDS:
            self.report.backup = self._timed("another backup", self._back_up).id
        slot = active_slot(change.current(now), now.releases[SERVER])
        new = replace(self.transition.new, versions=now.versions)  # secrets may have been rotated meanwhile
        self.transition = replace(self.transition, old=now, new=new, old_slot=slot, new_slot=other_slot(slot))

    def _back_up(self) -> Manifest:
        with self._old.host.workspace() as folder:
            return backup.run(self._old, f"before the upgrade to Prefect {self.report.version}, once approved", folder)

    def watch(self) -> None:
        """From here on, whatever happens, the report says how long a client of the front door had to wait."""
        self.report.stall = self._watch.enter_context(stall.watched(self._old.door))

    def switch(self) -> None:
        """Move the schema, and let a new server take over; from here on a failure is rolled back."""
        self._before = None
        self._timed("switch", lambda: switch.switch(self.transition))

    def change_workers(self, drain_seconds: float) -> None:
        """Make the new form the wanted one, and bring workers and everything else to it."""
        self.report.notes.append(self._timed("workers", lambda: switch.settle(self.transition, drain_seconds)))

    def verify(self) -> None:
        self.report.notes.append(self._timed("verify", lambda: switch.verify(self.transition.new)))

    def roll_back(self, error: Exception) -> None:
        """Undo what has failed, and say so; a switch that was finished before this run is not rolled back."""
        report = self.report
        if self.transition.is_done:
            report.outcome = f"not finished, start it again: {error}"
            return
        report.outcome = f"it failed ({error}), and what it had changed was not rolled back: start it again"
        late = self._timed("roll back", lambda: switch.roll_back(self.transition))
        report.outcome = f"rolled back to release {report.old}, as it failed: {error}"
        report.outcome += f"; {late}" if late else ""

    def finish(self) -> None:
        """Have new code of ours bring the rest in line, and call it done."""
        self.report.notes.append(switch.have_new_code_finish(self.transition, self._wheel))
        self.report.outcome = "; ".join(filter(None, ("done", *self.report.notes)))

    def remove_disused(self) -> None:
        """Releases before the one that was upgraded from: that one runs this very flow, and goes by the next expiry."""
        self.report.disk = self._timed("disused releases", lambda: drop_disused(self.transition.new))

    def end(self) -> None:
        """However it has come to its end: no more is installed than is wanted, the lease is free, and the report is
        published."""
        self._watch.close()
        try:
            self.withdraw()
        finally:
            self.give_lease_back()
            publish(self.report)

    def _timed(self, name: str, work: Callable[[], T]) -> T:
        """Do it as a task of this name; the report has how long it took, and whether it failed."""
        began, ended = time.monotonic(), "failed"
        try:
            with step(name):
                result = as_task(name, work)
            ended = "done"
            return result
        finally:
            self.report.steps.append((name, time.monotonic() - began, ended))


def rehearsal_job(transition: Transition, copy: Database) -> tuple[Job, list[File], list[Folder]]:
    """The rehearsal as a program on the stack's host, by the server's user; the files and the folder it works with."""
    host, server = transition.old.host, switch.server_of(transition.new_spec(), transition.new_slot)
    state, etc = host.state("rehearsal"), host.configuration("rehearsal")
    own = {"HOME": str(state), "PREFECT_HOME": str(state), "PREFECT_UI_STATIC_DIRECTORY": str(state / "ui")}
    options = {
        "--run-dir": str(state),
        "--old-python": switch.server_of(transition.old_spec(), transition.old_slot).argv[0],
        "--old-version": transition.old.spec.prefect_version,
        "--new-version": transition.new.spec.prefect_version,
        "--revision-before": transition.revision,
    }
    words = [word for each in options.items() for word in each]
    job = Job(
        name="rehearse",
        argv=(server.argv[0], "-P", "-m", "blocks.server.rehearse", *words),
        run="",
        cwd=str(etc),
        user=server.user,
        env={**server.env, **own},
        secrets=server.secrets,
        timeout=3600.0,
    )
    secrets = promoted_secrets(transition.old)
    files = server_files(transition.new.proxy, etc, copy, secrets, server.user)
    return job, [*files], [Folder(str(state), user=server.user)]


def publish(report: Report) -> None:
    """Leave the report as an artifact."""
    create_markdown_artifact(markdown(report), key="upgrade", description=f"Upgrade to Prefect {report.version}")
