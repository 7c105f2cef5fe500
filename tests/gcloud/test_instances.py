"""Instances. Source: https://cloud.google.com/sdk/gcloud/reference/compute/instances"""

from __future__ import annotations

import httpx
import pytest
from google.cloud import compute_v1

from tests.gcloud.conftest import Gcloud, Refused

ZONE = "europe-west1-b"
IN_ZONE = f"--zone={ZONE}"


@pytest.fixture
def placed(gcloud: Gcloud) -> Gcloud:
    """With the network `vpc` and the subnetwork `hosts`."""
    options = {"credentials": gcloud.credentials, "client_options": gcloud.options("compute")}
    network = compute_v1.Network(name="vpc", auto_create_subnetworks=False)
    compute_v1.NetworksClient(**options).insert_unary(project=gcloud.project, network_resource=network)
    hosts = compute_v1.Subnetwork(name="hosts", network="global/networks/vpc", ip_cidr_range="10.0.0.0/24")
    compute_v1.SubnetworksClient(**options).insert_unary(
        project=gcloud.project, region="europe-west1", subnetwork_resource=hosts
    )
    return gcloud


def instances(gcloud: Gcloud) -> compute_v1.InstancesClient:
    return compute_v1.InstancesClient(credentials=gcloud.credentials, client_options=gcloud.options("compute"))


def test_an_instance_from_making_to_deleting(placed: Gcloud) -> None:
    placed("iam", "service-accounts", "create", "worker")
    email = f"worker@{placed.project}.iam.gserviceaccount.com"
    placed(
        "compute", "instances", "create", "one", IN_ZONE, "--machine-type=e2-small", "--subnet=hosts", "--no-address",
        "--image-family=debian-12", "--image-project=debian-cloud", "--boot-disk-size=20GB", "--tags=web",
        f"--service-account={email}", "--scopes=cloud-platform", "--metadata=role=worker", "--labels=a=b",
        "--shielded-secure-boot", "--deletion-protection",
    )  # fmt: skip
    where = {"project": placed.project, "zone": ZONE, "instance": "one"}
    one = instances(placed).get(**where)
    assert (one.status, one.disks[0].disk_size_gb, one.service_accounts[0].email) == ("RUNNING", 20, email)
    assert (one.metadata.items[0].value, dict(one.labels), list(one.tags.items)) == ("worker", {"a": "b"}, ["web"])
    assert (one.shielded_instance_config.enable_secure_boot, one.deletion_protection) == (True, True)
    assert [each["name"] for each in placed("compute", "instances", "list", "--filter=status=RUNNING")] == ["one"]
    placed("compute", "instances", "add-metadata", "one", IN_ZONE, "--metadata=extra=1")
    placed("compute", "instances", "remove-metadata", "one", IN_ZONE, "--keys=role")
    placed("compute", "instances", "add-tags", "one", IN_ZONE, "--tags=db")
    placed("compute", "instances", "add-labels", "one", IN_ZONE, "--labels=e=f")
    placed("compute", "instances", "update", "one", IN_ZONE, "--no-deletion-protection", "--update-labels=c=d")
    placed("compute", "instances", "reset", "one", IN_ZONE)
    placed("compute", "instances", "stop", "one", IN_ZONE)
    placed("compute", "instances", "set-machine-type", "one", IN_ZONE, "--machine-type=e2-medium")
    described = placed("compute", "instances", "describe", "one", IN_ZONE)
    assert (described["status"], described["labels"]) == ("TERMINATED", {"a": "b", "c": "d", "e": "f"})
    assert {each["key"]: each["value"] for each in described["metadata"]["items"]} == {"extra": "1"}
    placed("compute", "instances", "start", "one", IN_ZONE)
    one = instances(placed).get(**where)
    assert (one.status, sorted(one.tags.items), one.machine_type[-9:]) == ("RUNNING", ["db", "web"], "e2-medium")
    placed("compute", "instances", "delete", "one", IN_ZONE)
    with pytest.raises(Refused, match="was not found"):
        placed("compute", "instances", "describe", "one", IN_ZONE)


