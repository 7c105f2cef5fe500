"""Which clients a server serves wholly, and how those it does not are named."""

from __future__ import annotations

import pytest

from blocks import clients
from blocks.agent.spec import HostStatus, ServiceStatus

NOW = 1_800_000_000.0
SERVER = "3.8.8"


@pytest.mark.parametrize("called", [{}, {"3.6.14": NOW}, {"3.6.14": NOW, "3.8.8": NOW}])
def test_versions_inside_are_well_and_named(called: dict[str, float]) -> None:
    found = clients.fit(called, SERVER, NOW)
    assert (found.type, found.status) == ("ClientsFit", True)
    assert all(version in found.message for version in called)


@pytest.mark.parametrize(
    ("version", "well", "why"),
    [
        ("2.20.1", False, "below 3.6.14 its task runs are not stored"),
        ("3.6.13", False, "below 3.6.14 its task runs are not stored"),
        ("3.8.9", True, "newer than the server, it is refused (422)"),
        ("3.10.0", True, "newer than the server, it is refused (422)"),
    ],
)
def test_a_version_outside_is_named_with_what_to_type(version: str, well: bool, why: str) -> None:
    found = clients.fit({"3.8.1": NOW, version: NOW - 600}, SERVER, NOW)
    assert (found.status, found.reason) == (well, "TooNew" if well else "TooOld")
    said, hint = found.message.split("; ")
    assert said == f"Prefect {version} called 10 min ago: {why}"
    assert hint == "where it runs: pip install 'prefect>=3.6.14,<=3.8.8'"


def test_one_that_is_too_old_is_a_fault_beside_one_that_is_too_new() -> None:
    found = clients.fit({"3.6.13": NOW, "3.10.0": NOW}, SERVER, NOW)
    assert not found.status
    assert "Prefect 3.6.13 called" in found.message and "Prefect 3.10.0 called" in found.message


def test_a_day_after_its_last_call_it_is_forgotten() -> None:
    called = {"3.6.13": NOW - clients.REMEMBERED_SECONDS + 1}
    assert not clients.fit(called, SERVER, NOW).status
    assert clients.fit(called, SERVER, NOW + 2).status


def test_callers_of_two_slots_are_told_together_by_version() -> None:
    slots = ({"3.8.8": 1.0, "3.10.0": 2.0}, {"3.8.8": 3.0, "3.6.14": 4.0})
    services = tuple(ServiceStatus(f"server-{index}", "ready", clients=each) for index, each in enumerate(slots))
    found = clients.callers(HostStatus(1, services=services))
    assert list(found.items()) == [("3.6.14", 4.0), ("3.8.8", 3.0), ("3.10.0", 2.0)]
    assert clients.callers(None) == {}
