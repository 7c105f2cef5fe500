"""What is done to instances that are there.

Sources: https://cloud.google.com/compute/docs/instances/instance-lifecycle,
https://cloud.google.com/compute/docs/reference/rest/v1/instances (one page a method)
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from google.api_core.exceptions import BadRequest, MethodNotImplemented, NotFound, PreconditionFailed
from google.cloud import compute_v1

from tests.emulator.clock import VirtualClock
from tests.emulator.cloud import Cloud
from tests.emulator.server import running
from tests.unit.emulator.conftest import Emulated
from tests.unit.emulator.machines import ALL_SCOPES, ZONE, Machines, metadata


@pytest.fixture
def machines(google: Emulated) -> Machines:
    return Machines(google).prepare()


def test_stopping_and_starting_twice_changes_nothing_the_second_time(machines: Machines) -> None:
    machines.insert()
    for verb, status in (("stop", "TERMINATED"), ("stop", "TERMINATED"), ("start", "RUNNING"), ("start", "RUNNING")):
        getattr(machines.instances, f"{verb}_unary")(**machines.zone, instance="one")
        assert machines.get().status == status
    assert machines.get().network_interfaces[0].network_i_p == "10.0.0.2"


def test_only_a_running_instance_is_reset(machines: Machines) -> None:
    machines.insert()
    machines.instances.reset_unary(**machines.zone, instance="one")
    assert machines.get().status == "RUNNING"
    machines.instances.stop_unary(**machines.zone, instance="one")
    with pytest.raises(BadRequest, match="is not ready"):
        machines.instances.reset_unary(**machines.zone, instance="one")


def test_an_instance_under_way_takes_no_changes(slow_google: Emulated) -> None:
    machines = Machines(slow_google).prepare()
    machines.insert()
    with pytest.raises(BadRequest, match="instances/one' is not ready"):
        machines.instances.stop_unary(**machines.zone, instance="one")


def test_suspending_is_not_emulated_and_says_so(machines: Machines) -> None:
    machines.insert()
    with pytest.raises(MethodNotImplemented, match=r"compute\.instances\.suspend is not emulated"):
        machines.instances.suspend_unary(**machines.zone, instance="one")
    with pytest.raises(MethodNotImplemented):
        machines.instances.get_shielded_instance_identity(**machines.zone, instance="one")


def test_the_machine_type_changes_while_it_is_stopped(machines: Machines) -> None:
    machines.insert()
    wanted = compute_v1.InstancesSetMachineTypeRequest(machine_type=f"zones/{ZONE}/machineTypes/e2-medium")

    def change(request: compute_v1.InstancesSetMachineTypeRequest) -> None:
        machines.instances.set_machine_type_unary(
            **machines.zone, instance="one", instances_set_machine_type_request_resource=request
        )

    with pytest.raises(BadRequest, match="should be in the STOPPED state"):
        change(wanted)
    machines.instances.stop_unary(**machines.zone, instance="one")
    change(wanted)
    assert machines.get().machine_type.endswith("/e2-medium")
    with pytest.raises(BadRequest, match="does not exist in zone"):
        change(compute_v1.InstancesSetMachineTypeRequest(machine_type=f"zones/{ZONE}/machineTypes/none"))


def test_the_account_changes_while_it_is_stopped(machines: Machines) -> None:
    machines.insert()
    wanted = compute_v1.InstancesSetServiceAccountRequest(email=machines.account(), scopes=[ALL_SCOPES])

    def change() -> None:
        machines.instances.set_service_account_unary(
            **machines.zone, instance="one", instances_set_service_account_request_resource=wanted
        )

    with pytest.raises(BadRequest, match="must be stopped before the service account can be changed"):
        change()
    machines.instances.stop_unary(**machines.zone, instance="one")
    change()
    assert machines.get().service_accounts[0].email == wanted.email


def test_scheduling_changes_while_it_is_stopped(machines: Machines) -> None:
    machines.stopped()
    wanted = compute_v1.Scheduling(automatic_restart=False)
    machines.instances.set_scheduling_unary(**machines.zone, instance="one", scheduling_resource=wanted)
    assert not machines.get().scheduling.automatic_restart
    spot = compute_v1.Scheduling(preemptible=True, automatic_restart=True)
    with pytest.raises(BadRequest, match="Scheduling must have preemptible be false when AutomaticRestart is true"):
        machines.insert("spot", scheduling=spot)
    assert machines.made("spot", scheduling=compute_v1.Scheduling(preemptible=True)).status == "RUNNING"


def test_secure_boot_is_set_while_it_is_stopped(machines: Machines) -> None:
    machines.stopped()
    wanted = compute_v1.ShieldedInstanceConfig(enable_secure_boot=True)
    machines.instances.update_shielded_instance_config_unary(
        **machines.zone, instance="one", shielded_instance_config_resource=wanted
    )
    config = machines.get().shielded_instance_config
    assert (config.enable_secure_boot, config.enable_vtpm) == (True, True)


def test_metadata_changes_with_a_fresh_fingerprint_alone(machines: Machines) -> None:
    one = machines.made(metadata=metadata(a="1"))
    new = metadata(a="2")

    def change() -> None:
        machines.instances.set_metadata_unary(**machines.zone, instance="one", metadata_resource=new)

    with pytest.raises(PreconditionFailed, match="Supplied fingerprint does not match current metadata fingerprint"):
        change()
    new.fingerprint = one.metadata.fingerprint
    change()
    assert machines.get().metadata.items[0].value == "2"
    with pytest.raises(PreconditionFailed):
        change()


def test_of_two_changes_with_one_fingerprint_the_second_ends_in_an_error(slow_google: Emulated) -> None:
    machines = Machines(slow_google).prepare()
    machines.operations.wait(**machines.zone, operation=machines.insert().name)
    mark = machines.get().metadata.fingerprint
    ends = []
    for value in ("1", "2"):
        new = metadata(a=value)
        new.fingerprint = mark
        ends.append(machines.instances.set_metadata_unary(**machines.zone, instance="one", metadata_resource=new))
    first, second = (machines.operations.wait(**machines.zone, operation=each.name) for each in ends)
    assert not first.error.errors
    assert second.error.errors[0].message == "Supplied fingerprint does not match current metadata fingerprint."
    assert machines.get().metadata.items[0].value == "1"


def test_tags_and_labels_change_with_a_fresh_fingerprint_alone(machines: Machines) -> None:
    one = machines.made()
    fresh = compute_v1.Tags(items=["web", "db"], fingerprint=one.tags.fingerprint)
    machines.instances.set_tags_unary(**machines.zone, instance="one", tags_resource=fresh)
    assert list(machines.get().tags.items) == ["db", "web"]
    with pytest.raises(PreconditionFailed, match="Invalid fingerprint"):
        machines.instances.set_tags_unary(**machines.zone, instance="one", tags_resource=fresh)
    labels = compute_v1.InstancesSetLabelsRequest(labels={"a": "b"}, label_fingerprint=one.label_fingerprint)
    where: dict[str, Any] = machines.zone | {"instance": "one", "instances_set_labels_request_resource": labels}
    machines.instances.set_labels_unary(**where)
    assert dict(machines.get().labels) == {"a": "b"}
    with pytest.raises(PreconditionFailed, match="Labels fingerprint"):
        machines.instances.set_labels_unary(**where)


def test_disks_are_attached_and_detached(machines: Machines) -> None:
    for name in ("one", "two"):
        machines.insert(name)
    machines.disks.insert_unary(**machines.zone, disk_resource=compute_v1.Disk(name="data", size_gb=10))
    data = compute_v1.AttachedDisk(source=f"zones/{ZONE}/disks/data", device_name="data")
    machines.instances.attach_disk_unary(**machines.zone, instance="one", attached_disk_resource=data)
    assert [each.device_name for each in machines.get().disks] == ["persistent-disk-0", "data"]
    taken = machines.instances.attach_disk_unary(**machines.zone, instance="two", attached_disk_resource=data)
    assert taken.error.errors[0].code == "RESOURCE_IN_USE_BY_ANOTHER_RESOURCE"
    machines.instances.set_disk_auto_delete_unary(**machines.zone, instance="one", auto_delete=True, device_name="data")
    assert [each.auto_delete for each in machines.get().disks] == [True, True]
    with pytest.raises(BadRequest, match="No attached disk found with device name 'none'"):
        machines.instances.detach_disk_unary(**machines.zone, instance="one", device_name="none")
    machines.instances.detach_disk_unary(**machines.zone, instance="one", device_name="data")
    assert [each.device_name for each in machines.get().disks] == ["persistent-disk-0"]
    with pytest.raises(BadRequest, match="Boot disk of a running instance"):
        machines.instances.detach_disk_unary(**machines.zone, instance="one", device_name="persistent-disk-0")


def test_an_access_configuration_comes_and_goes(machines: Machines) -> None:
    machines.insert()
    nat = compute_v1.AccessConfig(name="out", type_="ONE_TO_ONE_NAT")
    where = machines.zone | {"instance": "one", "network_interface": "nic0"}
    machines.instances.add_access_config_unary(**where, access_config_resource=nat)
    assert machines.get().network_interfaces[0].access_configs[0].nat_i_p
    with pytest.raises(BadRequest, match="At most one access config"):
        machines.instances.add_access_config_unary(**where, access_config_resource=nat)
    machines.instances.delete_access_config_unary(**where, access_config="out")
    assert list(machines.get().network_interfaces[0].access_configs) == []


def test_serial_output_is_read_on_from_where_one_stopped(machines: Machines) -> None:
    machines.insert()
    first = machines.instances.get_serial_port_output(**machines.zone, instance="one")
    assert (first.contents, first.start) == ("one: booted from persistent-disk-0\n", 0)
    assert first.next_ == len(first.contents)

    def after(start: int) -> compute_v1.SerialPortOutput:
        request = compute_v1.GetSerialPortOutputInstanceRequest(**machines.zone, instance="one", start=start)
        return machines.instances.get_serial_port_output(request)

    assert after(first.next_).contents == ""
    machines.instances.reset_unary(**machines.zone, instance="one")
    assert after(first.next_).contents == first.contents
    assert after(-3).contents == first.contents[-3:]


def test_a_policy_on_one_instance_counts_for_it_alone(machines: Machines, google: Emulated) -> None:
    for name in ("one", "two"):
        machines.insert(name)
    member = "user:operator@example.com"
    policy = machines.instances.get_iam_policy(**machines.zone, resource="one")
    policy.bindings.append(compute_v1.Binding(role="roles/compute.instanceAdmin.v1", members=[member]))
    body = compute_v1.ZoneSetPolicyRequest(policy=policy)
    machines.instances.set_iam_policy(**machines.zone, resource="one", zone_set_policy_request_resource=body)
    client = machines.client(compute_v1.InstancesClient, member)
    client.reset_unary(**machines.zone, instance="one")
    with pytest.raises(Exception, match=r"Required 'compute\.instances\.reset' permission"):
        client.reset_unary(**machines.zone, instance="two")
    asked = compute_v1.TestPermissionsRequest(permissions=["compute.instances.reset", "compute.networks.delete"])
    held = client.test_iam_permissions(**machines.zone, resource="one", test_permissions_request_resource=asked)
    assert list(held.permissions) == ["compute.instances.reset"]


def test_what_is_not_there_is_not_found(machines: Machines, google: Emulated) -> None:
    words = f"The resource 'projects/{google.project}/zones/{ZONE}/instances/none' was not found"
    for verb in ("start_unary", "stop_unary", "delete_unary", "get"):
        with pytest.raises(NotFound, match=words):
            getattr(machines.instances, verb)(**machines.zone, instance="none")


class Recording:
    """A real part that writes down what it is told, and may fail to start."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []
        self.broken = False
        self.lock = threading.Lock()

    def note(self, verb: str, name: str) -> None:
        with self.lock:
            self.told.append((verb, name.rpartition("/")[2]))

    def told_when(self, count: int) -> list[tuple[str, str]]:
        """What it was told, once there is so much of it, or after 5 s."""
        deadline = time.monotonic() + 5
        while len(self.told) < count and time.monotonic() < deadline:
            time.sleep(0.01)
        return self.told

    def start(self, name: str, body: dict[str, Any]) -> None:
        self.note("start", name)
        if self.broken:
            raise RuntimeError("no room")

    def change(self, name: str, body: dict[str, Any]) -> None:
        self.note(f"change to {[each['value'] for each in body['metadata'].get('items', [])]}", name)

    def stop(self, name: str, body: dict[str, Any]) -> None:
        self.note("stop", name)

    def remove(self, name: str) -> None:
        self.note("remove", name)