def test_what_python_made_gcloud_changes(placed: Gcloud) -> None:
    boot = compute_v1.AttachedDiskInitializeParams(source_image="projects/debian-cloud/global/images/family/debian-12")
    body = compute_v1.Instance(
        name="two",
        machine_type=f"zones/{ZONE}/machineTypes/e2-small",
        disks=[compute_v1.AttachedDisk(boot=True, auto_delete=True, initialize_params=boot)],
        network_interfaces=[compute_v1.NetworkInterface(subnetwork="regions/europe-west1/subnetworks/hosts")],
        deletion_protection=True,
        metadata=compute_v1.Metadata(items=[{"key": "enable-guest-attributes", "value": "TRUE"}]),
    )
    instances(placed).insert_unary(project=placed.project, zone=ZONE, instance_resource=body)
    described = placed("compute", "instances", "describe", "two", IN_ZONE)
    assert described["networkInterfaces"][0]["subnetwork"].endswith("/subnetworks/hosts")
    with pytest.raises(Refused, match="should be in the STOPPED state"):
        placed("compute", "instances", "set-machine-type", "two", IN_ZONE, "--machine-type=e2-medium")
    with pytest.raises(Refused, match="protected against deletion"):
        placed("compute", "instances", "delete", "two", IN_ZONE)
    placed("compute", "disks", "create", "data", IN_ZONE, "--size=10GB", "--type=pd-ssd")
    placed("compute", "instances", "attach-disk", "two", IN_ZONE, "--disk=data", "--device-name=data")
    with pytest.raises(Refused, match="is already being used by"):
        placed("compute", "disks", "delete", "data", IN_ZONE)
    placed("compute", "instances", "detach-disk", "two", IN_ZONE, "--device-name=data")
    two = instances(placed).get(project=placed.project, zone=ZONE, instance="two")
    assert [each.boot for each in two.disks] == [True]
    output = placed("compute", "instances", "get-serial-port-output", "two", IN_ZONE)
    assert "booted" in str(output)
    attributes = ("compute", "instances", "get-guest-attributes", "two", IN_ZONE)
    with pytest.raises(Refused, match="of type 'Guest Attribute' was not found"):
        placed(*attributes, "--query-path=hostkeys/")
    inside = f"{placed.address}/metadata/projects/{placed.project}/zones/{ZONE}/instances/two"
    written = f"{inside}/computeMetadata/v1/instance/guest-attributes/state/phase"
    httpx.put(written, content=b"ready", headers={"Metadata-Flavor": "Google"}).raise_for_status()
    (told,) = placed(*attributes, "--query-path=state/")
    assert (told["key"], told["value"]) == ("phase", "ready")


def test_project_metadata_and_machine_types(gcloud: Gcloud) -> None:
    gcloud("compute", "project-info", "add-metadata", "--metadata=enable-oslogin=TRUE")
    project = gcloud("compute", "project-info", "describe")
    assert {each["key"]: each["value"] for each in project["commonInstanceMetadata"]["items"]} == {
        "enable-oslogin": "TRUE"
    }
    projects = compute_v1.ProjectsClient(credentials=gcloud.credentials, client_options=gcloud.options("compute"))
    assert projects.get(project=gcloud.project).common_instance_metadata.items[0].key == "enable-oslogin"
    gcloud("compute", "project-info", "remove-metadata", "--keys=enable-oslogin")
    assert not projects.get(project=gcloud.project).common_instance_metadata.items
    types = gcloud("compute", "machine-types", "list", f"--zones={ZONE}", "--filter=name=e2-small")
    assert [(each["name"], each["guestCpus"]) for each in types] == [("e2-small", 2)]
    assert gcloud("compute", "machine-types", "describe", "e2-medium", IN_ZONE)["memoryMb"] == 4096
    with pytest.raises(Refused, match="was not found"):
        gcloud("compute", "machine-types", "describe", "e2-none", IN_ZONE)
