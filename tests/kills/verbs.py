"""What is killed: the changing part of each verb, as its flow carries it out, and how a stack is judged afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from blocks import catalog, pools
from blocks.resource import plan
from blocks.server_objects import server_objects
from blocks.stack import Stack
from flows.converge import this_server
from tests.kills.world import World, settings


@contextmanager
def changing(world: World, reason: str) -> Iterator[Stack]:
    """The stack of that world, under its lease, in this process."""
    with settings(world):
        stack = catalog.load()
        with stack.ledger.held(reason):
            yield catalog.load()  # whoever had it before may have changed the stack


def rotate(world: World, what: str) -> None:
    """Replace the auth string, or the database's login."""
    from flows import rotate as verb

    _plainly(verb)
    verb.verify = lambda stack: None  # looks at a server with that auth string, which is none of this world
    with changing(world, f"rotate {what}") as stack:
        verb.auth(stack, 0) if what == "auth" else verb.database(stack)


def _plainly(verb: Any) -> None:
    """Its steps as calls: what Prefect records of tasks is nothing that a kill could leave half done."""
    verb.as_task = lambda name, work: work()
    verb.publish = lambda *_: None


def finish(world: World, action: Callable[..., None], *arguments: Any) -> None:
    """The next run after one that was killed, and what must be so afterwards."""
    action(world, *arguments)
    require_host_in_line(world)


def require_in_line(world: World) -> None:
    """Nothing on the host or on the server differs from what is wanted, and nothing is left over."""
    require_host_in_line(world)
    with settings(world), this_server() as client:
        left = plan(server_objects(catalog.load(), client))
        assert not left, left


def require_host_in_line(world: World) -> None:
    """Nothing on the host differs from what is wanted, nothing is left over, no pool is left paused."""
    with settings(world), this_server() as client:
        stack = catalog.load()
        left = plan(stack.on_host())
        assert not left, left
        assert not pools.marked(client)
    applied = stack.host.applied()
    assert applied is not None
    assert sum(each.name.startswith("server-") for each in applied.services) == 1
    assert not (world.home / "restoring").exists()
