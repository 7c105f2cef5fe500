"""Removing a stack: the walk of a converge, the other way round."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from blocks import catalog, targets
from blocks.errors import Blocked
from blocks.host import home as home_folder
from blocks.host import system_user
from blocks.host.home import Home
from blocks.host.host import Host
from blocks.host.system_user import InUse
from blocks.resource import Apply, Change, Resource, in_order, visit_to_delete
from blocks.site import at, here, postgres_user
from blocks.spec import build_spec
from blocks.stack import Stack
from blocks.temporary.server import TemporaryServer
from flows.cli.profile import remove_profile
from flows.cli.progress import step


def destroy(home: Home, name: str) -> list[str]:
    """Remove everything that carries this stack's mark; a re-run finishes what was interrupted.

    Returns:
        What carries another's mark and was left as it is, each a sentence.

    Raises:
        InUse: all else is removed, and system users are left which processes run as; the hint is what to type.
    """
    _refuse_copy(home)
    with step("temporary server"):
        for folder in (home.bootstrap, home.restoring):
            TemporaryServer(home, postgres_user(name, at(home.root)), folder).stop()
    stack = _known(home)
    if stack is None:
        _remove_unknown(home, name)
        return []
    with step("profile") as detail:
        detail.text = "delete" if remove_profile(stack.spec) else "keep"
    answer = stack.machine.run("destroy", {})
    changes = [_delete(resource, []) for resource in reversed(in_order(stack.outside()))]
    if home.owner() == name:  # where the host is elsewhere, the launcher has a folder of its own
        home_folder.remove(home, name)
    if answer["in_use"]:
        what, hint = ("; ".join(texts) for texts in zip(*answer["in_use"], strict=True))
        raise InUse(f"the stack {name} is gone, but {what}", hint)
    return [*answer["left"], *_left(changes)]


def remove_from_host(stack: Stack) -> dict[str, Any]:
    """Remove what stands on the host, from the host.

    Returns:
        `left`: what carries another's mark and was left as it is, each a sentence; `in_use`: system users which
        processes run as, each as what and hint.
    """
    in_use: list[InUse] = []
    changes = [_delete(resource, in_use) for resource in reversed(in_order(stack.on_host()))]
    return {"left": _left(changes), "in_use": [[each.what, each.hint] for each in in_use]}


def _left(changes: Sequence[Change]) -> list[str]:
    return [f"{each.resource} was left as it is: {each.why}" for each in changes if each.action == "leave" and each.why]


def _delete(resource: Resource, in_use: list[InUse]) -> Change:
    with step(resource.name) as detail:
        try:
            change = visit_to_delete(resource, Apply())
        except InUse as error:
            in_use.append(error)
            change = Change(resource.name, "leave", why=error.what)
        detail.text = f"{change.action}: {change.why}" if change.why else change.action
    return change


def _refuse_copy(home: Home) -> None:
    """A home that was copied still names the one it was made in: that stack is not the one which is to go.

    Raises:
        Blocked: it is a copy of a home that is there.
    """
    try:
        spec = build_spec(dict(targets.access(home).ledger.wanted().spec), "the saved spec")
    except Blocked:
        return  # what was wanted is not known, so it names no other folder
    made_in = Home(here(spec).home.resolve())
    if made_in.root != home.root.resolve() and made_in.identity() == home.identity() is not None:
        raise Blocked(f"{home.root} is a copy of the stack in {made_in.root}", f"rm -r {home.root} removes the copy")


def _known(home: Home) -> Stack | None:
    """The stack as it was last wanted; None where a bootstrap did not come so far, or its file is damaged."""
    try:
        return catalog.composed(targets.access(home).ledger.wanted().spec)
    except Blocked:
        return None


def _remove_unknown(home: Home, name: str) -> None:
    """Remove what a stack of the default kind consists of: no spec says more."""
    if (home.agent / "config.json").exists():
        with step("host services"):
            Host(home).stop()
    try:
        with step("system users"):
            system_user.remove(system_user.owned(home, name) | {postgres_user(name, at(home.root))}, home, name)
    finally:  # users that are in use are named in the error; the rest goes all the same
        with step("home"):
            home_folder.remove(home, name)
