"""Nothing is half done: calls at the same time, calls cut in the middle, handlers and operations that fail.

Sources: https://google.aip.dev/133 (ALREADY_EXISTS), https://cloud.google.com/apis/design/errors#error_model
"""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from google.api_core.exceptions import Conflict, GoogleAPICallError, NotFound
from google.cloud import artifactregistry_v1, compute_v1, secretmanager_v1

from tests.emulator.cloud import Cloud
from tests.emulator.kind import Answering, Body, Call
from tests.emulator.world import Record
from tests.unit.emulator.conftest import Emulated
from tests.unit.emulator.machines import DEBIAN, ZONE, Machines
from tests.unit.emulator.run_clients import FAILED, created, seen
from tests.unit.emulator.test_faults import lay
from tests.unit.emulator.vpc import Vpc

AT_ONCE = 6


def at_once(call: Any) -> list[Any]:
    """What each of several threads gets that make the same call at the same moment: an answer or an error."""
    ready = Barrier(AT_ONCE)

    def one(_: int) -> Any:
        ready.wait(10)
        try:
            return call()
        except GoogleAPICallError as error:
            return error

    with ThreadPoolExecutor(AT_ONCE) as threads:
        return list(threads.map(one, range(AT_ONCE)))


def test_one_of_many_makes_a_network(google: Emulated) -> None:
    networks = Vpc(google).client(compute_v1.NetworksClient)
    body = compute_v1.Network(name="one", auto_create_subnetworks=False)
    answers = at_once(lambda: networks.insert_unary(project=google.project, network_resource=body, retry=None))
    assert sum(isinstance(each, Conflict) for each in answers) == AT_ONCE - 1
    assert [each.name for each in networks.list(project=google.project)] == ["one"]


def test_one_of_many_makes_a_secret(google: Emulated) -> None:
    options = {"credentials": google.credentials, "client_options": google.options("secretmanager")}
    client = secretmanager_v1.SecretManagerServiceClient(**options, transport="rest")
    request = {"parent": f"projects/{google.project}", "secret_id": "s", "secret": {"replication": {"automatic": {}}}}
    answers = at_once(lambda: client.create_secret(request=request, retry=None))
    assert sum(isinstance(each, Conflict) for each in answers) == AT_ONCE - 1


def test_versions_added_at_once_have_numbers_of_their_own(google: Emulated) -> None:
    options = {"credentials": google.credentials, "client_options": google.options("secretmanager")}
    client = secretmanager_v1.SecretManagerServiceClient(**options, transport="rest")
    request = {"parent": f"projects/{google.project}", "secret_id": "s", "secret": {"replication": {"automatic": {}}}}
    secret = client.create_secret(request=request).name
    answers = at_once(lambda: client.add_secret_version(parent=secret, payload={"data": b"x"}, retry=None))
    assert sorted(each.name.rpartition("/")[2] for each in answers) == [str(n + 1) for n in range(AT_ONCE)]


@pytest.mark.parametrize("sent", [b"", b"{", b'{"name": "one", "autoCreate'])
def test_a_request_cut_in_the_middle_has_no_effect(google: Emulated, sent: bytes) -> None:
    host, _, port = google.address.removeprefix("http://").partition(":")
    path = f"/compute/compute/v1/projects/{google.project}/global/networks"
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {google.token}\r\nContent-Length: 99\r\n\r\n"
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(head.encode() + sent)
    assert list(Vpc(google).client(compute_v1.NetworksClient).list(project=google.project)) == []


def test_a_refused_instance_leaves_no_disk(google: Emulated) -> None:
    """Its disks are made before a shielded VM's image is found unfit."""
    machines = Machines(google).prepare()
    old = compute_v1.Image(name="old", source_disk=f"zones/{ZONE}/disks/bios")
    machines.disks.insert_unary(**machines.zone, disk_resource=compute_v1.Disk(name="bios", size_gb=10))
    images = machines.client(compute_v1.ImagesClient)
    images.insert_unary(project=google.project, image_resource=old)
    boot = {"boot": True, "initialize_params": {"source_image": "global/images/old"}}
    wanted = compute_v1.Instance(
        name="one",
        machine_type=f"zones/{ZONE}/machineTypes/e2-small",
        disks=[boot],
        network_interfaces=[{"subnetwork": "regions/europe-west1/subnetworks/hosts"}],
        shielded_instance_config={"enable_secure_boot": True},
    )
    with pytest.raises(GoogleAPICallError, match="UEFI"):
        machines.instances.insert_unary(**machines.zone, instance_resource=wanted)
    assert [each.name for each in machines.disks.list(**machines.zone)] == ["bios"]


def test_an_instance_whose_making_failed_is_not_there(google: Emulated) -> None:
    machines = Machines(google).prepare()
    lay(google, "operation-error", method="compute.instances.insert", code=503, reason="ZONE_RESOURCE_POOL_EXHAUSTED")
    boot = {"boot": True, "auto_delete": True, "initialize_params": {"source_image": DEBIAN}}
    wanted = compute_v1.Instance(
        name="one",
        machine_type=f"zones/{ZONE}/machineTypes/e2-small",
        disks=[boot],
        network_interfaces=[{"subnetwork": "regions/europe-west1/subnetworks/hosts"}],
    )
    machines.instances.insert_unary(**machines.zone, instance_resource=wanted)
    assert list(machines.instances.list(**machines.zone)) == []
    assert list(machines.disks.list(**machines.zone)) == []


def test_a_repository_whose_making_failed_is_not_there(google: Emulated) -> None:
    options = {"credentials": google.credentials, "client_options": google.options("artifactregistry")}
    client = artifactregistry_v1.ArtifactRegistryClient(**options, transport="rest")
    parent = f"projects/{google.project}/locations/us-central1"
    lay(google, "operation-error", method="artifactregistry.projects.locations.repositories.create")
    making = client.create_repository(parent=parent, repository_id="r", repository={"format_": "DOCKER"})
    with pytest.raises(GoogleAPICallError):
        making.result(timeout=10)
    with pytest.raises(NotFound):
        client.get_repository(name=f"{parent}/repositories/r")


def test_a_service_whose_rollout_failed_says_so(google: Emulated) -> None:
    """Source: "Ready condition status changed to False" in https://cloud.google.com/run/docs/troubleshooting"""
    lay(google, "operation-error", method="run.projects.locations.services.create")
    with pytest.raises(GoogleAPICallError):
        created(google).result(timeout=10)
    assert seen(google).terminal_condition.state == FAILED


def test_a_handler_that_breaks_leaves_no_record() -> None:
    cloud = Cloud()
    cloud.add_project("p", ("all",))
    before = dict(cloud.world.records)

    def broken(kind: object, call: Call) -> Body:
        call.cloud.world.put(Record("compute/half", "compute.networks", {}))
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError):
        asyncio.run(Answering(cloud.kinds[0], broken).answer(Call(cloud, None, {}, {}, "user:a@example.com")))
    assert cloud.world.records == before
