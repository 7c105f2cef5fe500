"""A kind that the emulator has not, added from outside: what a stranger writes, and all that comes with it.

Source: https://cloud.google.com/compute/docs/reference/rest/v1/healthChecks
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from google.api_core.exceptions import BadRequest, Conflict, Forbidden, NotFound
from google.cloud import compute_v1

from tests.emulator import errors
from tests.emulator.clock import VirtualClock
from tests.emulator.cloud import Cloud
from tests.emulator.kind import Call
from tests.emulator.server import running
from tests.emulator.services.compute.base import ComputeKind
from tests.emulator.world import Record
from tests.unit.emulator.conftest import Emulated, in_project
from tests.unit.emulator.vpc import Vpc


class HealthChecks(ComputeKind):
    """Checks by TCP; no source for the words of the refusal."""

    collection = "compute.healthChecks"
    singular = "healthCheck"

    def prepare(self, call: Call, record: Record) -> None:
        if record.body.get("type") != "TCP":
            raise errors.not_emulated(f"a health check of type {record.body.get('type')}")
        record.body |= {"checkIntervalSec": 5, "timeoutSec": 5} | record.body
        if record.body["timeoutSec"] > record.body["checkIntervalSec"]:
            raise errors.invalid("Invalid value for field 'resource.timeoutSec': it is longer than the interval.")


@pytest.fixture
def google() -> Iterator[Emulated]:
    """A project in an emulator that has the new kind."""
    cloud = Cloud(VirtualClock(), kinds=[HealthChecks])
    with running(cloud) as address:
        yield from in_project((cloud, address))


@pytest.fixture
def checks(google: Emulated) -> compute_v1.HealthChecksClient:
    return Vpc(google).client(compute_v1.HealthChecksClient)


def check(name: str = "one", **fields: int) -> compute_v1.HealthCheck:
    return compute_v1.HealthCheck(name=name, type_="TCP", tcp_health_check={"port": 4200}, **fields)


def test_it_is_made_changed_listed_and_deleted(google: Emulated, checks: compute_v1.HealthChecksClient) -> None:
    where = {"project": google.project}
    checks.insert(**where, health_check_resource=check()).result()
    assert checks.get(**where, health_check="one").check_interval_sec == 5
    checks.patch(**where, health_check="one", health_check_resource={"check_interval_sec": 9}).result()
    assert [(each.name, each.check_interval_sec) for each in checks.list(**where)] == [("one", 9)]
    checks.delete(**where, health_check="one").result()
    assert list(checks.list(**where)) == []


def test_what_is_wrong_is_refused(google: Emulated, checks: compute_v1.HealthChecksClient) -> None:
    where = {"project": google.project}
    with pytest.raises(NotFound, match=r"global/healthChecks/one' was not found"):
        checks.get(**where, health_check="one")
    with pytest.raises(BadRequest, match="timeoutSec"):
        checks.insert_unary(**where, health_check_resource=check(timeout_sec=6))
    checks.insert_unary(**where, health_check_resource=check())
    with pytest.raises(Conflict, match="already exists"):
        checks.insert_unary(**where, health_check_resource=check())


def test_it_wants_a_permission(google: Emulated) -> None:
    stranger = Vpc(google, "user:ann@example.com").client(compute_v1.HealthChecksClient)
    with pytest.raises(Forbidden, match=r"compute\.healthChecks\.create"):
        stranger.insert_unary(project=google.project, health_check_resource=check())


def test_without_it_the_method_is_not_emulated() -> None:
    cloud = Cloud(VirtualClock())
    assert ("compute.v1", "compute.healthChecks.insert") not in cloud.handlers
