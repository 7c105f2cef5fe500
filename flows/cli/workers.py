"""`selfhost workers`: each change is a run on the stack's own server, started and followed from here."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from flows.cli import terminal
from flows.cli.maintenance import use_stack
from flows.cli.where import HERE, Json, Where

if TYPE_CHECKING:
    from blocks.stack import Stack
    from blocks.workers import WorkerEdit

workers = App(name="workers", help="Add, remove, scale and list the workers of the stack.")

Wait = Annotated[int, Parameter(name="--wait", help="Minutes that what runs on it gets to end.")]
WAIT_MINUTES = 60


@workers.command(name="list")
def list_workers(*, where: Where = HERE, as_json: Json = False) -> None:
    """List the workers, their services and pools."""
    _show(use_stack(where), as_json)


@workers.command
def add(
    worker: str,
    *,
    where: Where = HERE,
    pool: Annotated[str, Parameter(help="Work pool, made if missing; left out: called like the worker.")] = "",
    kind: Annotated[str, Parameter(name="--type", help="Type of the work pool.")] = "process",
    concurrency: Annotated[int, Parameter(help="Flow runs at one time.")] = 10,
    packages: Annotated[
        tuple[str, ...], Parameter(negative="", help="A requirement of the flows it runs; may be given again.")
    ] = (),
    env: Annotated[
        tuple[str, ...], Parameter(negative="", help="KEY=VALUE for the flows it runs; may be given again.")
    ] = (),
    git_credentials: Annotated[
        str, Parameter(help="Block with the token for git clone, and its host: TYPE/NAME@HOST.")
    ] = "",
) -> None:
    """Add a worker; by a run on the stack's own server.

    Parameters
    ----------
    worker: Name of the new worker.
    """
    from blocks.workers import WorkerEdit

    _change(where, WorkerEdit("add", worker, pool, kind, concurrency, packages, env, git_credentials))


@workers.command
def remove(worker: str, *, where: Where = HERE, wait: Wait = WAIT_MINUTES) -> None:
    """Remove a worker once nothing runs on it; by a run on the stack's own server. Its pool stays.

    Parameters
    ----------
    worker: Name of the worker.
    """
    from blocks.workers import WorkerEdit

    _change(where, WorkerEdit("remove", worker), wait)


@workers.command
def scale(worker: str, concurrency: int, *, where: Where = HERE) -> None:
    """Change how many flow runs a worker adds to the limit of its pool; what runs goes on.

    Parameters
    ----------
    worker: Name of the worker.
    concurrency: Flow runs at one time.
    """
    from blocks.workers import WorkerEdit

    _change(where, WorkerEdit("scale", worker, concurrency=concurrency))


def _change(where: Where, edit: WorkerEdit, wait_minutes: int = WAIT_MINUTES) -> None:
    own_file = where.own_file()  # before the working folder changes
    stack = use_stack(where)
    from blocks import catalog
    from blocks.workers import planned
    from flows.cli.follow import run_deployment
    from flows.workers import there

    with stack.door.client() as client:
        planned(stack.spec, edit, there(stack, edit, client))
    given = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(edit).items()}
    run_deployment(stack.door, "workers/workers", {**given, "wait_minutes": wait_minutes}, terminal.say)
    changed = catalog.composed(stack.ledger.wanted().spec)
    _show(changed, as_json=False)
    _tell_of_file(own_file, changed)


def _tell_of_file(own_file: Path | None, stack: Stack) -> None:
    """A bootstrap with a person's own spec file would undo what was done here."""
    from blocks.workers import as_toml

    terminal.say("the saved spec of the stack says so, too")
    if own_file:
        terminal.say(f"a bootstrap with {own_file} would undo it; put this there in place of its workers:\n")
        terminal.plain(as_toml(stack.spec.workers))


def _show(stack: Stack, as_json: bool) -> None:
    from flows.workers import rows

    with stack.door.client() as client:
        found = rows(stack, client)
    if as_json:
        print(json.dumps({"workers": found}, indent=1))
    else:
        terminal.workers(found)
