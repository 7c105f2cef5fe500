"""Removing a stack: the walk of a converge, the other way round."""

from __future__ import annotations

from blocks import catalog
from blocks.host import home as home_folder
from blocks.host import system_user, wanted
from blocks.host.home import Home
from blocks.resource import Apply, in_order, visit_to_delete
from blocks.spec import StackSpec
from flows.progress import step


def destroy(spec: StackSpec, home: Home) -> None:
    """Remove everything that carries this stack's mark; a re-run finishes what was interrupted."""
    if wanted.exists(home):
        stack = catalog.compose(spec, wanted.read(home).releases)
        for resource in reversed(in_order(stack.resources())):
            with step(resource.name) as detail:
                detail.text = visit_to_delete(resource, Apply()).action
        return
    # A bootstrap that was stopped before it knew its release has made no more than these.
    system_user.remove(system_user.name_for(spec.name), spec.name)
    home_folder.remove(home, spec.name)
