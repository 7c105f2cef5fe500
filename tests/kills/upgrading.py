"""The upgrade as it is killed: its flow's own body, with releases that nobody installs and no real rehearsal."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import Any

from blocks.errors import Blocked
from blocks.stack import Stack
from flows import backup, upgrade
from flows.upgrade import preflight, steps, switch
from tests.kills.killing import counted_in
from tests.kills.verbs import plainly
from tests.kills.world import World

FAILS = "a check that cannot pass"


def whole(world: World, version: str) -> None:
    """To that version, or what is left of that: from the preflight on, both servers at one time."""
    _as_test(world)
    upgrade.upgrade.fn(to=version)


def switched(world: World, version: str, rolling: bool) -> None:
    """The same without a backup and a rehearsal, killed in the switch. `rolling`: both servers at one time, else one
    after the other."""
    _as_test(world)
    _leave_rehearsal_out(rolling)
    switch.switch = counted_in(switch.switch)
    upgrade.upgrade.fn(to=version)


def rolled_back(world: World, version: str, rolling: bool) -> None:
    """All is switched, and is found not to work; killed on the way back."""
    _as_test(world)
    _leave_rehearsal_out(rolling)
    switch.verify = _fail
    switch.roll_back = counted_in(switch.roll_back)
    try:
        upgrade.upgrade.fn(to=version)
    except Blocked as error:
        assert FAILS in str(error), error


def failing(world: World, version: str, why: str) -> None:
    """What the host does in the switch makes it fail for this reason."""
    _as_test(world)
    _leave_rehearsal_out(rolling=True)
    try:
        upgrade.upgrade.fn(to=version)
    except Blocked as error:
        assert why in str(error), error
    else:
        raise AssertionError("it does not fail")


def _as_test(world: World) -> None:
    plainly(steps)
    plainly(backup)

    def wanted_form(old: Stack, to: str, wheel: str) -> Stack:
        return world.stack(to, old.versions)

    def nothing(*_: object) -> Any:
        return []

    preflight.wanted_form = wanted_form
    preflight.look = preflight.faults = preflight.notes = nothing  # type: ignore[assignment]
    switch.verify = lambda new: ""
    steps.stall.watched = lambda door: nullcontext("")


def _leave_rehearsal_out(rolling: bool) -> None:
    def dump_and_rehearse(self: steps.Upgrade) -> None:
        self.transition = replace(self.transition, rolling=rolling)

    steps.Upgrade.dump_and_rehearse = dump_and_rehearse  # type: ignore[method-assign]


def _fail(new: Stack) -> str:
    raise Blocked(FAILS)
