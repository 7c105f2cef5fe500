"""Instances, their disks and images. Source: https://cloud.google.com/sdk/gcloud/reference/compute/instances"""

from __future__ import annotations

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
    placed("compute", "instances", "update", "one", IN_ZONE, "--no-deletion-protection", "--update-labels=c=d")
    placed("compute", "instances", "stop", "one", IN_ZONE)
    described = placed("compute", "instances", "describe", "one", IN_ZONE)
    assert (described["status"], described["labels"]) == ("TERMINATED", {"a": "b", "c": "d"})
    assert {each["key"]: each["value"] for each in described["metadata"]["items"]} == {"role": "worker", "extra": "1"}
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
    )
    instances(placed).insert_unary(project=placed.project, zone=ZONE, instance_resource=body)
    with pytest.raises(Refused, match="should be in the STOPPED state"):
        placed("compute", "instances", "set-machine-type", "two", IN_ZONE, "--machine-type=e2-medium")
    with pytest.raises(Refused, match="protected against deletion"):
        placed("compute", "instances", "delete", "two", IN_ZONE)
    placed("compute", "disks", "create", "data", IN_ZONE, "--size=10GB", "--type=pd-ssd")
    placed("compute", "instances", "attach-disk", "two", IN_ZONE, "--disk=data", "--device-name=data")
    placed("compute", "disks", "resize", "data", IN_ZONE, "--size=20GB")
    assert [each["users"] for each in placed("compute", "disks", "list", "--filter=name=data")]
    with pytest.raises(Refused, match="is already being used by"):
        placed("compute", "disks", "delete", "data", IN_ZONE)
    output = placed("compute", "instances", "get-serial-port-output", "two", IN_ZONE)
    assert "booted" in str(output)
    with pytest.raises(Refused, match="of type 'Guest Attribute' was not found"):
        placed("compute", "instances", "get-guest-attributes", "two", IN_ZONE, "--query-path=hostkeys/")


def test_images_and_project_metadata(gcloud: Gcloud) -> None:
    assert (
        gcloud("compute", "images", "describe-from-family", "debian-12", "--project=debian-cloud")["status"] == "READY"
    )
    gcloud("compute", "disks", "create", "source", IN_ZONE, "--image-family=debian-12", "--image-project=debian-cloud")
    gcloud("compute", "images", "create", "own", "--source-disk=source", f"--source-disk-zone={ZONE}", "--family=mine")
    assert [each["family"] for each in gcloud("compute", "images", "list", "--no-standard-images")] == ["mine"]
    gcloud("compute", "images", "deprecate", "own", "--state=DEPRECATED")
    with pytest.raises(Refused, match="was not found"):
        gcloud("compute", "images", "describe-from-family", "mine")
    gcloud("compute", "images", "delete", "own")
    gcloud("compute", "project-info", "add-metadata", "--metadata=enable-oslogin=TRUE")
    project = gcloud("compute", "project-info", "describe")
    assert {each["key"]: each["value"] for each in project["commonInstanceMetadata"]["items"]} == {
        "enable-oslogin": "TRUE"
    }
    types = gcloud("compute", "machine-types", "list", f"--zones={ZONE}", "--filter=name=e2-small")
    assert [(each["name"], each["guestCpus"]) for each in types] == [("e2-small", 2)]
