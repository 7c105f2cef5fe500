"""Images, families, machine types and disk types through google-cloud-compute.

Sources: https://cloud.google.com/compute/docs/images/image-families-best-practices,
https://cloud.google.com/compute/docs/images/deprecate-custom, https://cloud.google.com/compute/docs/general-purpose-machines
"""

from __future__ import annotations

import pytest
from google.api_core.exceptions import BadRequest, Forbidden, NotFound
from google.cloud import compute_v1

from tests.unit.emulator.conftest import Emulated

ZONE = "europe-west1-b"


@pytest.fixture
def images(google: Emulated) -> compute_v1.ImagesClient:
    return compute_v1.ImagesClient(credentials=google.credentials, client_options=google.options("compute"))


@pytest.fixture
def disk(google: Emulated) -> str:
    """The link of a disk of 20 GB."""
    client = compute_v1.DisksClient(credentials=google.credentials, client_options=google.options("compute"))
    client.insert_unary(project=google.project, zone=ZONE, disk_resource=compute_v1.Disk(name="source", size_gb=20))
    return client.get(project=google.project, zone=ZONE, disk="source").self_link


def made(google: Emulated, images: compute_v1.ImagesClient, name: str, disk: str) -> None:
    images.insert_unary(
        project=google.project, image_resource=compute_v1.Image(name=name, family="own", source_disk=disk)
    )


def test_the_family_of_debian_12_is_its_newest_image(images: compute_v1.ImagesClient) -> None:
    newest = images.get_from_family(project="debian-cloud", family="debian-12")
    others = [each for each in images.list(project="debian-cloud") if each.family == "debian-12"]
    assert len(others) > 1
    assert newest.creation_timestamp == max(each.creation_timestamp for each in others)
    assert newest.disk_size_gb == 10
    assert "UEFI_COMPATIBLE" in [each.type_ for each in newest.guest_os_features]


def test_an_older_public_image_is_deprecated_and_names_the_newer(images: compute_v1.ImagesClient) -> None:
    newest = images.get_from_family(project="debian-cloud", family="debian-12")
    old = next(each for each in images.list(project="debian-cloud") if each.deprecated.state)
    assert (old.deprecated.state, old.deprecated.replacement) == ("DEPRECATED", newest.self_link)


def test_an_unknown_family_is_not_found(images: compute_v1.ImagesClient) -> None:
    words = "The resource 'projects/debian-cloud/global/images/family/debian-1' was not found"
    with pytest.raises(NotFound, match=words):
        images.get_from_family(project="debian-cloud", family="debian-1")


def test_a_zone_sees_families_too(google: Emulated) -> None:
    views = compute_v1.ImageFamilyViewsClient(credentials=google.credentials, client_options=google.options("compute"))
    view = views.get(project="debian-cloud", zone=ZONE, family="debian-13")
    assert view.image.family == "debian-13"
    with pytest.raises(NotFound, match=f"projects/debian-cloud/zones/{ZONE}/imageFamilyViews/none' was not found"):
        views.get(project="debian-cloud", zone=ZONE, family="none")


def test_a_deprecated_image_is_skipped_by_its_family(
    google: Emulated, images: compute_v1.ImagesClient, disk: str
) -> None:
    made(google, images, "first", disk)
    made(google, images, "second", disk)
    assert images.get_from_family(project=google.project, family="own").name == "second"
    status = compute_v1.DeprecationStatus(
        state="DEPRECATED", replacement=f"projects/{google.project}/global/images/first"
    )
    images.deprecate_unary(project=google.project, image="second", deprecation_status_resource=status)
    assert images.get_from_family(project=google.project, family="own").name == "first"
    active = compute_v1.DeprecationStatus(state="ACTIVE")
    images.deprecate_unary(project=google.project, image="second", deprecation_status_resource=active)
    assert images.get_from_family(project=google.project, family="own").name == "second"


def test_an_image_takes_its_size_from_its_disk_and_wants_one_source(
    google: Emulated, images: compute_v1.ImagesClient, disk: str
) -> None:
    made(google, images, "own", disk)
    assert images.get(project=google.project, image="own").disk_size_gb == 20
    with pytest.raises(BadRequest, match="Must specify exactly one source for an image"):
        images.insert_unary(project=google.project, image_resource=compute_v1.Image(name="none"))
    with pytest.raises(BadRequest, match="The referenced disk resource cannot be found"):
        made(google, images, "other", disk + "-gone")


