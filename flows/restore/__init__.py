"""Putting a backup in the place of the stack's database.

What replaces the records of the server it runs on cannot run there: until the databases are swapped it is a flow on a
temporary server, and from then on one on the restored stack's own. Started from the UI, it is handed to the host.
"""

from __future__ import annotations

from typing import Annotated, Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed
from pydantic import Field

from blocks import catalog
from flows.backup import as_task
from flows.converge import RUNNER
from flows.restore import hand_over, restored, steps

BackupId = Annotated[str, Field(min_length=1, max_length=60)]
Wait = Annotated[int, Field(ge=0, le=86_400)]


@flow(name="restore")
def restore(
    backup: BackupId = "latest",
    wait: Wait = 60,
    now: bool = False,
    unsigned: bool = False,
    stack: str | None = None,
) -> State[None]:
    """Put a backup in the place of the database. The host does it: this server, and this run's record, go away.

    Args:
        backup: Id of the backup; `latest` is the newest verified one.
        wait: Seconds that running flows get to end, their pools paused; where they do not, nothing is replaced.
        now: End running flows with their workers instead of waiting for them.
        unsigned: Take the named backup although this stack has not signed it: made by an older selfhost, or forged.
        stack: Name of the stack; leave it out for the one this server belongs to.
    """
    loaded = catalog.load(stack)
    manifest = as_task("look at the backup", lambda: hand_over.refuse(loaded, backup, unsigned))
    how = [*(("--now",) if now else ("--wait", str(wait))), *(("--unsigned",) if unsigned else ())]
    message = as_task("hand over to the host", lambda: hand_over.start_job(loaded, manifest, how))
    return Completed(message=message)


@flow(name="restore")
def replace_database(
    spec: dict[str, Any],
    backup: str,
    wait: float = 60,
    now: bool = False,
    safety: bool = True,
    unsigned: bool = False,
) -> None:
    """Put a backup in the place of the stack's database; its server then runs, without workers.

    Args:
        spec: The stack's spec, without secrets.
        backup: Id of the backup.
        wait: Seconds that running flows get to end.
        now: End them with their workers instead.
        safety: Back up first what is about to be replaced.
        unsigned: Whether the backup may be one that this stack has not signed.
    """
    stack, laps = catalog.composed(spec), steps.Laps()
    manifest = steps.find(stack, backup, unsigned)
    saved = steps.back_up(stack, manifest) if safety else ""
    with stack.database.beside() as copy:
        as_task("restore beside", lambda: steps.fill(stack, manifest, copy))
        as_task("bring its blocks to the stack's key", lambda: steps.bring_to_key(stack, copy))
        as_task("bring its schema to this release", lambda: steps.migrate(stack, copy))
        if not now:
            as_task("workers idle", lambda: steps.idle(stack, wait))
        as_task("stop server and workers", lambda: steps.stop(stack, now))
        as_task("swap", lambda: steps.swap(stack, manifest, saved, laps.taken))
    as_task("server ready", lambda: steps.start_server(stack))


@flow(name="restore", task_runner=RUNNER)
def finish(spec: dict[str, Any], backup: str) -> None:
    """Make a restored stack whole: its server's objects, no ghosts, workers; see that it works, and leave a record.

    Args:
        spec: The stack's spec, without secrets.
        backup: Id of the backup it was restored from.
    """
    stack, laps = catalog.composed(spec), steps.Laps()
    record = restored.record(stack)
    restored.bring_objects_in_line(stack)
    left = as_task("runs of then", lambda: restored.end_runs_of_then(stack, record))
    restored.note_finishing(stack, record)
    as_task("start workers", lambda: steps.start(stack))
    notes = as_task("verify through the front door", lambda: restored.verify(stack))
    restored.publish(stack, record, left, notes, laps.taken)
