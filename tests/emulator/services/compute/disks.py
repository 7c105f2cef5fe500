"""Persistent disks of a zone, and snapshots of them.

Sources: https://cloud.google.com/compute/docs/reference/rest/v1/disks,
https://cloud.google.com/compute/docs/disks/resize-persistent-disk
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from tests.emulator import errors
from tests.emulator.cloud import Cloud
from tests.emulator.kind import Body, Call
from tests.emulator.services.compute import labels
from tests.emulator.services.compute.base import GOOGLE, ComputeKind, check_name, fingerprint, mutation
from tests.emulator.services.compute.images import SOURCES, source_of
from tests.emulator.services.compute.links import referenced
from tests.emulator.services.compute.machine_types import DISK_TYPES, disk_type
from tests.emulator.world import Record

NOT_DONE = ("diskEncryptionKey", "replicaZones", "resourcePolicies", "storagePool", "provisionedIops",
            "provisionedThroughput", "asyncPrimaryDisk", "sourceStorageObject", "sourceInstantSnapshot", "params",
            "enableConfidentialCompute", "accessMode", "resourceManagerTags", "onUpdateAction", "snapshotEncryptionKey",
            "guestFlush")  # fmt: skip
"""Fields that would change what a disk or a snapshot is."""
LARGEST = 65_536
"""GB. Source: https://cloud.google.com/compute/docs/disks/persistent-disks"""


class Disks(ComputeKind):
    """A disk is CREATING, then READY; who has it attached is in `users`."""

    collection = "compute.disks"
    singular = "disk"
    scope = "zone"
    labelled = True

    def prepare(self, call: Call, record: Record) -> None:
        if call.get("sourceImage"):
            record.body["sourceImage"] = call["sourceImage"]
        check_use(self, call, complete(self.cloud, record.body, self.project_of(call).id, call["zone"]))

    def finished(self, record: Record) -> None:
        record.body["status"] = "READY"

    def shown(self, record: Record) -> Body:
        users = [each.body["selfLink"] for each in attached_to(self.cloud, record)]
        return record.body | ({"users": users} if users else {})

    @mutation("resize", "compute.disks.update")
    def resize(self, call: Call) -> Body:
        """Only up. Source of the words: public mirrors of gcloud's answer, "New disk size '1' GiB must be larger …"."""
        record = self.existing(call)
        new, now = int(call.body.get("sizeGb", 0)), int(record.body["sizeGb"])
        if new <= now:
            words = f"New disk size '{new}' GiB must be larger than existing size '{now}' GiB."
            raise errors.invalid(f"Invalid value for field 'sizeGb': '{new}'. {words}")
        check_size(new, "sizeGb")
        return self.begin(call, "resize", record, partial(record.body.update, sizeGb=str(new)))

    @mutation("createSnapshot", "compute.disks.createSnapshot")
    def create_snapshot(self, call: Call) -> Body:
        """A snapshot is a global resource; the operation is one of the disk's zone."""
        disk, project = self.existing(call), self.project_of(call).id
        check_done(call.body, "snapshot")
        check_name(call.body.get("name", ""))
        labels.check(call.body.get("labels", {}), "resource.labels")
        name = f"projects/{project}/global/snapshots/{call.body['name']}"
        self.need(call, "compute.snapshots.create", f"projects/{project}")
        if self.cloud.world.find(f"compute/{name}"):
            raise errors.already_exists(f"The resource '{name}' already exists")
        body = call.body | {"kind": "compute#snapshot", "id": str(self.cloud.world.number())}
        body |= {"selfLink": f"{GOOGLE}/{name}"}
        body |= {"creationTimestamp": self.now, "labelFingerprint": fingerprint(call.body.get("labels", {}))}
        snapshot = self.cloud.world.put(Record(f"compute/{name}", "compute.snapshots", body | taken_of(disk)))
        ready = partial(snapshot.body.update, status="READY")
        return self.begin(call, "createSnapshot", disk, ready, undo=partial(self.cloud.world.drop, snapshot.name))


