"""Instances: making them. What can be done with them then is in the other files called instance_*.

Source: https://cloud.google.com/compute/docs/reference/rest/v1/instances/insert
"""

from __future__ import annotations

from tests.emulator import errors
from tests.emulator.kind import Body, Call
from tests.emulator.services.compute.instance_account import account_of, refused
from tests.emulator.services.compute.instance_disks import InstanceDisks
from tests.emulator.services.compute.instance_life import InstanceLife
from tests.emulator.services.compute.instance_network import address, go_online, interface
from tests.emulator.services.compute.instance_output import InstanceOutput
from tests.emulator.services.compute.instance_settings import InstanceSettings, scheduling, tags
from tests.emulator.services.compute.machine_types import machine_type
from tests.emulator.services.compute.metadata_items import metadata
from tests.emulator.world import Record, relative

NOT_DONE = ("guestAccelerators", "advancedMachineFeatures", "confidentialInstanceConfig", "resourcePolicies",
            "minCpuPlatform", "networkPerformanceConfig", "instanceEncryptionKey", "sourceMachineImage",
            "workloadIdentityConfig", "displayDevice", "privateIpv6GoogleAccess", "params")  # fmt: skip
"""Fields that would change what the machine is."""
SETTERS = {"metadata": "setMetadata", "tags": "setTags", "labels": "setLabels", "serviceAccounts": "setServiceAccount"}
"""What the caller must also be allowed to do where these fields are given.

Source: https://cloud.google.com/compute/docs/instances/create-start-instance (required permissions)
"""
PLATFORM = "Intel Broadwell"
"""Which processor it is at Google varies."""


class Instances(InstanceLife, InstanceSettings, InstanceDisks, InstanceOutput):
    """A new instance is PROVISIONING, then STAGING, then RUNNING."""

    def prepare(self, call: Call, record: Record) -> None:
        """Complete the body part by part; disks come last, for they are made here."""
        for name in NOT_DONE:
            if record.body.get(name):
                raise errors.not_emulated(f"an instance with {name}")
        for name in ("sourceInstanceTemplate", "sourceMachineImage"):
            if call.get(name):
                raise errors.not_emulated(f"an instance from {name}")
        for name, verb in SETTERS.items():
            if record.body.get(name):
                self.need(call, f"compute.instances.{verb}", *self.guards(call))
        self._settings(call, record.body)
        accounts, interfaces = self._accounts(call, record.body), self._interfaces(call, record.body)
        if trouble := accounts or interfaces:
            record.hidden["refused"] = trouble
        self.add_disks(call, record)
        self._shield(record.body)
        self.provision(record, "insert")
        go_online(self.cloud, record.body)

    def _settings(self, call: Call, body: Body) -> None:
        project = self.project_of(call).id
        body["machineType"] = machine_type(body.get("machineType", ""), project, call["zone"], "resource.machineType")
        body["metadata"] = metadata(body.get("metadata", {}), "resource.metadata")
        body["tags"] = tags(body.get("tags", {}), "resource.tags")
        body["scheduling"] = scheduling(body.get("scheduling", {}), "resource.scheduling")
        defaults = {"canIpForward": False, "deletionProtection": False, "startRestricted": False}
        body |= defaults | body | {"cpuPlatform": PLATFORM}

    def _accounts(self, call: Call, body: Body) -> errors.ApiError | None:
        """At most one. Source: https://cloud.google.com/compute/docs/access/service-accounts; no source for words."""
        given = body.pop("serviceAccounts", [])
        if len(given) > 1:
            raise errors.invalid("Invalid value for field 'resource.serviceAccounts': ''. At most one is allowed.")
        if given:
            body["serviceAccounts"] = [account_of(self.cloud, self.project_of(call), each) for each in given]
        return refused(self.cloud, call.caller, body.get("serviceAccounts", []))

    def _interfaces(self, call: Call, body: Body) -> errors.ApiError | None:
        """One, of the networks' own project: several are not emulated."""
        given, project = body.get("networkInterfaces", []), self.project_of(call).id
        if not given:
            words = "At least one network interface is required."
            raise errors.invalid(f"Invalid value for field 'resource.networkInterfaces': ''. {words}")
        if len(given) > 1:
            raise errors.not_emulated("an instance with several network interfaces")
        part = interface(self.cloud, project, call["zone"], given[0], 0)
        for verb in ("use", "useExternalIp") if part.get("accessConfigs") else ("use",):
            self.need(call, f"compute.subnetworks.{verb}", relative(part["subnetwork"]), f"projects/{project}")
        body["networkInterfaces"] = [part]
        return address(self.cloud, part, "resource.networkInterfaces[0]")

    def _shield(self, body: Body) -> None:
        """Source: https://cloud.google.com/compute/shielded-vm/docs/shielded-vm (defaults, UEFI only)."""
        boot = next(each for each in body["disks"] if each["boot"])
        able = any(each["type"] == "UEFI_COMPATIBLE" for each in boot.get("guestOsFeatures", []))
        asked = body.get("shieldedInstanceConfig", {})
        if any(asked.values()) and not able:
            words = "Shielded VM Config can only be set when using a UEFI-compatible disk."  # no source for the words
            raise errors.invalid(f"Invalid value for field 'resource.shieldedInstanceConfig': ''. {words}")
        if able:
            defaults = {"enableSecureBoot": False, "enableVtpm": True, "enableIntegrityMonitoring": True}
            body["shieldedInstanceConfig"] = defaults | asked
            body["shieldedInstanceIntegrityPolicy"] = {"updateAutoLearnPolicy": True}

    def finished(self, record: Record) -> None:
        if error := record.hidden.get("refused"):
            raise error
        for name in record.hidden.pop("made"):
            self.cloud.world.records[name].body["status"] = "READY"
        self.up(record)


KINDS = (Instances,)
