"""Disks and snapshots through google-cloud-compute. Source: https://cloud.google.com/compute/docs/disks"""

from __future__ import annotations

import pytest
from google.api_core.exceptions import BadRequest, Conflict, NotFound, PreconditionFailed
from google.cloud import compute_v1

from tests.unit.emulator.conftest import Emulated

ZONE = "europe-west1-b"
DEBIAN = "projects/debian-cloud/global/images/family/debian-12"


@pytest.fixture
def disks(google: Emulated) -> compute_v1.DisksClient:
    return compute_v1.DisksClient(credentials=google.credentials, client_options=google.options("compute"))


def made(google: Emulated, disks: compute_v1.DisksClient, name: str, **fields: object) -> compute_v1.Disk:
    disks.insert_unary(project=google.project, zone=ZONE, disk_resource=compute_v1.Disk(name=name, **fields))
    return disks.get(project=google.project, zone=ZONE, disk=name)


def test_an_empty_disk_has_the_default_size_of_its_type(google: Emulated, disks: compute_v1.DisksClient) -> None:
    plain = made(google, disks, "plain")
    assert (plain.size_gb, plain.type_.rpartition("/")[2], plain.status) == (500, "pd-standard", "READY")
    fast = made(google, disks, "fast", type_=f"zones/{ZONE}/diskTypes/pd-ssd")
    assert fast.size_gb == 100
    with pytest.raises(BadRequest, match="The referenced diskType resource cannot be found"):
        made(google, disks, "odd", type_=f"zones/{ZONE}/diskTypes/pd-odd")


def test_a_disk_of_an_image_is_no_smaller(google: Emulated, disks: compute_v1.DisksClient) -> None:
    boot = made(google, disks, "boot", source_image=DEBIAN)
    assert boot.size_gb == 10
    assert boot.source_image.endswith("/debian-12-bookworm-v20250910")
    assert [each.rpartition("/")[2] for each in boot.licenses] == ["debian-12-bookworm"]
    words = "Invalid value for field 'resource.sizeGb': '5'. Requested disk size cannot be smaller than the image size"
    with pytest.raises(BadRequest, match=words):
        made(google, disks, "small", source_image=DEBIAN, size_gb=5)


def test_a_disk_grows_and_never_shrinks(google: Emulated, disks: compute_v1.DisksClient) -> None:
    made(google, disks, "data", size_gb=20)
    more = compute_v1.DisksResizeRequest(size_gb=30)
    disks.resize_unary(project=google.project, zone=ZONE, disk="data", disks_resize_request_resource=more)
    assert disks.get(project=google.project, zone=ZONE, disk="data").size_gb == 30
    for size in (30, 10):
        less = compute_v1.DisksResizeRequest(size_gb=size)
        with pytest.raises(BadRequest, match=f"New disk size '{size}' GiB must be larger than existing size '30' GiB"):
            disks.resize_unary(project=google.project, zone=ZONE, disk="data", disks_resize_request_resource=less)


def test_a_name_is_taken_once_and_free_after_the_delete(google: Emulated, disks: compute_v1.DisksClient) -> None:
    made(google, disks, "data")
    with pytest.raises(Conflict, match="already exists"):
        made(google, disks, "data")
    disks.delete_unary(project=google.project, zone=ZONE, disk="data")
    with pytest.raises(NotFound):
        disks.get(project=google.project, zone=ZONE, disk="data")


def test_labels_of_a_disk_change_with_a_fresh_fingerprint(google: Emulated, disks: compute_v1.DisksClient) -> None:
    mark = made(google, disks, "data", labels={"a": "1"}).label_fingerprint
    body = compute_v1.ZoneSetLabelsRequest(labels={"a": "2"}, label_fingerprint=mark)
    disks.set_labels_unary(project=google.project, zone=ZONE, resource="data", zone_set_labels_request_resource=body)
    assert dict(disks.get(project=google.project, zone=ZONE, disk="data").labels) == {"a": "2"}
    with pytest.raises(PreconditionFailed, match="Labels fingerprint"):
        disks.set_labels_unary(
            project=google.project, zone=ZONE, resource="data", zone_set_labels_request_resource=body
        )


def test_a_snapshot_outlives_its_disk_and_makes_another(google: Emulated, disks: compute_v1.DisksClient) -> None:
    made(google, disks, "data", size_gb=30)
    taken = compute_v1.Snapshot(name="taken")
    disks.create_snapshot_unary(project=google.project, zone=ZONE, disk="data", snapshot_resource=taken)
    disks.delete_unary(project=google.project, zone=ZONE, disk="data")
    snapshots = compute_v1.SnapshotsClient(credentials=google.credentials, client_options=google.options("compute"))
    kept = snapshots.get(project=google.project, snapshot="taken")
    assert (kept.status, kept.disk_size_gb) == ("READY", 30)
    again = made(google, disks, "again", source_snapshot="global/snapshots/taken")
    assert again.size_gb == 30
    assert [each.name for each in snapshots.list(project=google.project)] == ["taken"]


def test_what_would_change_a_disk_and_is_not_done_is_refused(google: Emulated) -> None:
    project = f"/compute/compute/v1/projects/{google.project}"
    disk = {"name": "locked", "diskEncryptionKey": {"kmsKeyName": "k"}}
    assert google.http().post(f"{project}/zones/{ZONE}/disks", json=disk).status_code == 501
    image = {"name": "raw", "rawDisk": {"source": "https://storage.googleapis.com/b/o.tar.gz"}}
    assert google.http().post(f"{project}/global/images", json=image).status_code == 501
