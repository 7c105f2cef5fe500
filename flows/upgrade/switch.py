"""The switch of an upgrade: from one form of a stack to another while it serves, and back the other way round."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blocks import resource, rollout, verification
from blocks.agent.spec import HostSpec, Job, Service
from blocks.server import schema
from blocks.server_objects import server_objects
from blocks.services import SLOT_PREFIX
from blocks.spec import SERVER
from blocks.stack import Stack, active_slot, host_spec, other_slot
from flows import change
from flows import status as seen_from_outside
from flows.converge import this_server

LEASE_SECONDS = 900.0
"""Time to wait for a lease which is another's at that moment, such as a nightly backup's."""


@dataclass(frozen=True)
class Transition:
    """From one form of a stack to another, and the slots their servers run in."""

    old: Stack
    new: Stack
    old_slot: str
    new_slot: str
    revision: str
    """Head of the old release's schema, which a rollback goes back to."""
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


def transition(old: Stack, new: Stack) -> Transition:
    """Where the servers of both forms run, or would, as the host stands now."""
    slot = active_slot(change.current(old), old.releases[SERVER])
    return Transition(old, new, slot, other_slot(slot), schema.installed_lineage().head)


def drop_leftover(transition: Transition) -> None:
    """End an interrupted run's server in the other slot: two for long would do background work twice."""
    change.drop_server(transition.old, transition.old_spec(), transition.new_slot)


def install(transition: Transition) -> None:
    """Install the new releases beside the old ones; what a server needs is imported once."""
    transition.old.host.apply(rollout.with_releases(change.current(transition.old), transition.new_spec()))


def migration_job(transition: Transition, to: str = "head") -> tuple[Job, list[Any]]:
    """The migration of the stack's own database, by the new release, which knows the way back too."""
    spec = transition.new_spec()
    server = server_of(spec, transition.new_slot)
    argv = (server.argv[0], "-P", "-m", "blocks.server.migrate", "--to", to)
    job = Job("migrate", argv, "", server.cwd, user=server.user, env=server.env, secrets=server.secrets, timeout=3600.0)
    return job, [each for each in spec.files if each.path in server.files]


def server_of(spec: HostSpec, slot: str) -> Service:
    """The server in a slot."""
    return next(each for each in spec.services if each.name == SLOT_PREFIX + slot)


def switch(transition: Transition) -> None:
    """Move the schema, start the new server beside the old one.

    Where the old server cannot live on the new schema it goes first, and calls wait in the held socket. From then on
    the host finishes alone, should this run be killed: its new server serves once the schema is there.
    """
    drop_leftover(transition)
    install(transition)  # again, in a moment: their files are there since the rehearsal
    if transition.rolling:
        change.run_job(transition.old, *migration_job(transition))
    else:
        change.drop_server(transition.old, transition.new_spec(), transition.old_slot)
        begun = rollout.take(change.current(transition.old), transition.new_spec(), [SLOT_PREFIX + transition.new_slot])
        change.run_job(transition.old, *migration_job(transition), beside=begun)
    change.start_server(transition.old, transition.new_spec(), transition.new_slot)


def settle(transition: Transition, drain_seconds: float) -> str:
    """Make the new form the wanted one, and bring everything else to it. Returns which workers go on as before, in
    words."""
    new, slot = transition.new, active_slot(change.current(transition.new), transition.new.releases[SERVER])
    wanted = host_spec(new, 0, slot)
    with this_server() as client:
        change.make_wanted(new, client)
        change.drop_server(new, wanted, other_slot(slot))
        late = change.change_workers(new, wanted, change.changed_workers(new, wanted), client, drain_seconds)
        if late:
            # The workers of this very flow are restarted once it has ended.
            new.host.apply(rollout.take(change.current(new), wanted, new.own_workers()))
        else:
            resource.converge(new.on_host())
        resource.converge(server_objects(new, client))
    return late


def verify(new: Stack) -> str:
    """Look at the stack through its front door. Returns which pools did not begin a probe, in words: they may be busy,
    which is no fault of the new version.

    Raises:
        Blocked: the server is not as it should be.
    """
    seen = new.host.wait_ready(change.current(new).generation)
    version, names = new.spec.prefect_version, seen_from_outside.probed_pools(new)
    found = verification.verify(new.door, version, names, seen)
    busy = [each for each in found if verification.is_note(each)]
    seen_from_outside.require([each for each in found if each not in busy])
    return "; ".join(f"{each.type}: {each.message}" for each in busy)


def have_new_code_finish(transition: Transition, wheel: str) -> str:
    """Another wheel of ours brings deployments, automations and a host agent of its own, which its own code puts in
    place: a bootstrap as a host job, once the worker of this very flow has become the new one. Returns a sentence on it
    for the report."""
    if not wheel and transition.old.releases[SERVER].wheels == transition.new.releases[SERVER].wheels:
        return ""
    words = ("bootstrap", "--patience", str(LEASE_SECONDS))
    job = Job(
        "bootstrap",
        transition.new.host.command(*words, release=transition.new.releases[SERVER]),
        uuid.uuid4().hex,
        env={"HOME": str(Path.home())},
        after=transition.new.own_workers(),
        timeout=1800.0,
    )
    transition.new.host.apply(rollout.with_job(change.current(transition.new), job))
    log = transition.new.host.logs().file("job-bootstrap")
    return f"its own code brings the rest in line once this run has ended: {log}"


def roll_back(transition: Transition) -> str:
    """Bring the old form back the other way round: its workers, which must never be newer than their server, then the
    server, then the schema where that moved. Returns which workers are still of the new form, in words: their pools
    stay paused until they are idle."""
    old, before = transition.old, transition.old_spec()
    with this_server() as client:
        changed = change.changed_workers(old, before)
        late = change.change_workers(old, before, changed, client, change.SERVER_SECONDS, held=True)
    if transition.rolling:
        change.start_server(old, before, transition.old_slot)
    # Before the schema goes back: the next run would else take the upgrade for done, and finish it on that.
    change.write_wanted(old, back=True)
    change.drop_server(old, before, transition.new_slot)
    if old.database.schema_revision() != transition.revision:
        change.run_job(old, *migration_job(transition, transition.revision))
    if not transition.rolling:
        change.start_server(old, before, transition.old_slot)
    with this_server() as client:
        change.make_wanted(old, client, back=True)
    resource.converge(old.on_host())
    return late and f"{late}: its pool stays paused until then, and until the deployment converge is run"
