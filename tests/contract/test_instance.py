"""The stack's machine at Compute Engine: made, read again, changed, removed; on the emulator at Google's own speed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from google.cloud import compute_v1

from blocks.errors import Blocked, Conflict
from blocks.gcp.account import ServiceAccount
from blocks.gcp.instance import Instance
from blocks.gcp.network import Network
from blocks.gcp_spec import GcpHost
from blocks.resource import Apply, Change, converge, plan, visit, visit_to_delete
from tests import google

ZONE = f"{google.REGION}-b"
SCRIPT = "#!/bin/sh\necho first\n"
Make = Callable[..., Instance]


@pytest.fixture(scope="module")
def project() -> google.Project:
    return google.project()


@pytest.fixture(scope="module")
def account(project: google.Project) -> ServiceAccount:
    made = ServiceAccount(project.seen_by(), "trial", "host")
    converge([made])
    return made


@pytest.fixture(scope="module")
def network(project: google.Project, account: ServiceAccount) -> Network:
    """The network's part for the host."""
    made = Network(project.seen_by(), "trial", google.REGION, account.email)
    parts = ("network", "subnetwork of the host", "address of the host")
    converge([each for each in made.resources() if each.name in parts])
    return made


@pytest.fixture
def make(network: Network, account: ServiceAccount, project: google.Project) -> Any:
    """Describes the one machine of the stack; it is removed at the end."""

    def described(script: str = SCRIPT, stack: str = "trial", **shape: Any) -> Instance:
        subnetwork, address = network.subnetwork("host"), network.wanted.host_address
        return Instance(
            network.google, stack, ZONE, subnetwork, address, account.email, lambda: script, GcpHost(**shape)
        )

    yield described
    if described().is_running() is not None:
        there = seen(described())
        machine_type, disk_gb = there.machine_type.rpartition("/")[2], disk_of(described()).size_gb
        converge([described(machine_type=machine_type, disk_gb=disk_gb)])
        visit_to_delete(described(), Apply())


def seen(instance: Instance) -> compute_v1.Instance:
    return instance._google.compute("Instances").get(**named(instance))  # type: ignore[no-any-return]


def disk_of(instance: Instance) -> compute_v1.Disk:
    google = instance._google
    return google.compute("Disks").get(project=google.project, zone=ZONE, disk="trial-host")  # type: ignore[no-any-return]


def named(instance: Instance) -> dict[str, str]:
    return {"project": instance._google.project, "zone": ZONE, "instance": "trial-host"}


def by_hand(instance: Instance, method: str, **body: Any) -> None:
    """What somebody does to it in the console."""
    begun = getattr(instance._google.compute("Instances"), method)(request={**named(instance), **body})
    operations = instance._google.compute("ZoneOperations")
    operations.wait(project=instance._google.project, zone=ZONE, operation=begun.name)


def one_change(instance: Instance) -> Change:
    (change,) = plan([instance])
    return change


def test_it_is_made_closed_and_small_and_then_as_wanted(make: Make, account: ServiceAccount) -> None:
    machine = make()
    assert [each.action for each in plan([machine])] == ["create"]
    visit(machine, Apply())
    assert plan([make()]) == []
    found = seen(machine)
    assert found.machine_type.endswith(f"/zones/{ZONE}/machineTypes/e2-medium")
    (network,), (disk,) = found.network_interfaces, found.disks
    assert (network.network_i_p, list(network.access_configs)) == ("10.60.0.10", [])
    assert (disk.auto_delete, disk.disk_size_gb, dict(found.labels)) == (True, 10, {"prefect-selfhost": "trial"})
    shielded = found.shielded_instance_config
    assert (shielded.enable_secure_boot, shielded.enable_vtpm, shielded.enable_integrity_monitoring) == (True,) * 3
    assert [(each.email, list(each.scopes)) for each in found.service_accounts] == [
        (account.email, ["https://www.googleapis.com/auth/cloud-platform"])
    ]
    assert {each.key: each.value for each in found.metadata.items} == {
        "enable-oslogin": "TRUE",
        "block-project-ssh-keys": "TRUE",
        "serial-port-enable": "FALSE",
        "startup-script": SCRIPT,
    }
    assert not found.can_ip_forward


