"""Removing a stack: the walk of a converge, the other way round."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from blocks import backups, catalog, lease, ledger, targets
from blocks.errors import Blocked, NotReady
from blocks.host import home as home_folder
from blocks.host import system_user
from blocks.host.home import Home
from blocks.host.host import Host
from blocks.host.secret_files import ENCRYPTION_KEY
from blocks.host.system_user import InUse
from blocks.resource import Apply, Change, Resource, in_order, visit_to_delete
from blocks.site import at, folder, postgres_user
from blocks.stack import Stack
from blocks.temporary.server import TemporaryServer
from flows.cli.profile import remove_profile
from flows.cli.progress import step

KEPT = ("bucket", f"secret {ENCRYPTION_KEY}")
"""What of a stack at Google stays with its backups."""


def destroy(home: Home, name: str, *, keep: bool = True) -> list[str]:
    """Remove everything that carries this stack's mark; a re-run finishes what was interrupted.

    Args:
        keep: Whether the backups of a stack at Google stay in its bucket, and the key which they are read with.

    Returns:
        What carries another's mark and was left as it is, each a sentence.

    Raises:
        InUse: all else is removed, and system users are left which processes run as; the hint is what to type.
        Blocked: Google protects its database.
        NotReady: something of it is still held at Google by what has just gone; all else is removed.
    """
    _refuse_copy(home)
    with step("temporary server"):
        for folder in (home.bootstrap, home.restoring):
            TemporaryServer(home, postgres_user(name, at(home.root)), folder).stop()
    stack = _known(home)
    if stack is None:
        _remove_unknown(home, name)
        return []
    if stack.spec.target == "gcp" and stack.spec.gcp.database.protection:
        hint = "protection = false below [gcp.database], selfhost bootstrap, then again"
        raise Blocked("Google protects the stack's database: nothing was removed", hint)
    with step("profile") as detail:
        detail.text = "delete" if remove_profile(stack.spec.name, stack.proxy.url()) else "keep"
    # A machine at Google goes with all that is on it.
    answer = stack.machine.run("destroy", {}) if stack.site.is_here else {"left": [], "in_use": []}
    changes = _remove_outside(stack, KEPT if keep else ())
    if not stack.site.is_here:
        system_user.remove({postgres_user(name, at(home.root))}, home, name)  # of a temporary server here
        if keep:
            _leave_backups(stack)
    if home.owner() == name:  # where the host is elsewhere, the launcher has a folder of its own
        home_folder.remove(home, name)
    if answer["in_use"]:
        what, hint = ("; ".join(texts) for texts in zip(*answer["in_use"], strict=True))
        raise InUse(f"the stack {name} is gone, but {what}", hint)
    return [*answer["left"], *_left(changes)]


def _remove_outside(stack: Stack, kept: Sequence[str]) -> list[Change]:
    """Remove what stands outside the host; what cannot go yet is told at the end, and what it needs stays for it.

    The store goes last: as long as something is left, its record says what.
    """
    store = {each.name for each in stack.objects.outside()}
    left = {*kept, *(each.name for each in stack.ground)}
    backwards = [each for each in reversed(in_order(stack.outside())) if each.name not in left]
    changes, pending = [], dict[str, Resource]()
    for each in sorted(backwards, key=lambda each: each.name in store):
        if any(each.name in waiting.needs for waiting in pending.values()) or (pending and each.name in store):
            pending[each.name] = each
            continue
        try:
            changes.append(_delete(each, []))
        except NotReady:
            pending[each.name] = each
    if pending:
        what = f"Google still holds {', '.join(pending)}"
        raise NotReady(what, "a subnetwork is free an hour or two after the front door; the same command finishes it")
    return changes


def _leave_backups(stack: Stack) -> None:
    """Leave nothing in the store but the backups, and the identity which they belong to: a bootstrap takes both up."""
    with step("backups kept") as detail:
        kept = (backups.PREFIX, ledger.IDENTITY, lease.KEY)
        for key in stack.objects.listing():
            if not key.startswith(kept):
                stack.objects.remove(key)
        detail.text = f"in {stack.objects.address()}, and {stack.secrets.location(ENCRYPTION_KEY)}"


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
        spec = targets.saved(home)
    except Blocked:
        return  # what was wanted is not known, so it names no other folder
    made_in = Home(folder(spec).resolve())
    if made_in.root != home.root.resolve() and made_in.identity() == home.identity() is not None:
        raise Blocked(f"{home.root} is a copy of the stack in {made_in.root}", f"rm -r {home.root} removes the copy")


def _known(home: Home) -> Stack | None:
    """The stack as it was last wanted; None where a bootstrap did not come so far, or its file is damaged."""
    try:
        return catalog.composed(targets.saved(home).model_dump(mode="json"))
    except Blocked:
        return None


def _remove_unknown(home: Home, name: str) -> None:
    """Remove what a stack of the default kind consists of: no spec says more.

    Raises:
        Blocked: it is at Google, where nobody knows then what to remove.
    """
    if home.bucket and not home.is_hosts():
        what = f"what is wanted of the stack {name} cannot be read in {home.bucket.name}: nothing at Google was removed"
        raise Blocked(what, "selfhost bootstrap, with its spec, writes it anew; then destroy")
    if (home.agent / "config.json").exists():
        with step("host services"):
            Host(home).stop()
    try:
        with step("system users"):
            system_user.remove(system_user.owned(home, name) | {postgres_user(name, at(home.root))}, home, name)
    finally:  # users that are in use are named in the error; the rest goes all the same
        with step("home"):
            home_folder.remove(home, name)
