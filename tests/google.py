"""The emulated Google Cloud as tests of our adapters meet it: one for a run, a project for each test.

It takes Google's own time, on a clock which moves where somebody waits: what Google does not do at once is not done at
once here.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import grpc
from google.oauth2.credentials import Credentials

from blocks.gcp.google import Google
from tests.emulator.clock import VirtualClock
from tests.emulator.cloud import OWNER, Cloud
from tests.emulator.faults import Rule
from tests.emulator.server import running

NUMBERS = itertools.count(1)
REGION = "europe-west1"
UNTIL_THE_END = ExitStack()
"""Holds the emulator for as long as this process lives; its thread is a daemon's."""


class Minted(Credentials):
    """A principal's credentials, which get another token from the emulator where one has expired."""

    def __init__(self, cloud: Cloud, member: str) -> None:
        super().__init__(cloud.access.mint(member))  # type: ignore[no-untyped-call]
        self._cloud, self._member = cloud, member

    def refresh(self, request: object) -> None:
        self.token = self._cloud.access.mint(self._member)


class Bearer(grpc.UnaryUnaryClientInterceptor):
    """Puts a fresh token on each call of a channel that has no credentials: virtual time may have passed."""

    def __init__(self, cloud: Cloud, member: str) -> None:
        self.cloud, self.member = cloud, member

    def intercept_unary_unary(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        metadata = [*(details.metadata or ()), ("authorization", f"Bearer {self.cloud.access.mint(self.member)}")]
        return continuation(details._replace(metadata=metadata), request)


@dataclass(frozen=True)
class Project:
    """A project of its own in the emulator of this run."""

    cloud: Cloud
    address: str
    id: str

    def seen_by(self, member: str = OWNER) -> Google:
        """The project as a principal sees it, for instance `user:a@example.com`."""
        return Google(
            self.id, Minted(self.cloud, member), self.address, lambda: self._sql_channel(member), now, pass_seconds
        )

    def _sql_channel(self, member: str) -> grpc.Channel:
        return grpc.intercept_channel(grpc.insecure_channel(self.cloud.sqladmin_grpc), Bearer(self.cloud, member))

    @contextmanager
    def fault(self, kind: str, method: str, **rule: object) -> Iterator[Rule]:
        """A fault of `tests.emulator.faults` while the context lasts; it must have struck."""
        laid = self.cloud.faults.add({"kind": kind, "method": method, **rule})
        try:
            yield laid
        finally:
            self.cloud.faults.rules.remove(laid)
        assert laid.seen >= laid.nth


@cache
def _running() -> tuple[Cloud, str]:
    cloud = Cloud(VirtualClock(), scale=1, unlimited="one object is written many times while the clock stands still")
    return cloud, UNTIL_THE_END.enter_context(running(cloud))


def now() -> float:
    """The emulator's time in seconds."""
    return _running()[0].world.clock.now().timestamp()


def pass_seconds(seconds: float) -> None:
    """Move the emulator's clock."""
    _running()[0].operations.pass_time(seconds)


def project(*apis: str) -> Project:
    """A new project with these APIs enabled; where none is named, with all."""
    cloud, address = _running()
    name = f"contract-{next(NUMBERS)}"
    cloud.add_project(name, apis or ("all",))
    return Project(cloud, address, name)
