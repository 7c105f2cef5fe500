"""The emulator's own paths, besides faults and quotas, which have tests of their own."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.emulator.clock import RealClock, VirtualClock
from tests.emulator.cloud import Cloud
from tests.emulator.server import running, server
from tests.unit.emulator.conftest import Emulated


def test_a_project_with_some_apis_and_its_owner(google: Emulated) -> None:
    name = f"{google.project}-more"
    sent = {"projectId": name, "services": ["compute.googleapis.com"], "owner": "user:me@example.com"}
    made = google.http().post("/_emulator/projects", json=sent).json()
    mine = google.http(made["token"])
    found = mine.get(f"/cloudresourcemanager/v1/projects/{name}").json()
    assert found["projectNumber"] == made["projectNumber"]
    assert mine.get(f"/compute/compute/v1/projects/{name}/global/networks").status_code == 200
    refused = mine.get(f"/run/v2/projects/{name}/locations/us-central1/services")
    assert (refused.status_code, refused.json()["error"]["details"][0]["reason"]) == (403, "SERVICE_DISABLED")


def test_a_token_ends(slow_google: Emulated) -> None:
    sent = {"member": "user:owner@example.com", "seconds": 60}
    token = slow_google.http().post("/_emulator/tokens", json=sent).json()["token"]
    path = f"/cloudresourcemanager/v1/projects/{slow_google.project}"
    assert slow_google.http(token).get(path).status_code == 200
    slow_google.advance(61)
    assert slow_google.http(token).get(path).status_code == 401


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("projects", {}),
        ("tokens", {"member": "user:a@example.com", "seconds": "long"}),
        ("clock", {"advance": "soon"}),
        ("clock", {"advance": -1}),
        ("clock", {}),
        ("faults", []),
        ("images", {"image": 5}),
        ("suspensions", {"project": "none", "instance": "none", "reason": "BILLING_ISSUE"}),
    ],
)
def test_what_cannot_be_taken_is_told(google: Emulated, path: str, sent: Any) -> None:
    answer = google.http().post(f"/_emulator/{path}", json=sent)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]


def test_what_is_no_json_is_told(google: Emulated) -> None:
    assert google.http().post("/_emulator/clock", content=b"{").status_code == 400


def test_a_real_clock_is_not_moved() -> None:
    with running(Cloud(RealClock())) as address:
        answer = httpx.post(f"{address}/_emulator/clock", json={"advance": 1})
    assert answer.status_code == 400
    assert "--virtual-clock" in answer.json()["error"]


def test_an_idle_connection_stays_open_for_minutes() -> None:
    """Source: the 10 minutes of https://cloud.google.com/load-balancing/docs/https#timeouts_and_retries."""
    assert server(Cloud(VirtualClock())).config.timeout_keep_alive >= 600
