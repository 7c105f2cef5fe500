"""Random sequences of making and deleting: whatever is there, what it refers to is there too.

Source: "resourceInUseByAnotherResource" in https://cloud.google.com/compute/docs/troubleshooting/troubleshooting-vm-creation
and the references between the resources in https://cloud.google.com/compute/docs/reference/rest/v1
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.emulator.app import App
from tests.emulator.clock import VirtualClock
from tests.emulator.cloud import Cloud
from tests.emulator.incoming import Incoming

CLOUD = Cloud(VirtualClock())
GLOBAL = "/compute/compute/v1/projects/p/global"
REGION = "/compute/compute/v1/projects/p/regions/us-central1"
ZONE = "/compute/compute/v1/projects/p/zones/us-central1-a"
ACCOUNTS = "/iam/v1/projects/p/serviceAccounts"
SERVICES = "/run/v2/projects/p/locations/us-central1/services"
NUMBERS = st.integers(0, 1)


@dataclass(frozen=True)
class Step:
    """One call: make or delete number n of a kind, referring to number m of another."""

    kind: str
    delete: bool
    n: int
    m: int


def network(n: int, m: int) -> tuple[str, Any]:
    return f"{GLOBAL}/networks", {"name": f"network-{n}", "autoCreateSubnetworks": False}


def subnetwork(n: int, m: int) -> tuple[str, Any]:
    cidr = f"10.{n}.0.0/24"
    return f"{REGION}/subnetworks", {"name": f"subnetwork-{n}", "network": link("networks", m), "ipCidrRange": cidr}


def firewall(n: int, m: int) -> tuple[str, Any]:
    body = {
        "name": f"firewall-{n}",
        "network": link("networks", m),
        "allowed": [{"IPProtocol": "tcp", "ports": ["4200"]}],
    }
    return f"{GLOBAL}/firewalls", body


def router(n: int, m: int) -> tuple[str, Any]:
    return f"{REGION}/routers", {"name": f"router-{n}", "network": link("networks", m)}


def address(n: int, m: int) -> tuple[str, Any]:
    subnet = f"projects/p/regions/us-central1/subnetworks/subnetwork-{m}"
    return f"{REGION}/addresses", {"name": f"address-{n}", "addressType": "INTERNAL", "subnetwork": subnet}


def disk(n: int, m: int) -> tuple[str, Any]:
    return f"{ZONE}/disks", {"name": f"disk-{n}", "sizeGb": "10"}


def instance(n: int, m: int) -> tuple[str, Any]:
    disks = [{"boot": True, "source": f"projects/p/zones/us-central1-a/disks/disk-{m}"}]
    subnet = f"projects/p/regions/us-central1/subnetworks/subnetwork-{m}"
    body = {
        "name": f"instance-{n}",
        "machineType": "zones/us-central1-a/machineTypes/e2-medium",
        "disks": disks,
        "networkInterfaces": [{"subnetwork": subnet}],
        "serviceAccounts": [{"email": f"account-{m}@p.iam.gserviceaccount.com", "scopes": []}],
    }
    return f"{ZONE}/instances", body


def account(n: int, m: int) -> tuple[str, Any]:
    return ACCOUNTS, {"accountId": f"account-{n}"}


KINDS = {each.__name__: each for each in (network, subnetwork, firewall, router, address, disk, instance, account)}
STEPS = st.builds(Step, st.sampled_from(sorted(KINDS)), st.booleans(), NUMBERS, NUMBERS)


def link(plural: str, m: int) -> str:
    return f"projects/p/global/{plural}/{plural.removesuffix('s')}-{m}"


def send(token: str, http: str, path: str, body: Any = None) -> tuple[int, dict[str, Any]]:
    content = json.dumps(body).encode() if body is not None else b""
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    answer = asyncio.run(App(CLOUD).answer(Incoming(http, "127.0.0.1", path, "", headers, content))).response
    return answer.status_code, json.loads(bytes(answer.body) or b"{}")


def take(token: str, step: Step) -> int:
    """Status of the call, or of the operation it started where that failed."""
    folder, body = KINDS[step.kind](step.n, step.m)
    if not step.delete:
        return outcome(*send(token, "POST", folder, body))
    name = f"account-{step.n}@p.iam.gserviceaccount.com" if step.kind == "account" else f"{step.kind}-{step.n}"
    return outcome(*send(token, "DELETE", f"{folder}/{name}"))


def outcome(code: int, answer: dict[str, Any]) -> int:
    return int(answer.get("httpErrorStatusCode", code))


def dangling() -> list[tuple[str, str]]:
    records = CLOUD.world.records.values()
    pairs = ((each.name, wanted) for each in records for wanted in CLOUD.kind_of(each).references(each))
    return [(name, wanted) for name, wanted in pairs if CLOUD.world.find(wanted) is None]


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(st.lists(STEPS, min_size=5, max_size=40))
def test_nothing_refers_to_what_is_not_there(steps: list[Step]) -> None:
    CLOUD.reset()
    token = CLOUD.add_project("p", ("all",))
    for step in steps:
        assert take(token, step) in (200, 400, 404, 409), step
        assert dangling() == []
    assert CLOUD.complaints == []


def test_a_whole_set_is_made_and_taken_down_in_order() -> None:
    """The sequences above do get through: each kind can be made, is held by its users, and goes when they are gone."""
    CLOUD.reset()
    token = CLOUD.add_project("p", ("all",))
    order = ["network", "account", "subnetwork", "firewall", "router", "address", "disk", "instance"]
    assert [take(token, Step(kind, False, 0, 0)) for kind in order] == [200] * len(order)
    held = {kind: take(token, Step(kind, True, 0, 0)) for kind in ("network", "subnetwork", "disk")}
    assert held == {"network": 400, "subnetwork": 400, "disk": 400}
    back = ["instance", "disk", "address", "router", "firewall", "subnetwork", "account", "network"]
    assert [take(token, Step(kind, True, 0, 0)) for kind in back] == [200] * len(back)