def test_its_disk_is_a_balanced_one_of_the_newest_debian_12(make: Make) -> None:
    visit(make(), Apply())
    disk = disk_of(make())
    assert disk.type_.endswith("/diskTypes/pd-balanced")
    assert disk.source_image.rpartition("/")[2].startswith("debian-12-bookworm-v2025")


def test_a_newer_script_is_written_beside_what_others_have_put_there(make: Make) -> None:
    visit(make(), Apply())
    there = seen(make()).metadata
    theirs = [*({"key": each.key, "value": each.value} for each in there.items), {"key": "team", "value": "data"}]
    body = compute_v1.Metadata(items=theirs, fingerprint=there.fingerprint)
    by_hand(make(), "set_metadata_unary", metadata_resource=body)
    assert plan([make()]) == []
    change = visit(make(script="echo second"), Apply())
    assert (change.action, list(change.fields), change.interrupts) == ("update", ["metadata"], "")
    kept = {each.key: each.value for each in seen(make()).metadata.items}
    assert (kept["team"], kept["startup-script"]) == ("data", "echo second")


def test_metadata_that_somebody_changes_meanwhile_is_read_again(project: google.Project, make: Make) -> None:
    visit(make(), Apply())
    with project.fault("error", "compute.instances.setMetadata", code=412, reason="conditionNotMet"):
        visit(make(script="echo second"), Apply())
    assert plan([make(script="echo second")]) == []
    never = {"code": 412, "reason": "conditionNotMet", "times": 1000}
    with (
        project.fault("error", "compute.instances.setMetadata", **never),
        pytest.raises(Conflict, match="changing the machine trial-host"),
    ):
        visit(make(script="echo third"), Apply())


def test_another_machine_type_stops_it_which_is_said_before(make: Make) -> None:
    visit(make(), Apply())
    change = one_change(make(machine_type="e2-standard-2"))
    assert change.fields == {"machine type": ("e2-medium", "e2-standard-2")}
    assert change.interrupts.startswith("the machine is stopped, its machine type changed, and it is started")
    assert Change.from_row(change.as_row()) == change
    visit(make(machine_type="e2-standard-2"), Apply())
    assert seen(make()).status == "RUNNING"
    assert plan([make(machine_type="e2-standard-2")]) == []


def test_its_disk_can_grow(make: Make) -> None:
    visit(make(), Apply())
    assert one_change(make(disk_gb=50)).interrupts
    visit(make(disk_gb=50), Apply())
    assert plan([make(disk_gb=50)]) == []
    assert (disk_of(make()).size_gb, seen(make()).status) == (50, "RUNNING")


def test_a_new_one_interrupts_nothing(make: Make) -> None:
    assert one_change(make()).interrupts == ""


def test_what_was_opened_by_hand_is_seen_and_closed(make: Make) -> None:
    visit(make(), Apply())
    by_hand(
        make(),
        "add_access_config_unary",
        network_interface="nic0",
        access_config_resource=compute_v1.AccessConfig(name="External NAT", type_="ONE_TO_ONE_NAT"),
    )
    by_hand(make(), "stop_unary")
    by_hand(
        make(), "update_shielded_instance_config_unary", shielded_instance_config_resource={"enable_secure_boot": False}
    )
    assert set(one_change(make()).fields) == {"addresses outside", "shielded", "running"}
    visit(make(), Apply())
    assert plan([make()]) == []
    assert (seen(make()).status, list(seen(make()).network_interfaces[0].access_configs)) == ("RUNNING", [])


def test_another_account_by_hand_is_replaced(make: Make, project: google.Project, account: ServiceAccount) -> None:
    other = ServiceAccount(project.seen_by(), "trial", "other")
    converge([other])
    visit(make(), Apply())
    by_hand(make(), "stop_unary")
    body = {"email": other.email, "scopes": []}
    by_hand(make(), "set_service_account_unary", instances_set_service_account_request_resource=body)
    visit(make(), Apply())
    assert [each.email for each in seen(make()).service_accounts] == [account.email]
    assert plan([make()]) == []


