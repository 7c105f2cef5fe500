"""Disks, their types, snapshots and images.

Sources: https://cloud.google.com/sdk/gcloud/reference/compute/disks,
https://cloud.google.com/sdk/gcloud/reference/compute/snapshots, https://cloud.google.com/sdk/gcloud/reference/compute/images
"""

from __future__ import annotations

from typing import Any

import pytest
from google.cloud import compute_v1

from tests.gcloud.conftest import Gcloud, Refused

ZONE = "europe-west1-b"
IN_ZONE = f"--zone={ZONE}"
DISKS, SNAPSHOTS, IMAGES = ("compute", "disks"), ("compute", "snapshots"), ("compute", "images")


def client(gcloud: Gcloud, kind: Any) -> Any:
    return kind(credentials=gcloud.credentials, client_options=gcloud.options("compute"))


def python_made_disk(gcloud: Gcloud) -> None:
    """`made`, of 10 GB."""
    body = compute_v1.Disk(name="made", size_gb=10, labels={"by": "python"})
    client(gcloud, compute_v1.DisksClient).insert_unary(project=gcloud.project, zone=ZONE, disk_resource=body)


def test_a_disk_from_making_to_deleting(gcloud: Gcloud) -> None:
    gcloud(*DISKS, "create", "data", IN_ZONE, "--size=10GB", "--type=pd-ssd")
    python_made_disk(gcloud)
    assert gcloud(*DISKS, "describe", "made", IN_ZONE)["labels"] == {"by": "python"}
    gcloud(*DISKS, "resize", "data", IN_ZONE, "--size=20GB")
    gcloud(*DISKS, "update", "data", IN_ZONE, "--update-labels=a=b")
    data = client(gcloud, compute_v1.DisksClient).get(project=gcloud.project, zone=ZONE, disk="data")
    assert (data.size_gb, dict(data.labels), data.type_.rpartition("/")[2]) == (20, {"a": "b"}, "pd-ssd")
    assert [each["name"] for each in gcloud(*DISKS, "list")] == ["data", "made"]
    gcloud(*DISKS, "delete", "data", IN_ZONE)
    with pytest.raises(Refused, match="was not found"):
        gcloud(*DISKS, "describe", "data", IN_ZONE)


def test_types_of_disks(gcloud: Gcloud) -> None:
    types = gcloud("compute", "disk-types", "list", f"--zones={ZONE}")
    assert {"pd-standard", "pd-ssd", "pd-balanced"} <= {each["name"] for each in types}
    assert gcloud("compute", "disk-types", "describe", "pd-ssd", IN_ZONE)["name"] == "pd-ssd"


def test_a_snapshot_from_making_to_deleting(gcloud: Gcloud) -> None:
    python_made_disk(gcloud)
    gcloud(*SNAPSHOTS, "create", "before", "--source-disk=made", f"--source-disk-zone={ZONE}")
    snapshots = client(gcloud, compute_v1.SnapshotsClient)
    assert snapshots.get(project=gcloud.project, snapshot="before").disk_size_gb == 10
    source = f"projects/{gcloud.project}/zones/{ZONE}/disks/made"
    body = compute_v1.Snapshot(name="made", source_disk=source, labels={"by": "python"})
    snapshots.insert_unary(project=gcloud.project, snapshot_resource=body)
    assert gcloud(*SNAPSHOTS, "describe", "made")["labels"] == {"by": "python"}
    gcloud(*SNAPSHOTS, "update", "before", "--update-labels=a=b")
    assert snapshots.get(project=gcloud.project, snapshot="before").labels == {"a": "b"}
    gcloud(*DISKS, "create", "again", IN_ZONE, "--source-snapshot=before")
    assert [each["name"] for each in gcloud(*SNAPSHOTS, "list")] == ["before", "made"]
    gcloud(*SNAPSHOTS, "delete", "before", "made")
    with pytest.raises(Refused, match="was not found"):
        gcloud(*SNAPSHOTS, "describe", "before")


def test_an_image_from_making_to_deleting(gcloud: Gcloud) -> None:
    public = gcloud(*IMAGES, "describe-from-family", "debian-12", "--project=debian-cloud")
    assert public["status"] == "READY"
    python_made_disk(gcloud)
    gcloud(*IMAGES, "create", "own", "--source-disk=made", f"--source-disk-zone={ZONE}", "--family=mine")
    images = client(gcloud, compute_v1.ImagesClient)
    assert images.get_from_family(project=gcloud.project, family="mine").name == "own"
    source = f"projects/{gcloud.project}/zones/{ZONE}/disks/made"
    body = compute_v1.Image(name="made", source_disk=source, description="by Python")
    images.insert_unary(project=gcloud.project, image_resource=body)
    assert gcloud(*IMAGES, "describe", "made")["description"] == "by Python"
    gcloud(*IMAGES, "update", "own", "--update-labels=a=b", "--description=for the stack")
    own = images.get(project=gcloud.project, image="own")
    assert (dict(own.labels), own.description) == ({"a": "b"}, "for the stack")
    assert [each["name"] for each in gcloud(*IMAGES, "list", "--no-standard-images")] == ["made", "own"]
    member = ("--member=user:ann@example.com", "--role=roles/compute.imageUser")
    gcloud(*IMAGES, "add-iam-policy-binding", "own", *member)
    policy = images.get_iam_policy(project=gcloud.project, resource="own")
    assert [(each.role, list(each.members)) for each in policy.bindings] == [(member[1][7:], ["user:ann@example.com"])]
    gcloud(*IMAGES, "deprecate", "own", "--state=DEPRECATED")
    with pytest.raises(Refused, match="was not found"):
        gcloud(*IMAGES, "describe-from-family", "mine")
    gcloud(*IMAGES, "delete", "own", "made")
    assert list(images.list(project=gcloud.project)) == []
