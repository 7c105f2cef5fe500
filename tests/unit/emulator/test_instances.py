"""Making and deleting instances. Source: https://cloud.google.com/compute/docs/instances/create-start-instance"""

from __future__ import annotations

import pytest
from google.api_core.exceptions import BadRequest, Conflict, Forbidden, GoogleAPICallError, NotFound
from google.cloud import compute_v1

from tests.unit.emulator.conftest import Emulated
from tests.unit.emulator.machines import ALL_SCOPES, DEBIAN, REGION, ZONE, Machines, metadata

SUBNETWORK = f"regions/{REGION}/subnetworks/hosts"


@pytest.fixture
def machines(google: Emulated) -> Machines:
    return Machines(google).prepare()


def code_of(operation: compute_v1.Operation) -> str:
    """The code of the error an operation ended with."""
    assert operation.status == compute_v1.Operation.Status.DONE
    return str(operation.error.errors[0].code)


def test_an_instance_is_as_asked_for_with_the_defaults(machines: Machines) -> None:
    one = machines.made(
        labels={"a": "b"}, tags=compute_v1.Tags(items=["web"]), metadata=metadata(startup_script="true")
    )
    assert one.status == "RUNNING"
    assert one.machine_type.endswith(f"/zones/{ZONE}/machineTypes/e2-small")
    assert one.network_interfaces[0].network_i_p == "10.0.0.2"
    assert one.network_interfaces[0].network.endswith("/global/networks/vpc")
    assert one.network_interfaces[0].name == "nic0"
    assert list(one.network_interfaces[0].access_configs) == []
    assert one.disks[0].source.endswith(f"/zones/{ZONE}/disks/one")
    assert (one.disks[0].boot, one.disks[0].device_name, one.disks[0].disk_size_gb) == (True, "persistent-disk-0", 10)
    assert (list(one.tags.items), one.metadata.items[0].value, dict(one.labels)) == (["web"], "true", {"a": "b"})
    assert all([one.tags.fingerprint, one.metadata.fingerprint, one.label_fingerprint, one.fingerprint])
    assert one.scheduling.automatic_restart
    assert one.scheduling.on_host_maintenance == "MIGRATE"
    assert one.shielded_instance_config.enable_vtpm
    assert not one.shielded_instance_config.enable_secure_boot
    assert machines.disks.get(**machines.zone, disk="one").users == [one.self_link]


def test_the_states_of_its_life_follow_each_other(slow_google: Emulated) -> None:
    machines = Machines(slow_google).prepare()
    made = machines.insert()
    seen = [machines.get().status]
    slow_google.advance(7)
    seen.append(machines.get().status)
    machines.operations.wait(**machines.zone, operation=made.name)
    seen.append(machines.get().status)
    stopped = machines.instances.stop_unary(**machines.zone, instance="one")
    seen.append(machines.get().status)
    machines.operations.wait(**machines.zone, operation=stopped.name)
    seen.append(machines.get().status)
    gone = machines.instances.delete_unary(**machines.zone, instance="one")
    seen.append(machines.get().status)
    machines.operations.wait(**machines.zone, operation=gone.name)
    assert seen == ["PROVISIONING", "STAGING", "RUNNING", "STOPPING", "TERMINATED", "STOPPING"]
    with pytest.raises(NotFound):
        machines.get()


def test_addresses_are_given_in_order_and_asked_for_ones_are_kept(machines: Machines) -> None:
    asked = compute_v1.NetworkInterface(subnetwork=SUBNETWORK, network_i_p="10.0.0.3")
    assert machines.made("a", network_interfaces=[asked]).network_interfaces[0].network_i_p == "10.0.0.3"
    assert machines.made("b").network_interfaces[0].network_i_p == "10.0.0.2"
    assert machines.made("c").network_interfaces[0].network_i_p == "10.0.0.4"
    assert code_of(machines.insert("d", network_interfaces=[asked])) == "IP_IN_USE_BY_ANOTHER_RESOURCE"
    with pytest.raises(NotFound):
        machines.get("d")
    gateway = compute_v1.NetworkInterface(subnetwork=SUBNETWORK, network_i_p="10.0.0.1")
    with pytest.raises(BadRequest, match="outside the network/subnetwork range"):
        machines.insert("e", network_interfaces=[gateway])


def test_an_external_address_is_there_while_it_runs(machines: Machines) -> None:
    nat = compute_v1.AccessConfig(name="External NAT", type_="ONE_TO_ONE_NAT")
    part = compute_v1.NetworkInterface(subnetwork=SUBNETWORK, access_configs=[nat])
    assert machines.made(network_interfaces=[part]).network_interfaces[0].access_configs[0].nat_i_p
    machines.instances.stop_unary(**machines.zone, instance="one")
    assert not machines.get().network_interfaces[0].access_configs[0].nat_i_p


