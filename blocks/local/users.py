"""System users of a stack which root makes, as resources."""

from __future__ import annotations

import contextlib
from collections.abc import Collection

from blocks.errors import Blocked
from blocks.host import system_user
from blocks.host.home import Home
from blocks.resource import Attributes, Change, Resource


class Users(Resource):
    """Users which services run as, each with this stack's mark."""

    def __init__(self, name: str, users: Collection[str], home: Home, stack: str, needs: tuple[str, ...]) -> None:
        self.name, self.needs = name, needs
        self._users, self._home, self._stack = users, home, stack

    def find(self) -> Attributes | None:
        there = {each: comment for each in self._users if (comment := system_user.find(each)) is not None}
        return there or None

    def want(self) -> Attributes:
        return dict.fromkeys(self._users, system_user.mark(self._home, self._stack))

    def require_ours(self, actual: Attributes) -> None:
        if fault := system_user.foreign(self._users, self._home, self._stack):
            raise Blocked(*fault.split("; "))

    def apply(self, actual: Attributes | None, change: Change) -> None:
        for each in self._users:
            system_user.ensure(each, self._home, self._stack)

    def delete(self) -> None:
        system_user.remove(self._users, self._home, self._stack)


class FormerUsers(Resource):
    """Users of services which are no longer wanted: each goes with the first converge at which nothing runs as it."""

    name = "former users"
    needs = ("host services",)

    def __init__(self, wanted: Collection[str], home: Home, stack: str) -> None:
        self._wanted, self._home, self._stack = set(wanted), home, stack

    def find(self) -> Attributes:
        return {"idle": sorted(self._idle())}

    def want(self) -> Attributes:
        return {"idle": []}

    def apply(self, actual: Attributes | None, change: Change) -> None:
        with contextlib.suppress(system_user.InUse):  # something was started as it just now: the next converge
            self.delete()

    def delete(self) -> None:
        system_user.remove(self._idle(), self._home, self._stack)

    def _idle(self) -> set[str]:
        return system_user.idle(system_user.owned(self._home, self._stack) - self._wanted)
