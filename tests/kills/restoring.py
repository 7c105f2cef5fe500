"""The restore as it is killed: the launcher's own body, with another server in the place of its temporary one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from blocks.resource import converge
from blocks.stack import Stack
from blocks.temporary.server import TemporaryServer
from flows import backup
from flows import restore as flow
from flows.cli import restore as verb
from flows.restore import restored
from tests.kills.verbs import changing, plainly
from tests.kills.world import World


def back_up(world: World) -> None:
    """A backup that counts."""
    plainly(backup)
    with changing("backup") as stack, stack.host.workspace() as folder:
        backup.run(stack, "before kills", folder)


def restore(world: World, safety: bool) -> None:
    """`selfhost restore latest --yes`, from where it has its lease on.

    Args:
        safety: Whether what it replaces is backed up first.
    """
    plainly(flow)
    plainly(restored)
    plainly(backup)
    restored.visit_all = lambda resources, applier: converge(resources)
    restored.verify = lambda stack: ""  # asks workers for a run, and there are none
    flow.replace_database = flow.replace_database.fn
    flow.finish = flow.finish.fn
    Stack.restoring_server = lambda stack: Temporary(world.paths, "", world.paths.restoring, world.server)  # type: ignore[method-assign]
    with changing("restore") as stack:
        verb._restore(stack, "latest", verb.How(wait=5.0, now=False, safety=safety, unsigned=False), yes=True)


@dataclass(frozen=True)
class Temporary(TemporaryServer):
    """The temporary server of a restore: the one of this world, which is not on the database that is replaced."""

    address: str = ""

    def start_server(self) -> str:
        return self.address

    def start_database(self, tools: Path) -> None: ...

    def wait_ready(self, timeout: float = 0.0) -> None: ...


def drop_kept(world: World) -> None:
    """What restores have replaced."""
    with changing("restore --drop-old") as stack:
        for name in stack.database.kept():
            stack.database.drop_kept(name)
