"""Disks of an instance: made with it, attached, detached.

Sources: https://cloud.google.com/compute/docs/reference/rest/v1/instances/attachDisk and its siblings
"""

from __future__ import annotations

import copy

from tests.emulator import errors
from tests.emulator.cloud import Cloud
from tests.emulator.kind import Body, Call
from tests.emulator.services.compute import labels
from tests.emulator.services.compute.base import GOOGLE, check_name, fingerprint, in_use, mutation
from tests.emulator.services.compute.disks import attached_to, check_use, complete
from tests.emulator.services.compute.instance_kind import InstanceKind
from tests.emulator.services.compute.links import referenced
from tests.emulator.world import Record

IN_DISK = {"diskSizeGb": "sizeGb", "diskType": "type", "diskName": "name"}
"""Fields of initializeParams that a disk calls otherwise."""


class InstanceDisks(InstanceKind):
    """What happens to disks while the instance is there."""

    @mutation("attachDisk", "compute.instances.attachDisk")
    def attach_disk(self, call: Call) -> Body:
        """A disk in use ends the operation. Source: openshift/release#7550 (RESOURCE_IN_USE_BY_ANOTHER_RESOURCE)."""
        record, project = self.settled(call), self.project_of(call).id
        disk = referenced(self.cloud, call.body.get("source", ""), project, "resource.source", "disk")
        self.need(call, "compute.disks.use", disk.name[8:], f"projects/{project}")
        given = call.body
        if call.get("forceAttach") or given.get("boot") or given.get("initializeParams"):
            raise errors.not_emulated("attachDisk by force, of a boot disk, or of one to be made")

        def change(body: Body) -> None:
            number = 1 + max((each["index"] for each in body["disks"]), default=-1)
            body["disks"] = [*body["disks"], attached(disk, given, number)]
            check_device_names(body["disks"])

        user = user_of(self.cloud, disk, call.body.get("mode", "READ_WRITE"))
        if user:
            taken = in_use("disk", disk.name[8:], user)
            taken.reason = "RESOURCE_IN_USE_BY_ANOTHER_RESOURCE"
            return self.begin(call, "attachDisk", record, lambda: fail(taken))
        disk.body["lastAttachTimestamp"] = self.now
        return self.alter(call, "attachDisk", record, change)

    @mutation("detachDisk", "compute.instances.detachDisk")
    def detach_disk(self, call: Call) -> Body:
        """The boot disk comes off a stopped instance alone.

        Source: https://cloud.google.com/compute/docs/disks/detach-reattach-boot-disk; no source for the words.
        """
        record, name = self.settled(call), call["deviceName"]
        found = device(record, name)
        if found["boot"] and record.body["status"] != "TERMINATED":
            raise errors.invalid(f"Invalid value for field 'deviceName': '{name}'. Boot disk of a running instance.")

        def change(body: Body) -> None:
            body["disks"] = [each for each in body["disks"] if each["deviceName"] != name]

        disk = referenced(self.cloud, found["source"], self.project_of(call).id, "source", "disk")
        disk.body["lastDetachTimestamp"] = self.now
        return self.alter(call, "detachDisk", record, change)

    @mutation("setDiskAutoDelete", "compute.instances.setDiskAutoDelete")
    def set_disk_auto_delete(self, call: Call) -> Body:
        record, name = self.settled(call), call["deviceName"]
        device(record, name)

        def change(body: Body) -> None:
            next(each for each in body["disks"] if each["deviceName"] == name)["autoDelete"] = call["autoDelete"]

        return self.alter(call, "setDiskAutoDelete", record, change)

    # -- disks of a new instance -------------------------------------------------------------------------------------

    def add_disks(self, call: Call, record: Record) -> None:
        """Attach what is named, make what is described; nothing is made before all of it is found right."""
        given, project = record.body.get("disks", []), self.project_of(call).id
        if not any(each.get("boot") for each in given):  # no source for the words where there are others
            words = "No boot disk is specified." if given else "No disks are specified."
            raise errors.invalid(f"Invalid value for field 'resource.disks': ''. {words}")
        made, parts = [], []
        for number, each in enumerate(given):
            new = self._described(call, record, each, number) if "initializeParams" in each else None
            made += [new] if new else []
            disk = new or self._named(call, each, f"resource.disks[{number}].source")
            parts.append(attached(disk, each, number))
        check_device_names(parts)
        for disk in made:
            self.need(call, "compute.disks.create", disk.name[8:], f"projects/{project}")
        for disk in made:
            self.cloud.world.put(disk)
        record.body["disks"], record.hidden["made"] = parts, [disk.name for disk in made]

    def _named(self, call: Call, given: Body, field: str) -> Record:
        """Source of the words: hashicorp/terraform#23698."""
        project = self.project_of(call).id
        disk = referenced(self.cloud, given.get("source", ""), project, field, "disk")
        self.need(call, "compute.disks.use", disk.name[8:], f"projects/{project}")
        user = user_of(self.cloud, disk, given.get("mode", "READ_WRITE"))
        if user:
            raise in_use("disk", disk.name[8:], user)
        return disk

    def _described(self, call: Call, record: Record, given: Body, number: int) -> Record:
        """The disk of `initializeParams`. Source of the words: hashicorp/terraform#7998 (alreadyExists)."""
        project, zone = self.project_of(call).id, call["zone"]
        field = f"resource.disks[{number}].initializeParams"
        if given.get("type") == "SCRATCH":
            raise errors.not_emulated("a local SSD")
        body = {IN_DISK.get(key, key): copy.deepcopy(value) for key, value in given["initializeParams"].items()}
        body.setdefault("name", record.body["name"] if not number else f"{record.body['name']}-{number}")
        check_name(body["name"], f"{field}.diskName")
        path = f"projects/{project}/zones/{zone}/disks/{body['name']}"
        if self.cloud.world.find(f"compute/{path}"):
            raise errors.already_exists(f"The resource '{path}' already exists")
        names = {new: old for old, new in IN_DISK.items()}
        sources = complete(self.cloud, body, project, zone, lambda name: f"{field}.{names.get(name, name)}")
        check_use(self, call, sources)
        body |= {"kind": "compute#disk", "id": str(self.cloud.world.number()), "creationTimestamp": self.now}
        body |= {"selfLink": f"{GOOGLE}/{path}", "zone": record.body["zone"], "lastAttachTimestamp": self.now}
        labels.check(body.get("labels", {}), f"{field}.labels")
        body["labelFingerprint"] = fingerprint(body.get("labels", {}))
        return Record(f"compute/{path}", "compute.disks", body)


