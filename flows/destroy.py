"""Removing a stack: the walk of a converge, the other way round."""

from __future__ import annotations

from blocks import catalog
from blocks.errors import Blocked
from blocks.host import control, system_user, wanted
from blocks.host import home as home_folder
from blocks.host.home import Home
from blocks.host.temporary_server import TemporaryServer
from blocks.resource import Apply, in_order, visit_to_delete
from blocks.stack import Stack
from flows.connect import remove_profile
from flows.progress import step


def destroy(home: Home, name: str) -> None:
    """Remove everything that carries this stack's mark; a re-run finishes what was interrupted."""
    with step("temporary server"):
        for folder in (home.bootstrap, home.restoring):
            TemporaryServer(home, system_user.name_for(name), folder).stop()
    stack = _known(home)
    if stack is None:
        _remove_unknown(home, name)
        return
    with step("profile") as detail:
        detail.text = "delete" if remove_profile(stack.spec) else "keep"
    for resource in reversed(in_order(stack.resources())):
        with step(resource.name) as detail:
            detail.text = visit_to_delete(resource, Apply()).action


def _known(home: Home) -> Stack | None:
    """The stack as it was last wanted; None where a bootstrap did not come so far, or its file is damaged."""
    try:
        return catalog.composed(wanted.read(home).spec)
    except Blocked:
        return None


def _remove_unknown(home: Home, name: str) -> None:
    """What can be found without knowing the spec: all that a stack of the default kind is made of."""
    if (home.agent / "config.json").exists():
        with step("host services"):
            control.stop(home)
    with step("system user"):
        system_user.remove(system_user.name_for(name), name)
    with step("home"):
        home_folder.remove(home, name)