def test_it_is_stopped_and_started_as_often_as_one_likes(make: Make) -> None:
    assert make().is_running() is None
    visit(make(), Apply())
    for act, runs in ((make().stop, False), (make().stop, False), (make().start, True), (make().start, True)):
        act()
        assert make().is_running() is runs


def test_one_that_was_stopped_is_started_by_a_converge(make: Make) -> None:
    visit(make(), Apply())
    make().stop()
    assert one_change(make()).fields == {"running": (False, True)}
    visit(make(), Apply())
    assert make().is_running()


def test_a_protected_one_stays_until_the_spec_says_otherwise(make: Make) -> None:
    visit(make(protection=True), Apply())
    with pytest.raises(Blocked, match="protected against deletion") as caught:
        visit_to_delete(make(), Apply())
    assert "not protected" in caught.value.hint
    visit(make(), Apply())
    visit_to_delete(make(), Apply())
    assert make().find() is None


def test_what_cannot_be_changed_in_place_is_named_with_what_to_do(make: Make) -> None:
    visit(make(disk_gb=50), Apply())
    with pytest.raises(Blocked, match="the disk GB of the machine trial-host is 50, and cannot become 10") as caught:
        plan([make()])
    assert "gcloud compute instances delete trial-host" in caught.value.hint


def test_anothers_machine_of_that_name_is_left(make: Make, network: Network) -> None:
    visit(make(), Apply())
    body = {"labels": {"prefect-selfhost": "other"}, "label_fingerprint": seen(make()).label_fingerprint}
    by_hand(make(), "set_labels_unary", instances_set_labels_request_resource=body)
    with pytest.raises(Blocked, match="not this stack's"):
        plan([make()])
    assert visit_to_delete(make(), Apply()).action == "leave"
    ours = {"labels": {"prefect-selfhost": "trial"}, "label_fingerprint": seen(make()).label_fingerprint}
    by_hand(make(), "set_labels_unary", instances_set_labels_request_resource=ours)


def test_a_suspended_one_is_for_a_person(make: Make, project: google.Project) -> None:
    visit(make(), Apply())
    record = project.cloud.world.records[f"compute/projects/{project.id}/zones/{ZONE}/instances/trial-host"]
    record.body["status"] = "SUSPENDED"
    with pytest.raises(Blocked, match="is suspended") as caught:
        plan([make()])
    record.body["status"] = "RUNNING"
    assert caught.value.hint.startswith("gcloud compute instances resume trial-host")


@pytest.mark.parametrize("kind", ["error", "reset-before", "reset-after"])
@pytest.mark.parametrize(
    ("method", "wanted"),
    [
        ("insert", {}),
        ("setMetadata", {"script": "echo second"}),
        ("stop", {"machine_type": "e2-standard-2"}),
        ("setMachineType", {"machine_type": "e2-standard-2"}),
        ("start", {"machine_type": "e2-standard-2"}),
        ("setDeletionProtection", {"protection": True}),
    ],
)
def test_a_lost_answer_ends_in_the_same_machine(
    project: google.Project, make: Make, method: str, wanted: dict[str, Any], kind: str
) -> None:
    if method != "insert":
        visit(make(), Apply())
    with project.fault(kind, f"compute.instances.{method}"):
        visit(make(**wanted), Apply())
    assert plan([make(**wanted)]) == []
    visit(make(), Apply())


def test_an_account_that_is_not_known_yet_is_waited_for(project: google.Project, make: Make) -> None:
    gone = {"code": 404, "reason": "EXTERNAL_RESOURCE_NOT_FOUND", "message": "The resource was not found."}
    with project.fault("operation-error", "compute.instances.insert", **gone):
        visit(make(), Apply())
    assert plan([make()]) == []


def test_a_zone_without_machines_is_told_with_what_to_do(project: google.Project, make: Make) -> None:
    with project.fault("stockout", "compute.instances.insert"), pytest.raises(Blocked, match="does not have") as caught:
        visit(make(), Apply())
    assert "another zone" in caught.value.hint
    visit(make(), Apply())  # nothing of it was left


def test_what_it_wrote_while_it_booted_can_be_read(make: Make) -> None:
    assert make().serial_output(5) == []
    visit(make(), Apply())
    assert make().serial_output(5) == ["trial-host: booted from persistent-disk-0"]