def test_a_reserved_external_address_stays_and_another_is_refused(machines: Machines, google: Emulated) -> None:
    addresses = machines.client(compute_v1.AddressesClient)
    where = {"project": google.project, "region": REGION}
    addresses.insert_unary(**where, address_resource=compute_v1.Address(name="front"))
    reserved = addresses.get(**where, address="front").address
    nat = compute_v1.AccessConfig(nat_i_p=reserved)
    part = compute_v1.NetworkInterface(subnetwork=SUBNETWORK, access_configs=[nat])
    assert machines.stopped(network_interfaces=[part]).network_interfaces[0].access_configs[0].nat_i_p == reserved
    other = compute_v1.NetworkInterface(
        subnetwork=SUBNETWORK, access_configs=[compute_v1.AccessConfig(nat_i_p="192.0.2.1")]
    )
    with pytest.raises(BadRequest, match=r"The specified external IP address '192.0.2.1' was not found in region"):
        machines.insert("two", network_interfaces=[other])


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"machine_type": f"zones/{ZONE}/machineTypes/e9-huge"}, "Machine type with name 'e9-huge' does not exist in"),
        (
            {"network_interfaces": [compute_v1.NetworkInterface(subnetwork=f"regions/{REGION}/subnetworks/none")]},
            "The referenced subnetwork resource cannot be found",
        ),
        ({"network_interfaces": [compute_v1.NetworkInterface()]}, "The referenced network resource cannot be found"),
        (
            {"network_interfaces": [compute_v1.NetworkInterface(network="global/networks/vpc")]},
            "Subnetwork should be specified for custom subnetmode network",
        ),
        ({"network_interfaces": []}, "At least one network interface is required"),
        ({"disks": []}, "Invalid value for field 'resource.disks'"),
        ({"metadata": compute_v1.Metadata(items=[{"key": "a", "value": "x"}] * 2)}, "duplicate key"),
        ({"tags": compute_v1.Tags(items=["Web"])}, "Must be a match of regex"),
    ],
)  # fmt: skip
def test_what_is_not_there_or_wrong_is_refused(machines: Machines, fields: dict[str, object], words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        machines.insert(**fields)
    assert list(machines.disks.list(**machines.zone)) == []


def test_images_that_are_not_there_are_refused(machines: Machines) -> None:
    def boot(image: str, **fields: object) -> list[compute_v1.AttachedDisk]:
        made = compute_v1.AttachedDiskInitializeParams(source_image=image, **fields)
        return [compute_v1.AttachedDisk(boot=True, initialize_params=made)]

    with pytest.raises(BadRequest, match="The referenced image resource cannot be found"):
        machines.insert(disks=boot("projects/debian-cloud/global/images/debian-1"))
    with pytest.raises(NotFound, match="The resource 'projects/debian-cloud/global/images/family/none' was not found"):
        machines.insert(disks=boot("projects/debian-cloud/global/images/family/none"))
    with pytest.raises(BadRequest, match="The project 'no-such-project' was not found"):
        machines.insert(disks=boot("projects/no-such-project/global/images/own"))
    with pytest.raises(BadRequest, match="The URL is malformed"):
        machines.insert(disks=boot("family/debian-12"))
    with pytest.raises(BadRequest, match=r"initializeParams\.diskSizeGb': '5'. Requested disk size cannot be smaller"):
        machines.insert(disks=boot(DEBIAN, disk_size_gb=5))


def test_names_of_instances_and_of_their_disks_are_taken_once(machines: Machines) -> None:
    machines.insert()
    with pytest.raises(Conflict, match="instances/one' already exists"):
        machines.insert()
    machines.disks.insert_unary(**machines.zone, disk_resource=compute_v1.Disk(name="two", size_gb=10))
    with pytest.raises(Conflict, match="disks/two' already exists"):
        machines.insert("two")


def test_a_service_account_must_be_there(machines: Machines, google: Emulated) -> None:
    nobody = f"nobody@{google.project}.iam.gserviceaccount.com"
    ended = machines.insert(**machines.with_account(nobody))
    assert code_of(ended) == "EXTERNAL_RESOURCE_NOT_FOUND"
    assert ended.error.errors[0].message == f"The resource '{nobody}' of type 'serviceAccount' was not found."
    with pytest.raises(NotFound):
        machines.get()
    assert list(machines.disks.list(**machines.zone)) == []


def test_acting_as_an_account_takes_a_permission(machines: Machines, google: Emulated) -> None:
    worker, member = machines.account(), "user:maker@example.com"
    google.grant("roles/compute.admin", member)
    ended = machines.insert(member=member, **machines.with_account(worker))
    assert code_of(ended) == "SERVICE_ACCOUNT_ACCESS_DENIED"
    assert "maker@example.com" in ended.error.errors[0].message
    google.grant("roles/iam.serviceAccountUser", member)
    machines.insert(member=member, **machines.with_account(worker))
    one = machines.get()
    assert (one.service_accounts[0].email, list(one.service_accounts[0].scopes)) == (worker, [ALL_SCOPES])


def test_the_default_account_is_named_by_the_number_of_the_project(machines: Machines, google: Emulated) -> None:
    number = google.cloud.world.projects[google.project].number
    one = machines.made(**machines.with_account("default"))
    assert one.service_accounts[0].email == f"{number}-compute@developer.gserviceaccount.com"


def test_the_subnetwork_wants_a_permission_of_its_own(machines: Machines, google: Emulated) -> None:
    member = "user:maker@example.com"
    instance = f"projects/{google.project}/zones/{ZONE}/instances/one"
    google.cloud.access.grant(instance, "roles/compute.instanceAdmin.v1", member)
    other = "user:other@example.com"
    google.grant("roles/compute.viewer", other)
    with pytest.raises(Forbidden, match=r"Required 'compute\.instances\.create' permission"):
        machines.insert(member=other)
    with pytest.raises(Forbidden, match=r"Required 'compute\.subnetworks\.use' permission for 'projects/.*/hosts'"):
        machines.insert(member=member)


def test_metadata_has_limits(machines: Machines) -> None:
    machines.insert("fits", metadata=metadata(a="x" * 262_144))
    with pytest.raises(GoogleAPICallError, match="maximum size 262144 character"):
        machines.insert("value", metadata=metadata(a="x" * 262_145))
    with pytest.raises(GoogleAPICallError, match="maximum size 524288 character"):
        machines.insert("total", metadata=metadata(a="x" * 262_144, b="x" * 262_144))
    with pytest.raises(BadRequest, match="Must be a match of regex"):
        machines.insert("key", metadata=compute_v1.Metadata(items=[{"key": "a.b", "value": ""}]))


def test_a_delete_takes_the_boot_disk_along_and_no_other(machines: Machines) -> None:
    machines.disks.insert_unary(**machines.zone, disk_resource=compute_v1.Disk(name="data", size_gb=10))
    data = compute_v1.AttachedDisk(source=f"zones/{ZONE}/disks/data", device_name="data")
    machines.insert(disks=[*machines.body().disks, data])
    with pytest.raises(BadRequest, match=r"disks/data' is already being used by 'projects/.*/instances/one'"):
        machines.disks.delete_unary(**machines.zone, disk="data")
    with pytest.raises(BadRequest, match="disks/data' is already being used by"):
        machines.insert("two", disks=[*machines.body().disks, data])
    machines.instances.delete_unary(**machines.zone, instance="one")
    assert [each.name for each in machines.disks.list(**machines.zone)] == ["data"]
    machines.disks.delete_unary(**machines.zone, disk="data")


def test_a_protected_instance_is_not_deleted(machines: Machines) -> None:
    machines.insert(deletion_protection=True)
    with pytest.raises(BadRequest, match="Resource cannot be deleted if it's protected against deletion"):
        machines.instances.delete_unary(**machines.zone, instance="one")
    machines.instances.set_deletion_protection_unary(
        compute_v1.SetDeletionProtectionInstanceRequest(**machines.zone, resource="one", deletion_protection=False)
    )
    machines.instances.delete_unary(**machines.zone, instance="one")
    with pytest.raises(NotFound):
        machines.get()


def test_an_image_of_a_disk_in_use_takes_force(machines: Machines, google: Emulated) -> None:
    machines.insert()
    images = machines.client(compute_v1.ImagesClient)
    body = compute_v1.Image(name="own", source_disk=f"zones/{ZONE}/disks/one")
    with pytest.raises(BadRequest, match=r"disks/one' is already being used by 'projects/.*/instances/one'"):
        images.insert_unary(project=google.project, image_resource=body)
    images.insert_unary(compute_v1.InsertImageRequest(project=google.project, image_resource=body, force_create=True))
    machines.instances.stop_unary(**machines.zone, instance="one")
    body.name = "another"
    images.insert_unary(project=google.project, image_resource=body)
    assert [each.name for each in images.list(project=google.project)] == ["another", "own"]


def test_its_network_cannot_go_first(machines: Machines, google: Emulated) -> None:
    machines.insert()
    subnetworks = machines.client(compute_v1.SubnetworksClient)
    with pytest.raises(BadRequest, match="is already being used by"):
        subnetworks.delete_unary(project=google.project, region=REGION, subnetwork="hosts")


def test_all_zones_are_listed_at_once(machines: Machines, google: Emulated) -> None:
    machines.insert("a", labels={"kind": "x"})
    machines.insert("b")
    scopes = dict(machines.instances.aggregated_list(project=google.project))
    assert [each.name for each in scopes[f"zones/{ZONE}"].instances] == ["a", "b"]
    found = machines.instances.list(compute_v1.ListInstancesRequest(**machines.zone, filter="labels.kind=x"))
    assert [each.name for each in found] == ["a"]


@pytest.mark.parametrize(
    "extra",
    [
        {"guestAccelerators": [{"acceleratorType": "t4", "acceleratorCount": 1}]},
        {"minCpuPlatform": "Intel Skylake"},
        {"resourcePolicies": ["backup"]},
    ],
)
def test_what_is_not_done_is_refused(google: Emulated, extra: dict[str, object]) -> None:
    path = f"/compute/compute/v1/projects/{google.project}/zones/{ZONE}/instances"
    answer = google.http().post(path, json={"name": "one"} | extra)
    assert answer.status_code == 501
