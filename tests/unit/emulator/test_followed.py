"""What follows each operation, such as a lab's networks; and the emulator on a further address."""

from __future__ import annotations

import httpx
from google.cloud import compute_v1

from tests.emulator.clock import VirtualClock
from tests.emulator.cloud import Cloud
from tests.emulator.server import listen, running
from tests.unit.emulator.conftest import Emulated
from tests.unit.emulator.vpc import Vpc


def test_what_follows_sees_what_an_operation_has_done_and_is_a_part_of_it() -> None:
    cloud, seen = Cloud(VirtualClock(), scale=0), list[list[str]]()

    def follow() -> None:
        seen.append([each.body["name"] for each in cloud.world.of("compute.networks")])
        if len(seen[-1]) > 1:
            raise RuntimeError("no room for a second network")

    cloud.operations.follow = follow
    with running(cloud) as address:
        vpc = Vpc(Emulated(cloud, address, "real", cloud.add_project("real", ("all",))))
        vpc.network("one")
        vpc.network("two")
        operations = vpc.client(compute_v1.GlobalOperationsClient).list(project=vpc.project)
        said = {each.target_link.rpartition("/")[2]: [one.message for one in each.error.errors] for each in operations}
        assert said == {"one": [], "two": ["RuntimeError: no room for a second network"]}
        networks = vpc.client(compute_v1.NetworksClient).list(project=vpc.project)
        assert [each.name for each in networks] == ["one"]
    assert seen == [["one"], ["one", "two"]]


def test_it_answers_on_a_further_address() -> None:
    further = listen(address="127.0.0.2")
    with running(Cloud(VirtualClock(), scale=0), further):
        url = f"http://127.0.0.2:{further.getsockname()[1]}/_emulator/requests"
        assert httpx.get(url).status_code == 200
