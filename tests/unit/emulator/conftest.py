"""An emulator for all tests of a run, a project for each; operations end at once, or on a clock that tests move."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from google.oauth2.credentials import Credentials

from tests.emulator.clock import VirtualClock
from tests.emulator.cloud import OWNER, Cloud
from tests.emulator.server import running
from tests.unit.emulator.vpc import Vpc

NUMBERS = itertools.count(1)
CONNECTIONS = httpx.HTTPTransport(limits=httpx.Limits(keepalive_expiry=2))
"""Of every plain HTTP client here: each of its own would read all certificates there are, which takes 30 ms."""
ORDINARY = ("test_whole_target.py", "test_validation.py", "test_properties.py", "test_coverage.py")
"""Files that are run in every ordinary run; the others are marked `emulator`."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for each in items:
        if each.path.parent == Path(__file__).parent and each.path.name not in ORDINARY:
            each.add_marker("emulator")


@dataclass(frozen=True)
class Emulated:
    """A project of one test in a running emulator."""

    cloud: Cloud
    address: str
    project: str
    token: str

    @property
    def credentials(self) -> Credentials:
        """The owner's."""
        return self.credentials_of(OWNER)

    def credentials_of(self, member: str) -> Credentials:
        """Those of any principal, for instance `user:a@example.com`."""
        return Credentials(self.cloud.access.mint(member))  # type: ignore[no-untyped-call]

    def options(self, service: str) -> dict[str, str]:
        """client_options of a google-cloud client."""
        return {"api_endpoint": f"{self.address}/{service}"}

    @property
    def sqladmin_grpc(self) -> str:
        """Where gRPC in front of Cloud SQL listens, as `127.0.0.1:PORT`."""
        return self.cloud.sqladmin_grpc

    def http(self, token: str = "") -> httpx.Client:
        """Plain HTTP, for what no client would send."""
        headers = {"Authorization": f"Bearer {token or self.token}"}
        return httpx.Client(transport=CONNECTIONS, base_url=self.address, headers=headers, timeout=30)

    def advance(self, seconds: float) -> None:
        """Move a virtual clock."""
        self.http().post("/_emulator/clock", json={"advance": seconds}).raise_for_status()

    def grant(self, role: str, member: str) -> None:
        self.cloud.access.grant(f"projects/{self.project}", role, member)


@pytest.fixture(scope="session")
def quick() -> Iterator[tuple[Cloud, str]]:
    """An emulator whose operations end at once."""
    cloud = Cloud(VirtualClock(), scale=0)
    with running(cloud) as address:
        yield cloud, address


@pytest.fixture(scope="session")
def timed() -> Iterator[tuple[Cloud, str]]:
    """An emulator whose operations take Google's time, on a clock that tests move."""
    cloud = Cloud(VirtualClock(), scale=1)
    with running(cloud) as address:
        yield cloud, address


def in_project(running: tuple[Cloud, str]) -> Iterator[Emulated]:
    cloud, address = running
    project = f"test-{next(NUMBERS)}"
    yield Emulated(cloud, address, project, cloud.add_project(project, ("all",)))
    cloud.faults.rules.clear()
    complaints, cloud.complaints[:] = list(cloud.complaints), []
    assert complaints == []


@pytest.fixture
def google(quick: tuple[Cloud, str]) -> Iterator[Emulated]:
    """A project in the quick emulator, all APIs enabled."""
    yield from in_project(quick)


@pytest.fixture
def slow_google(timed: tuple[Cloud, str]) -> Iterator[Emulated]:
    """A project in the timed emulator, all APIs enabled."""
    yield from in_project(timed)


@pytest.fixture
def vpc(google: Emulated) -> Vpc:
    """A project with a network called one and a subnetwork of 10.0.0.0/24."""
    made = Vpc(google)
    made.network("one")
    made.subnetwork()
    return made
