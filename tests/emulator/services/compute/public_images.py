"""Projects of public images, and the Debian images in them.

Source: https://cloud.google.com/compute/docs/images/os-details; the names of the projects are those that gcloud lists.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.emulator.cloud import Cloud
from tests.emulator.kind import Body
from tests.emulator.services.compute.base import GOOGLE, fingerprint
from tests.emulator.world import Record

PROJECTS = frozenset({
    "cos-cloud", "debian-cloud", "rocky-linux-cloud", "ubuntu-os-cloud", "centos-cloud", "fedora-coreos-cloud",
    "opensuse-cloud", "oracle-linux-cloud", "rhel-cloud", "rhel-sap-cloud", "rocky-linux-accelerator-cloud",
    "suse-cloud", "suse-sap-cloud", "ubuntu-os-accelerator-images", "ubuntu-os-pro-cloud", "windows-cloud",
    "windows-sql-cloud",
})  # fmt: skip
"""All of them exist; only Debian's has images here."""
DEBIAN = (
    ("debian-11-bullseye-v20250915", "debian-11", "X86_64", ""),
    ("debian-12-bookworm-v20250812", "debian-12", "X86_64", "debian-12-bookworm-v20250910"),
    ("debian-12-bookworm-v20250910", "debian-12", "X86_64", ""),
    ("debian-12-bookworm-arm64-v20250910", "debian-12-arm64", "ARM64", ""),
    ("debian-13-trixie-v20250911", "debian-13", "X86_64", ""),
)
"""Name, family, architecture, and what replaced it where it is deprecated."""
FEATURES = ("UEFI_COMPATIBLE", "VIRTIO_SCSI_MULTIQUEUE", "GVNIC", "SEV_CAPABLE")


def publish(cloud: Cloud, project: str) -> None:
    """Make sure that a project of public images is there, for all who have a token to use."""
    if project not in PROJECTS or cloud.world.project(project):
        return
    cloud.world.add_project(project).services.add("compute.googleapis.com")
    cloud.access.grant(f"projects/{project}", "roles/compute.imageUser", "allAuthenticatedUsers")
    for body in _images() if project == "debian-cloud" else ():
        body["id"] = str(cloud.world.number())
        cloud.world.put(Record(f"compute/projects/{project}/global/images/{body['name']}", "compute.images", body))


def _images() -> Iterator[Body]:
    folder = f"{GOOGLE}/projects/debian-cloud/global"
    for name, family, architecture, replacement in DEBIAN:
        built = name.rpartition("-v")[2]
        deprecated = {"state": "DEPRECATED", "replacement": f"{folder}/images/{replacement}"}
        yield {
            "kind": "compute#image",
            "name": name,
            "family": family,
            "architecture": architecture,
            "creationTimestamp": f"{built[:4]}-{built[4:6]}-{built[6:]}T12:00:00.000-07:00",
            "description": f"Debian, {name}",
            "diskSizeGb": "10",
            "archiveSizeBytes": "1000000000",
            "sourceType": "RAW",
            "status": "READY",
            "guestOsFeatures": [{"type": feature} for feature in FEATURES],
            "licenses": [f"{folder}/licenses/{name.rpartition('-v')[0].removesuffix('-arm64')}"],
            "labelFingerprint": fingerprint({}),
            "selfLink": f"{folder}/images/{name}",
            "storageLocations": ["us"],
        } | ({"deprecated": deprecated} if replacement else {})