class Snapshots(ComputeKind):
    """What a disk held, kept apart from it."""

    collection = "compute.snapshots"
    singular = "snapshot"
    labelled = True

    def prepare(self, call: Call, record: Record) -> None:
        project = self.project_of(call).id
        check_done(record.body, "snapshot")
        disk = referenced(self.cloud, record.body.get("sourceDisk", ""), project, "resource.sourceDisk", "disk")
        record.body |= taken_of(disk)

    def finished(self, record: Record) -> None:
        record.body["status"] = "READY"


def taken_of(disk: Record) -> Body:
    """The fields of a snapshot that come from its disk."""
    body = {"sourceDisk": disk.body["selfLink"], "sourceDiskId": disk.body["id"], "diskSizeGb": disk.body["sizeGb"]}
    body |= {"status": "CREATING", "storageBytes": "0", "storageBytesStatus": "UP_TO_DATE"}
    inherited = {key: disk.body[key] for key in ("architecture", "guestOsFeatures", "licenses") if key in disk.body}
    return body | inherited | {"snapshotType": "STANDARD", "storageLocations": ["us"]}


def check_done(body: Body, what: str) -> None:
    """501 for a field that is not honoured."""
    for name in NOT_DONE:
        if body.get(name):
            raise errors.not_emulated(f"a {what} with {name}")


def in_resource(name: str) -> str:
    """How errors name a field of a disk that is inserted by itself."""
    return f"resource.{name}"


def complete(
    cloud: Cloud, body: Body, project: str, zone: str, where: Callable[[str], str] = in_resource
) -> list[Record]:
    """Give the body of a new disk its type, size and source; `where` names a field of it in an error.

    Returns what it is made of. Source of the words: BasedHardware/omi#7155, NixOS/nixops#1072.
    """
    check_done(body, "disk")
    given = [name for name in SOURCES if body.get(name)]
    sources = [source_of(cloud, body, name, project, where(name)) for name in given]
    body["type"] = disk_type(body.get("type", "pd-standard"), project, zone, where("type"))
    least = max((size_of(each) for each in sources), default=0)
    size = int(body.get("sizeGb", 0)) or least or DISK_TYPES[body["type"].rpartition("/")[2]][1]
    if size < least:
        what = given[0].removeprefix("source").lower()
        words = f"Requested disk size cannot be smaller than the {what} size ({least} GB)"
        raise errors.invalid(f"Invalid value for field '{where('sizeGb')}': '{size}'. {words}")
    check_size(size, where("sizeGb"))
    body |= {"sizeGb": str(size), "status": "CREATING", "physicalBlockSizeBytes": "4096"}
    return sources


def check_use(kind: ComputeKind, call: Call, sources: list[Record]) -> None:
    """403 unless the caller may read what a disk is made of.

    Source: https://cloud.google.com/compute/docs/images/managing-access-custom-images (compute.images.useReadOnly)
    """
    for each in sources:
        kind.need(call, f"{each.collection}.useReadOnly", each.name[8:], "/".join(each.name.split("/")[1:3]))


def size_of(source: Record) -> int:
    return int(source.body.get("diskSizeGb") or source.body["sizeGb"])


def check_size(size: int, field: str) -> None:
    """no source: the words are ours, the limit is the documents'."""
    if not 0 < size <= LARGEST:
        raise errors.invalid(f"Invalid value for field '{field}': '{size}'. Must be between 1 and {LARGEST}.")


def attached_to(cloud: Cloud, disk: Record) -> list[Record]:
    """The instances that have a disk attached."""
    link = disk.body["selfLink"]
    zone = disk.name.rpartition("/disks/")[0]
    near = cloud.world.under(f"{zone}/instances/", "compute.instances")
    return [each for each in near if any(part.get("source") == link for part in each.body["disks"])]


KINDS = (Disks, Snapshots)