def test_an_obsolete_image_makes_no_disk_and_a_deprecated_one_does(
    google: Emulated, images: compute_v1.ImagesClient, disk: str
) -> None:
    made(google, images, "own", disk)
    disks = compute_v1.DisksClient(credentials=google.credentials, client_options=google.options("compute"))

    def make(name: str, state: str) -> None:
        status = compute_v1.DeprecationStatus(state=state)
        images.deprecate_unary(project=google.project, image="own", deprecation_status_resource=status)
        body = compute_v1.Disk(name=name, source_image="global/images/own")
        disks.insert_unary(project=google.project, zone=ZONE, disk_resource=body)

    make("late", "DEPRECATED")
    with pytest.raises(BadRequest, match="The image is obsolete"):
        make("too-late", "OBSOLETE")


def test_somebody_elses_image_takes_a_permission(google: Emulated, images: compute_v1.ImagesClient, disk: str) -> None:
    made(google, images, "own", disk)
    owner = "user:neighbour@example.com"
    google.cloud.add_project(f"{google.project}-b", ("all",), owner)
    disks = compute_v1.DisksClient(credentials=google.credentials_of(owner), client_options=google.options("compute"))
    body = compute_v1.Disk(name="theirs", source_image=f"projects/{google.project}/global/images/own")
    where = {"project": f"{google.project}-b", "zone": ZONE, "disk_resource": body}
    with pytest.raises(Forbidden, match=r"Required 'compute\.images\.useReadOnly' permission for 'projects/.*/own'"):
        disks.insert_unary(**where)
    google.grant("roles/compute.imageUser", owner)
    disks.insert_unary(**where)


def test_labels_of_an_image_want_a_fresh_fingerprint(
    google: Emulated, images: compute_v1.ImagesClient, disk: str
) -> None:
    made(google, images, "own", disk)
    mark = images.get(project=google.project, image="own").label_fingerprint
    body = compute_v1.GlobalSetLabelsRequest(labels={"a": "b"}, label_fingerprint=mark)
    images.set_labels_unary(project=google.project, resource="own", global_set_labels_request_resource=body)
    assert dict(images.get(project=google.project, image="own").labels) == {"a": "b"}
    answer = google.http().post(
        f"/compute/compute/v1/projects/{google.project}/global/images/own/setLabels",
        json={"labels": {}, "labelFingerprint": mark},
    )
    assert answer.status_code == 412


def test_the_public_project_is_not_ours_to_write(images: compute_v1.ImagesClient) -> None:
    newest = images.get_from_family(project="debian-cloud", family="debian-12").name
    with pytest.raises(Forbidden, match=r"Required 'compute\.images\.delete' permission"):
        images.delete_unary(project="debian-cloud", image=newest)


def test_machine_types_have_their_size_and_custom_ones_exist_by_name(google: Emulated) -> None:
    types = compute_v1.MachineTypesClient(credentials=google.credentials, client_options=google.options("compute"))
    small = types.get(project=google.project, zone=ZONE, machine_type="e2-micro")
    assert (small.guest_cpus, small.memory_mb, small.is_shared_cpu) == (2, 1024, True)
    own = types.get(project=google.project, zone=ZONE, machine_type="e2-custom-4-8192")
    assert (own.guest_cpus, own.memory_mb) == (4, 8192)
    with pytest.raises(NotFound):
        types.get(project=google.project, zone=ZONE, machine_type="e2-custom-3-8192")
    names = [each.name for each in types.list(project=google.project, zone=ZONE)]
    assert "e2-standard-2" in names
    assert own.name not in names


def test_disk_types_have_a_default_size(google: Emulated) -> None:
    types = compute_v1.DiskTypesClient(credentials=google.credentials, client_options=google.options("compute"))
    assert types.get(project=google.project, zone=ZONE, disk_type="pd-ssd").default_disk_size_gb == 100
    scopes = dict(types.aggregated_list(project=google.project))
    assert {each.name for each in scopes[f"zones/{ZONE}"].disk_types} >= {"pd-standard", "pd-balanced", "pd-ssd"}


def test_an_unknown_zone_is_refused(google: Emulated) -> None:
    types = compute_v1.MachineTypesClient(credentials=google.credentials, client_options=google.options("compute"))
    with pytest.raises(BadRequest, match="Invalid value for field 'zone': 'europe-west1-x'"):
        types.get(project=google.project, zone="europe-west1-x", machine_type="e2-micro")
