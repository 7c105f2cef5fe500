"""The steps by which a backup takes the place of a stack's database, while the old service goes on as long as it can.

Everything before the swap is made anew by another attempt, and the swap is one transaction.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from blocks import backups, pools, restorable, rollout
from blocks.agent import processes
from blocks.agent.spec import HostSpec
from blocks.backups import Catalogue, Manifest
from blocks.database import SCRATCH_JOBS, Database, Tls
from blocks.encryption import bring_blocks_to, every_key
from blocks.errors import Blocked, NotReady
from blocks.host.host import START_SECONDS
from blocks.host.restore_record import Record
from blocks.host.secret_files import DATABASE_LOGIN, ENCRYPTION_KEY
from blocks.postgres import tls
from blocks.resource import Apply, visit
from blocks.restorable import Facts
from blocks.server import schema
from blocks.services import SLOT_PREFIX, WORKER_PREFIX
from blocks.signature import key_mark
from blocks.stack import Stack, next_spec
from blocks.verification import FAULTS
from blocks.waiting import wait_until
from flows import backup, change
from flows.cli.progress import Step, listen, step
from flows.restore import restored

STOP_SECONDS = 90.0
"""Time workers get to end, and then the server: a server drains for 8 s, and after its own 45 it is killed."""
_TLS = "PREFECT_SERVER_DATABASE_SQLALCHEMY_CONNECT_ARGS_TLS_"
MIGRATION_SECONDS = 3600.0
"""A bound for the migration of a copy; 3.8.3 to 3.8.8 took 18 s under load with 1.6 GB."""


class Laps:
    """Notes how long each step took, for the life of this process."""

    def __init__(self) -> None:
        self.taken: dict[str, float] = {}
        listen(self._note)

    def _note(self, ended: Step) -> None:
        if ended.seconds is not None:
            self.taken[ended.name] = round(ended.seconds, 2)


def dump_file(stack: Stack) -> Path:
    return stack.host.restore.work() / "restored.dump"


def find(stack: Stack, wanted: str, unsigned: bool) -> Manifest:
    """The manifest of a backup; `latest` is the newest verified one."""
    return Catalogue.of(stack, stack.host.restore.work()).find(wanted, unsigned=unsigned)


def require_restorable(stack: Stack, wanted: str, dump: Path, unsigned: bool) -> Manifest:
    """Fetch a backup's dump and see that it can be restored here; nothing else is touched.

    Args:
        unsigned: Whether somebody said that one which this stack has not signed is meant.

    Raises:
        Blocked: it cannot, with all reasons together.
    """
    catalogue = Catalogue.of(stack, dump.parent)
    manifest = backup.chosen(catalogue, wanted, unsigned=unsigned)
    found = restorable.faults(manifest, facts(stack))
    try:
        catalogue.fetch(manifest, dump)
    except Blocked as error:
        found.append(error.what)
    _refuse(manifest, found)
    require_database(stack)
    stack.database.require_replaceable()
    _refuse(manifest, restorable.disk_faults(manifest, stack.host.free_bytes(), stack.database.size()))
    return manifest


def facts(stack: Stack) -> Facts:
    return Facts(
        stack=stack.spec.name,
        home=stack.ledger.id,
        keys=frozenset(map(key_mark, every_key(stack.secrets))),
        prefect_version=stack.spec.prefect_version,
        known_revisions=schema.installed_lineage().known,
    )


def _refuse(manifest: Manifest, faults: list[str]) -> None:
    if faults:
        raise Blocked(f"backup {manifest.id} cannot be restored: {'; '.join(faults)}", "nothing was touched")


def require_database(stack: Stack) -> None:
    """Have the database answer; a stack that was stopped, or a host that was booted, is started."""
    try:
        stack.database.schema_revision()
    except NotReady:
        stack.host.start()
        seconds = restored.DATABASE_SECONDS
        wait_until(lambda: [stack.database.schema_revision()], "the database's answer", timeout=seconds, every=0.2)


def back_up(stack: Stack, manifest: Manifest) -> str:
    """Back up what is about to be replaced, drill and all; its id."""
    try:
        return backup.run(stack, backups.BEFORE_RESTORE + manifest.id, stack.host.restore.work()).id
    except Blocked as error:
        hint = "where it is beyond that: --without-safety; the database itself is kept all the same"
        raise Blocked(f"what is there cannot be backed up: {error.what}", hint) from error


def fill(stack: Stack, manifest: Manifest, copy: Database) -> None:
    """Restore the fetched dump into the copy, and compare it with the manifest as a drill does.

    Raises:
        Blocked: something differs.
    """
    with step("restore beside") as detail:
        copy.restore(dump_file(stack), jobs=SCRATCH_JOBS)
        wrong = backups.lacking(manifest, copy, Catalogue.of(stack, stack.host.restore.work()).key_of(manifest))
        if wrong:
            raise Blocked(f"backup {manifest.id} does not restore: {'; '.join(wrong)}", "nothing was replaced")
        detail.text = f"{sum(manifest.rows.values())} rows in {len(manifest.rows)} tables"


def bring_to_key(stack: Stack, copy: Database) -> None:
    """Have the copy's blocks encrypted with the stack's key of today, where the backup is of an older one."""
    with step("bring its blocks to the stack's key") as detail:
        locked = bring_blocks_to(stack.version(ENCRYPTION_KEY), stack.secrets, copy)
        detail.text = f"{len(locked)} cannot be read with any" if locked else ""


def migrate(stack: Stack, copy: Database) -> bool:
    """Bring the copy's schema to this release's; True if it was older."""
    with step("bring its schema to this release") as detail:
        revision, head = copy.schema_revision(), schema.installed_lineage().head
        detail.text = "is there" if revision == head else f"{revision} to {head}"
        if revision == head:
            return False
        url = copy.connection_url().replace(f"${{secret:{DATABASE_LOGIN}}}", stack.secret(DATABASE_LOGIN))
        _run_migration(url, copy.tls, stack.host.restore.work())
        return True


def _run_migration(url: str, wanted: Tls | None, cwd: Path) -> None:
    if wanted and wanted.authority:
        tls.authority_file(wanted, cwd).write_text(wanted.authority, "utf-8")
    environment = {key: os.environ[key] for key in ("PATH", "HOME", "LANG", "TZ") if key in os.environ}
    environment |= {"PREFECT_SERVER_DATABASE_CONNECTION_URL": url, "PREFECT_HOME": str(cwd)}
    environment |= {f"{_TLS}{name.upper()}": str(value) for name, value in tls.for_prefect(wanted, cwd).items()}
    argv = [sys.executable, "-P", "-m", "blocks.server.migrate", "--alone"]
    done = subprocess.run(
        argv, env=environment, cwd=cwd, capture_output=True, text=True, check=False, timeout=MIGRATION_SECONDS
    )
    if done.returncode:
        last = next(iter(done.stderr.strip().splitlines()[::-1]), "it said nothing")
        raise Blocked(f"the copy's schema cannot be brought to this release: {last}", "nothing was replaced")


def idle(stack: Stack, seconds: float) -> None:
    """Wait until no worker runs a flow, and none begins another: their pools are paused from here on.

    Raises:
        Blocked: some still run.
    """
    _pause_pools(stack)
    with step("workers idle"):
        try:
            stack.host.wait_idle(seconds)
        except Blocked as error:
            raise Blocked(f"{error.what}: {_under_way(stack)}", "wait for them, or end them with --now") from error


def _under_way(stack: Stack) -> str:
    """Names of the flow runs that the server has under way, or why it does not say."""
    try:
        with stack.door.impatient_client() as client:
            return ", ".join(each.name for each in pools.in_states(client, pools.UNDER_WAY)) or "none"
    except FAULTS as error:
        return f"the server does not say which ({error})"


def _pause_pools(stack: Stack) -> None:
    """Pause the pools of the stack's workers, but for those which a person has paused.

    A server that does not answer gives its workers no runs either, and a restore may be what mends it.
    """
    with step("pause work pools") as detail:
        applied = change.current(stack)
        workers = [each.name for each in applied.services if each.name.startswith(WORKER_PREFIX)]
        try:
            with stack.door.impatient_client() as client:
                paused = pools.pause(client, sorted(change.pools_of(workers, applied)))
        except FAULTS as error:
            detail.text = f"not done, the server does not answer ({error})"
            return
        time.sleep(change.SETTLE_SECONDS)
        detail.text = ", ".join(paused) or "none"


def _resume_pools(stack: Stack, seconds: float) -> None:
    """Resume the pools that were paused for a restore, by this one or by one that was killed.

    Args:
        seconds: Time the server gets to answer, where it has been stopped.
    """

    def resumed() -> list[list[str]]:
        with stack.door.impatient_client() as client:
            return [pools.resume(client, pools.marked(client))]

    wait_until(resumed, "that paused work pools are resumed", timeout=seconds, every=0.5)


def stop(stack: Stack, now: bool = False) -> None:
    """End workers, then the server, and wait for that; callers wait in the held socket from then on.

    In this order, as a worker whose server is away takes half a minute to end, in which callers would wait, too; and
    where one goes on, the server has not even been stopped.

    Args:
        now: End what runs on workers with them; else one that runs a flow is not ended.

    Raises:
        NotReady: something is still there.
    """
    with step("stop server and workers"):
        if now:
            stack.host.apply(rollout.ended_at_once(change.current(stack), WORKER_PREFIX))
        started = stack.host.started_by_workers() if now else []
        _end(stack, (WORKER_PREFIX,))
        for each in started:  # a worker ends its flows; one that had to be killed has not
            processes.end(each)
        _end(stack, (SLOT_PREFIX, WORKER_PREFIX))
        stack.host.wait_ready(change.current(stack).generation, timeout=STOP_SECONDS)


@contextmanager
def undone_by_failure(stack: Stack) -> Iterator[None]:
    """Whatever fails in this context, the host is told to run all of the stack afterwards.

    Not where the databases were swapped already: then the same command goes on, before workers begin anything. The
    record of an earlier restore goes, so that one which is there afterwards is of this attempt. The error that is
    raised is the first one; what failed on the way back is a note of it.
    """
    stack.host.restore.forget()
    if not (_has_server(stack) and restored.has_workers(stack)):
        bring_host_in_line(stack)  # an attempt that was killed had stopped them
    try:
        yield
    except BaseException as first:
        try:
            undo(stack)
        except Exception as second:
            first.add_note(f"on the way back: {second}")
            raise first from second
        raise


def undo(stack: Stack) -> None:
    """Bring the old service back, or where the databases were swapped, or may have been, the server without workers."""
    with step("bring the server back") as detail:
        seconds = 0.0 if _has_server(stack) else START_SECONDS
        record = stack.host.restore.record()
        if record is not None:
            # Asked before it is known which database stands there: either has its server again then.
            stack.host.apply(_spec(stack, without=(WORKER_PREFIX,)))
            if restored.is_swapped(stack, record):
                detail.text = "without workers, on the restored database: the same command goes on"
                return
            stack.host.restore.forget()
        bring_host_in_line(stack)
        _resume_pools(stack, seconds)


def _has_server(stack: Stack) -> bool:
    """Whether the host was told to run a server."""
    applied = stack.host.applied()
    return applied is not None and any(each.name.startswith(SLOT_PREFIX) for each in applied.services)


def swap(stack: Stack, manifest: Manifest, safety: str, seconds: Mapping[str, float]) -> None:
    """Note what is about to happen, then swap the databases."""
    now = datetime.now(UTC)
    record = Record(
        backup=manifest.id,
        made=manifest.made,
        rows=sum(manifest.rows.values()),
        safety=safety,
        label=f"{now:%Y%m%dT%H%M%SZ}",
        stopped=now.isoformat(),
        seconds=dict(seconds),
    )
    stack.host.restore.note(record)
    # Leases of runs which the restored database does not know would take slots away from those it does.
    stack.host.drop_concurrency_leases()
    with step("swap") as detail:
        require_database(stack)  # it may be on its way back
        detail.text = f"the old one is kept as {stack.database.swap(record.label)}"


def start_server(stack: Stack) -> None:
    """Have the server serve, without workers unless the host was told to start those; idempotent, waits."""
    with step("server ready"):
        if _has_server(stack):
            stack.host.wait_ready(change.current(stack).generation)
        else:
            spec = _spec(stack, without=(WORKER_PREFIX,))
            stack.host.apply(spec)
            stack.host.wait_ready(spec.generation)


def bring_host_in_line(stack: Stack) -> None:
    """Tell the host to run all of the stack, as after an attempt that was killed; idempotent, does not wait."""
    visit(next(each for each in stack.on_host() if each.name == "host services"), Apply())


def start(stack: Stack) -> None:
    """Bring everything that runs on the host in line, and wait until it is ready; idempotent."""
    with step("services ready"):
        bring_host_in_line(stack)
        stack.host.wait_ready(stack.host.generation())


def _end(stack: Stack, names: tuple[str, ...]) -> None:
    """Have the host run the stack without services of these beginnings; waits until they are gone.

    Whether the others are ready does not matter: a server that is not may be why there is a restore.
    """
    spec = _spec(stack, without=names)
    stack.host.apply(spec)
    stack.host.wait_alone({each.name for each in spec.services}, spec.generation, STOP_SECONDS)


def _spec(stack: Stack, without: tuple[str, ...]) -> HostSpec:
    """What the host should run, but for services of these beginnings."""
    spec = next_spec(stack)
    return replace(spec, services=tuple(each for each in spec.services if not each.name.startswith(without)))
