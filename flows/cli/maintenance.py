"""Verbs that keep a stack: each is a run on the stack's own server, started and followed from here."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from blocks import release, targets
from blocks.errors import WrongCall
from blocks.host.secret_files import AUTH_STRING
from blocks.spec import SERVER
from blocks.wheel import build_wheel
from flows.cli import launch, terminal
from flows.cli.where import HERE, Json, Where, Yes, app

if TYPE_CHECKING:
    from blocks.stack import Stack


@app.command
def backup(
    *,
    where: Where = HERE,
    reason: Annotated[str, Parameter(help="Why; kept with the backup.")] = "by hand",
    listing: Annotated[bool, Parameter(name="--list", negative="", help="List the backups, and make none.")] = False,
    as_json: Json = False,
) -> None:
    """Copy the database and restore the copy to see that it is one; by a run on the stack's own server."""
    stack = use_stack(where)
    if not listing:
        from flows.cli.follow import run_deployment

        run_deployment(stack.door, "backup/backup", {"reason": reason}, terminal.err_line if as_json else terminal.say)
    _list_backups(stack, as_json)


@app.command
def expire(*, where: Where = HERE, yes: Yes = False) -> None:
    """Show the backups which the policy no longer keeps, and drop them; the last verified one always stays.

    With them go older encryption keys which no backup needs, and releases that nothing refers to.
    """
    stack = use_stack(where)
    from flows import backup as copies
    from flows import expire as verb
    from flows.cli.follow import run_deployment
    from flows.status import kept_databases

    databases = kept_databases(stack)
    if databases.reason != "None":
        terminal.say(f"databases: {databases.message}")
    found = copies.found(stack)
    terminal.unreadable(found)
    leaving = verb.due(stack, found)
    if leaving:
        terminal.backups(found.only(leaving), datetime.now(UTC))
        if not yes:
            terminal.confirm(f"Drop {len(leaving)} backups?")
    else:
        terminal.say("no backup to drop: the policy keeps all there are")
    run_deployment(stack.door, "expire/expire", {}, terminal.say)


@app.command
def upgrade(
    *,
    where: Where = HERE,
    to: Annotated[str | None, Parameter(help="Prefect version; left out: the newest that is known to work.")] = None,
    self_: Annotated[bool, Parameter(name="--self", negative="", help="Bring this selfhost, not a Prefect.")] = False,
    wheel: Annotated[str | None, Parameter(show=False)] = None,
    approve: Annotated[bool, Parameter(negative="", help="Wait for a person in the UI before the switch.")] = False,
    drain: Annotated[int, Parameter(help="Minutes that flows on your workers get to end.")] = 30,
) -> None:
    """Upgrade Prefect while flows run: rehearsed on a restored copy, rolled back where it fails."""
    if self_:
        if to is not None:
            raise WrongCall("--self and --to are two upgrades", "one after the other")
        wheel = _store_own_wheel(where)
    stack = use_stack(where)
    from flows.cli.follow import run_deployment
    from flows.upgrade import NEWEST

    version = stack.spec.prefect_version if wheel else to or NEWEST
    parameters = {"to": version, "approve": approve, "drain_minutes": drain, "wheel": wheel or ""}
    run_deployment(stack.door, "upgrade/upgrade", parameters, terminal.say)
    terminal.say(f"the stack runs Prefect {version}; the report is the artifact `upgrade` in the UI")


@app.command
def lease(
    *,
    where: Where = HERE,
    break_for: Annotated[
        str | None, Parameter(name="--break", help="Why: end the processes of a dead holder, and free the lease.")
    ] = None,
) -> None:
    """Say who changes the stack at this moment; the lease of a holder that died can be broken."""
    there = targets.access(where.there())
    ledger = there.ledger
    if ledger.is_free():
        terminal.say("nobody holds the lease")
    elif break_for is None:
        terminal.say(f"held by {ledger.described()}")
    else:
        if not break_for.strip():
            raise WrongCall("--break wants a reason", "it is kept in the home, in logs/lease.log")
        ended = ledger.break_it(break_for, there.home.logs / "lease.log")
        if not there.is_here:
            ended += there.machine.run("end_orphans", {})["pids"]
        terminal.say(f"broken for: {break_for}; ended processes {', '.join(map(str, ended))} of a holder that is dead")


@app.command
def rotate(
    what: Literal["auth", "database", "encryption-key"],
    *,
    where: Where = HERE,
    grace_minutes: Annotated[int, Parameter(help="Minutes in which the old auth string is still accepted.")] = 60,
) -> None:
    """Replace the auth string, the server's login to its database, or the encryption key; no call fails.

    Parameters
    ----------
    what: auth, which people and clients come in with; database; or encryption-key, for which calls wait some seconds.
    """
    profiles = launch.users_profiles()
    stack = use_stack(where)
    stack.machine.run("require_rotatable", {"what": what})  # better said before a run fails
    from blocks import catalog
    from flows import rotate as verb
    from flows.cli.follow import run_deployment
    from flows.cli.profile import renew_profile

    run_deployment(stack.door, "rotate/rotate", {"what": what, "grace_minutes": grace_minutes}, terminal.say)
    if what == "encryption-key":
        terminal.say("\n".join(verb.instructions_for_key(stack)))
    if what != "auth":
        return
    rotated = catalog.composed(stack.spec.model_dump(mode="json"))
    terminal.say("\n".join(verb.instructions(rotated)))
    if renew_profile(stack.spec.name, stack.proxy.url(), rotated.secret(AUTH_STRING), profiles):
        terminal.say(f"The profile {stack.spec.name!r} in {profiles} has it already.")
    else:
        terminal.say(f"selfhost connect writes a Prefect profile with it; there is none of this stack in {profiles}.")


def _store_own_wheel(where: Where) -> str:
    """Put the wheel of this selfhost into the stack's store; its sha256, which whoever we become is called with."""
    _, home = where.saved()
    store = targets.access(home).objects
    kept = release.put(store, *build_wheel())
    release.offer(store, kept)
    wheel = kept.sha256
    sys.argv = [word for each in sys.argv for word in (("--wheel", wheel) if each == "--self" else (each,))]
    return wheel


def use_stack(where: Where) -> Stack:
    """The stack that is there; this process goes on with its release, and its Prefect calls the stack's own server."""
    spec, home = where.saved()
    if launch.has_other_prefect(spec):
        launch.become(targets.access(home).ledger.wanted().releases[SERVER], home)
    launch.use_own_server(spec, home)
    from blocks import catalog

    return catalog.composed(spec.model_dump(mode="json"))


def _list_backups(stack: Stack, as_json: bool) -> None:
    from flows import backup as copies

    found, now = copies.found(stack), datetime.now(UTC)
    terminal.unreadable(found)
    if as_json:
        unreadable = [{"id": name, "why": why} for name, why in found.unreadable.items()]
        print(json.dumps({"backups": copies.rows(found, now), "unreadable": unreadable}, indent=1))
    else:
        terminal.backups(found, now)