def attached(disk: Record, given: Body, number: int) -> Body:
    """A disk as its instance shows it. Source of the default: "persistent-disk-x" in the reference."""
    for name in ("diskEncryptionKey", "forceAttach", "savedState"):
        if given.get(name):
            raise errors.not_emulated(f"a disk attached with {name}")
    body = {
        "kind": "compute#attachedDisk",
        "type": "PERSISTENT",
        "mode": given.get("mode", "READ_WRITE"),
        "source": disk.body["selfLink"],
        "deviceName": given.get("deviceName") or f"persistent-disk-{number}",
        "index": number,
        "boot": bool(given.get("boot")),
        "autoDelete": bool(given.get("autoDelete")),
        "interface": given.get("interface", "SCSI"),
        "diskSizeGb": disk.body["sizeGb"],
    }
    return body | {key: disk.body[key] for key in ("architecture", "guestOsFeatures", "licenses") if key in disk.body}


def device(record: Record, name: str) -> Body:
    """The attached disk of this device name. Source of the words: public code that looks for them."""
    found = next((each for each in record.body["disks"] if each["deviceName"] == name), None)
    if found is None:
        words = f"No attached disk found with device name '{name}'"
        raise errors.invalid(f"Invalid value for field 'deviceName': '{name}'. {words}")
    return dict(found)


def user_of(cloud: Cloud, disk: Record, mode: str) -> str:
    """Who has a disk attached in a way that this one does not fit beside; "" where nobody has."""
    for instance in attached_to(cloud, disk):
        modes = {each["mode"] for each in instance.body["disks"] if each["source"] == disk.body["selfLink"]}
        if modes != {"READ_ONLY"} or mode != "READ_ONLY":
            return instance.name[8:]
    return ""


def check_device_names(parts: list[Body]) -> None:
    """no source for the words"""
    names = [each["deviceName"] for each in parts]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise errors.invalid(f"Invalid value for field 'deviceName': '{twice}'. The device name is already in use.")


def fail(error: errors.ApiError) -> None:
    """The end of an operation that could not be."""
    raise error
