"""Verbs that keep a stack: each is a run on the stack's own server, started and followed from here."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from blocks.host import wanted
from flows import launch, terminal
from flows.where import HERE, Json, Where, Yes, app

if TYPE_CHECKING:
    from blocks.backups import Catalogue
    from blocks.stack import Stack


@app.command
def backup(
    where: Where = HERE,
    *,
    reason: Annotated[str, Parameter(help="Why; kept with the backup.")] = "by hand",
    listing: Annotated[bool, Parameter(name="--list", negative="", help="List the backups, and make none.")] = False,
    as_json: Json = False,
) -> None:
    """Copy the database and restore the copy to see that it is one; by a run on the stack's own server."""
    stack = asked(where)
    if not listing:
        from flows.follow import run_deployment

        run_deployment(stack.door, "backup/backup", {"reason": reason}, terminal.err_line if as_json else terminal.say)
    _list_backups(stack, as_json)


@app.command
def expire(where: Where = HERE, *, yes: Yes = False) -> None:
    """Show the backups which the policy no longer keeps, and drop them; the last verified one always stays."""
    stack = asked(where)
    from flows import expire as verb
    from flows.follow import run_deployment

    with _catalogue(stack) as catalogue:
        leaving = verb.due(stack, catalogue)
    if not leaving:
        terminal.say("nothing to drop: the policy keeps all backups there are")
        return
    terminal.backups(leaving)
    if not yes:
        terminal.confirm(f"Drop {len(leaving)} backups?")
    run_deployment(stack.door, "expire/expire", {}, terminal.say)


def asked(where: Where) -> Stack:
    """The stack that is there, for a verb that is a run on its own server."""
    spec, home = where.saved()
    if launch.has_other_prefect(spec):
        launch.become(wanted.read(home).releases[wanted.SERVER], home)
    launch.use_server(f"http://127.0.0.1:{spec.server_port}", home)
    from blocks import catalog

    return catalog.composed(spec.model_dump(mode="json"))


@contextmanager
def _catalogue(stack: Stack) -> Iterator[Catalogue]:
    from blocks.backups import Catalogue

    with tempfile.TemporaryDirectory(prefix="backups-") as folder:
        yield Catalogue(stack.objects, Path(folder))


def _list_backups(stack: Stack, as_json: bool) -> None:
    from flows.backup import rows

    with _catalogue(stack) as catalogue:
        found = catalogue.all()
    if as_json:
        print(json.dumps({"backups": rows(found, datetime.now(UTC))}, indent=1))
    else:
        terminal.backups(found)