@pytest.fixture
def backed() -> Iterator[tuple[Machines, Recording]]:
    part = Recording()
    cloud = Cloud(VirtualClock(), scale=0, parts={"compute.instances": part})
    with running(cloud) as address:
        token = cloud.add_project("backed", ("all",))
        yield Machines(Emulated(cloud, address, "backed", token)).prepare(), part


def waited(machines: Machines, operation: compute_v1.Operation) -> compute_v1.Operation:
    return machines.operations.wait(**machines.zone, operation=operation.name)


def test_the_real_part_follows_its_instance(backed: tuple[Machines, Recording]) -> None:
    machines, part = backed
    waited(machines, machines.insert())
    new = metadata(a="1")
    new.fingerprint = machines.get().metadata.fingerprint
    where = machines.zone | {"instance": "one"}
    waited(machines, machines.instances.set_metadata_unary(**where, metadata_resource=new))
    waited(machines, machines.instances.reset_unary(**where))
    waited(machines, machines.instances.stop_unary(**where))
    waited(machines, machines.instances.start_unary(**where))
    waited(machines, machines.instances.delete_unary(**where))
    verbs = ["start", "change to ['1']", "stop", "start", "stop", "start", "remove"]
    assert part.told == [(verb, "one") for verb in verbs]


def test_a_real_part_that_does_not_start_fails_the_insert(backed: tuple[Machines, Recording]) -> None:
    machines, part = backed
    part.broken = True
    ended = waited(machines, machines.insert())
    assert ended.error.errors[0].message == "RuntimeError: no room"
    assert part.told_when(2) == [("start", "one"), ("remove", "one")]
    with pytest.raises(NotFound):
        machines.get()
    assert list(machines.disks.list(**machines.zone)) == []


def test_a_fault_on_the_operation_leaves_no_instance_and_no_real_part(backed: tuple[Machines, Recording]) -> None:
    machines, part = backed
    rule = {"kind": "operation-error", "method": "compute.instances.insert", "code": 503, "message": "no capacity"}
    machines.google.http().post("/_emulator/faults", json=rule).raise_for_status()
    disks = machines.body().disks
    machines.disks.insert_unary(**machines.zone, disk_resource=compute_v1.Disk(name="data", size_gb=10))
    data = compute_v1.AttachedDisk(source=f"zones/{ZONE}/disks/data", device_name="data", auto_delete=True)
    ended = waited(machines, machines.insert(disks=[*disks, data]))
    assert ended.error.errors[0].message == "no capacity"
    assert [each.name for each in machines.disks.list(**machines.zone)] == ["data"]
    assert list(machines.instances.list(**machines.zone)) == []
    assert part.told_when(2) == [("start", "one"), ("remove", "one")]
    waited(machines, machines.insert())
    assert machines.get().status == "RUNNING"
