"""What is killed: the changing part of each verb, as its flow carries it out, and how a stack is judged afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

from blocks import catalog, pools
from blocks.errors import Blocked, WrongCall
from blocks.resource import plan
from blocks.server_objects import server_objects
from blocks.stack import Stack
from blocks.workers import Action, WorkerEdit
from flows import rotate as rotation
from flows import workers as workers_flow
from flows.converge import this_server
from tests.kills.world import World


@contextmanager
def changing(reason: str) -> Iterator[Stack]:
    """The stack of that world, under its lease, in this process."""
    with catalog.load().ledger.held(reason):
        yield catalog.load()  # whoever had it before may have changed the stack


def rotate(world: World, what: str) -> None:
    """Replace the auth string, or the database's login."""
    plainly(rotation)
    rotation.verify = lambda stack: None  # looks at a server with that auth string, which is none of this world
    with changing(f"rotate {what}") as stack:
        rotation.auth(stack, 0) if what == "auth" else rotation.database(stack)


def plainly(verb: Any) -> None:
    """Steps as calls, and no artifacts: what Prefect records of a run is nothing that a kill could leave half done."""
    verb.as_task = lambda name, work: work()
    verb.publish = lambda *_: None


def workers(world: World, action: Action, wait_seconds: float = 0.0) -> None:
    """Add a worker with a pool and a release of its own, or remove it."""
    plainly(workers_flow)
    workers_flow.verify = lambda *_: None  # asks the worker for a run, and there is none
    workers_flow._prepared = lambda now, worker: replace(world.release("of its own"), untrusted=True)
    edit = WorkerEdit(action, "ours", "theirs", packages=("iniconfig",))
    with this_server() as client:
        workers_flow.carry_out(edit, None, client, wait_seconds)


def remove_worker(world: World) -> None:
    """Remove it, or find that all of it is gone."""
    with suppress(WrongCall):
        workers(world, "remove")


def remove_worker_in_vain(world: World) -> None:
    """Remove it while a flow runs on it for longer than is waited."""
    try:
        workers(world, "remove")
    except Blocked as error:
        assert "worker-ours goes on as before" in str(error), error


def finish(world: World, action: Callable[..., None], *arguments: Any) -> None:
    """The next run after one that was killed, and what must be so afterwards."""
    action(world, *arguments)
    require_host_in_line(world)


def require_in_line(world: World) -> None:
    """Nothing on the host or on the server differs from what is wanted, and nothing is left over."""
    require_host_in_line(world)
    with this_server() as client:
        left = plan(server_objects(catalog.load(), client))
        assert not left, left


def require_host_in_line(world: World) -> None:
    """Nothing on the host differs from what is wanted, nothing is left over, no pool is left paused."""
    with this_server() as client:
        stack = catalog.load()
        left = plan(stack.on_host())
        assert not left, left
        assert not pools.marked(client)
    applied = stack.host.applied()
    assert applied is not None
    assert sum(each.name.startswith("server-") for each in applied.services) == 1
    assert not (world.home / "restoring").exists()
