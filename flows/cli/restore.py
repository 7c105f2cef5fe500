"""`selfhost restore`: the launcher's part of a restore, which is all that is left while the stack's server is away."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from blocks import targets
from blocks.errors import WrongCall
from blocks.spec import SERVER, TOOLS
from flows.cli import launch, terminal
from flows.cli.progress import listen, step
from flows.cli.where import HERE, Patience, Where, Yes, app

if TYPE_CHECKING:
    from blocks.backups import Manifest
    from blocks.stack import Stack
    from blocks.targets import Access
    from blocks.temporary.server import TemporaryServer


@dataclass(frozen=True)
class How:
    """How the server is stopped, after what, and whether for a backup that this stack has not signed."""

    wait: float
    now: bool
    safety: bool
    unsigned: bool


@app.command
def restore(
    backup: str | None = None,
    *,
    where: Where = HERE,
    wait: Annotated[float, Parameter(help="Seconds that running flows get to end.")] = 60.0,
    now: Annotated[bool, Parameter(name="--now", negative="", help="End running flows with their workers.")] = False,
    without_safety: Annotated[
        bool, Parameter(name="--without-safety", negative="", help="Do not back up first what is replaced.")
    ] = False,
    unsigned: Annotated[
        bool, Parameter(name="--unsigned", negative="", help="Take BACKUP although this stack has not signed it.")
    ] = False,
    drop_old: Annotated[
        bool, Parameter(name="--drop-old", negative="", help="Drop the databases that restores have replaced.")
    ] = False,
    patience: Patience = 0.0,
    yes: Yes = False,
) -> None:
    """Put a backup in the place of the database; what it replaces is kept until --drop-old.

    Parameters
    ----------
    backup: Its id, or `latest` for the newest verified one.
    """
    if (backup is None) == (not drop_old):
        raise WrongCall("name a backup, or say --drop-old", "selfhost backup --list shows those there are")
    home = where.there()
    if not (there := targets.access(home)).is_here:
        _from_elsewhere(there, backup, yes)
        return
    listen(terminal.StepLines())
    lease = launch.take_lease(home, f"restore {backup or '--drop-old'}", patience)
    spec, _ = where.saved()  # again: the lease's holder before us may have changed it
    if launch.has_other_prefect(spec):
        launch.become(targets.access(home).ledger.wanted().releases[SERVER], home, lease)
    launch.use_own_server(spec, home)
    from blocks import catalog

    stack = catalog.composed(spec.model_dump(mode="json"))
    if backup is None:
        _drop(stack.database.kept(), stack.database.drop_kept, yes)
        return
    _restore(stack, backup, How(wait, now, not without_safety, unsigned), yes)


def _from_elsewhere(there: Access, backup: str | None, yes: bool) -> None:
    """Have the host drop what restores have kept; a restore itself is not begun from elsewhere."""
    machine = there.machine
    if backup is None:
        launch.take_lease(there.home, "restore --drop-old")
        _drop(machine.run("kept", {})["databases"], lambda name: machine.run("drop_kept", {"name": name}), yes)
        return
    raise WrongCall(
        "a restore is begun on the stack's host, or in its UI", "the flow restore there hands it to the host"
    )


def _restore(stack: Stack, backup: str, how: How, yes: bool) -> None:
    from flows.restore import restored, steps

    temporary = stack.restoring_server()
    temporary.stop()  # a killed attempt's
    if stack.host.restore.has_record():
        steps.require_database(stack)  # it knows how far that one came; after a reboot it does not run
    found = restored.unfinished(stack)
    if found is None or backup not in ("latest", found.backup):
        _replace(stack, temporary, backup, how, yes)
    else:
        terminal.say(f"going on with the restore of {found.backup}, which was interrupted after its swap")
    _finish(stack, temporary)


def _replace(stack: Stack, temporary: TemporaryServer, backup: str, how: How, yes: bool) -> None:
    from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, PREFECT_UI_URL, temporary_settings

    from flows import restore as verb
    from flows.converge import only_server
    from flows.restore import steps

    try:
        with step("look at the backup") as detail:
            manifest = steps.require_restorable(stack, backup, steps.dump_file(stack), how.unsigned)
            detail.text = f"{manifest.id} of {manifest.made}, made for: {manifest.reason}"
        if not yes:
            terminal.confirm(question(manifest, how.safety))
        with steps.undone_by_failure(stack):
            url = _start(stack, temporary)
            reach = {PREFECT_API_URL: f"{url}/api", PREFECT_UI_URL: url}
            plain = stack.spec.model_dump(mode="json")
            with temporary_settings({**reach, PREFECT_CLIENT_MAX_RETRIES: launch.TEMPORARY_RETRIES}), only_server():
                verb.replace_database(plain, manifest.id, how.wait, how.now, how.safety, how.unsigned)
    except BaseException:
        has_swapped = stack.host.restore.has_record()  # or may have: then the same command goes on
        if not has_swapped:
            temporary.retire()
        raise


def question(manifest: Manifest, safety: bool) -> str:
    """What a person is asked before the database is replaced."""
    saved = "it is backed up first, and the old database is kept" if safety else "only the old database is kept"
    return (
        f"Replace the database by the backup {manifest.id} of {manifest.made}? What was recorded since then "
        f"leaves the server; {saved}."
    )


def _start(stack: Stack, temporary: TemporaryServer) -> str:
    with step("temporary server started"):
        url = temporary.start_server()
    terminal.say(f"  watch it at {url}, {terminal.login(stack.secrets)}")
    with step("temporary server's database"):
        temporary.start_database(stack.host.environment(stack.releases[TOOLS]))
    with step("temporary server ready"):
        temporary.wait_ready()
    return url


def _finish(stack: Stack, temporary: TemporaryServer) -> None:
    """From here on all is done on the restored stack's own server."""
    from flows import restore as verb
    from flows.restore import restored, steps

    temporary.stop()  # its record has come to its end
    steps.start_server(stack)
    found = restored.record(stack)
    verb.finish(stack.spec.model_dump(mode="json"), found.backup)
    with step("retire the temporary server"):
        temporary.retire()
    kept = ", ".join(stack.database.kept())
    terminal.say(f"the backup {found.backup} is in place; kept until selfhost restore --drop-old: {kept}")


def _drop(kept: Mapping[str, int], drop: Callable[[str], object], yes: bool) -> None:
    if not kept:
        terminal.say("no restore has kept a database")
        return
    for name, size in kept.items():
        terminal.say(f"{name}  {size / 1e6:.1f} MB")
    if not yes:
        terminal.confirm(f"Drop {len(kept)} databases?")
    for name in kept:
        with step(f"drop {name}"):
            drop(name)
