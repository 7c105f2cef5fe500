"""Settings of an instance: those that change while it runs and those that want it stopped.

Source: https://cloud.google.com/compute/docs/reference/rest/v1/instances, one page a method
"""

from __future__ import annotations

import re
from typing import Any

from tests.emulator import errors
from tests.emulator.kind import Body, Call
from tests.emulator.services.compute.base import NAME, fingerprint, mutation, stale
from tests.emulator.services.compute.instance_account import account_of, refused
from tests.emulator.services.compute.instance_disks import fail
from tests.emulator.services.compute.instance_kind import InstanceKind
from tests.emulator.services.compute.instance_network import access_config, go_online
from tests.emulator.services.compute.machine_types import machine_type
from tests.emulator.services.compute.metadata_items import replacement

STOPPED = "Invalid resource usage: 'Instance should be in the STOPPED state.'."
"""Source: hashicorp/terraform-provider-google#7101"""
MOST_TAGS = 64
"""Source: https://cloud.google.com/vpc/docs/add-remove-network-tags#restrictions"""


class InstanceSettings(InstanceKind):
    """One method a setting."""

    @mutation("setMetadata", "compute.instances.setMetadata")
    def set_metadata(self, call: Call) -> Body:
        """Whoever sets what an instance runs acts as its account.

        Source: https://cloud.google.com/compute/docs/metadata/setting-custom-metadata ("if your VMs use service
        accounts: iam.serviceAccounts.actAs").
        """
        record = self.settled(call)
        change = replacement(call.body, "metadata")
        change(dict(record.body))
        error = refused(self.cloud, call.caller, record.body.get("serviceAccounts", []))
        if error:
            return self.begin(call, "setMetadata", record, lambda: fail(error))
        return self.alter(call, "setMetadata", record, change)

    @mutation("setTags", "compute.instances.setTags")
    def set_tags(self, call: Call) -> Body:
        """412 on a stale fingerprint. Source: "Invalid fingerprint." in terraform-provider-google's retries."""
        new = tags(call.body, "tags")

        def change(body: Body) -> None:
            if call.body.get("fingerprint") != body["tags"]["fingerprint"]:
                raise stale("Invalid fingerprint.")
            body["tags"] = new

        return self.alter(call, "setTags", self.settled(call), change)

    @mutation("setDeletionProtection", "compute.instances.setDeletionProtection")
    def set_deletion_protection(self, call: Call) -> Body:
        wanted = call.get("deletionProtection", True)
        return self.update(call, "setDeletionProtection", self.settled(call), deletionProtection=wanted)

    @mutation("setMachineType", "compute.instances.setMachineType")
    def set_machine_type(self, call: Call) -> Body:
        """Source: https://cloud.google.com/compute/docs/instances/changing-machine-type-of-stopped-instance"""
        record = self.settled(call, "TERMINATED", words=STOPPED)
        project, zone = self.project_of(call).id, call["zone"]
        link = machine_type(call.body.get("machineType", ""), project, zone, "machineType")
        return self.update(call, "setMachineType", record, machineType=link)

    @mutation("setScheduling", "compute.instances.setScheduling")
    def set_scheduling(self, call: Call) -> Body:
        """Source: "You can only call this method on a stopped instance" in the reference."""
        record = self.settled(call, "TERMINATED", words=STOPPED)
        new = scheduling(record.body["scheduling"] | call.body, "scheduling")
        return self.update(call, "setScheduling", record, scheduling=new)

    @mutation("setServiceAccount", "compute.instances.setServiceAccount")
    def set_service_account(self, call: Call) -> Body:
        """Source: https://cloud.google.com/compute/docs/access/change-service-account, and its words."""
        words = "The instance must be stopped before the service account can be changed."
        record = self.settled(call, "TERMINATED", words=words)
        new = [account_of(self.cloud, self.project_of(call), call.body)] if call.body.get("email") else []
        error = refused(self.cloud, call.caller, new)
        if error:
            return self.begin(call, "setServiceAccount", record, lambda: fail(error))
        return self.update(call, "setServiceAccount", record, serviceAccounts=new)

    @mutation("updateShieldedInstanceConfig", "compute.instances.updateShieldedInstanceConfig")
    def update_shielded_instance_config(self, call: Call) -> Body:
        """Source: https://cloud.google.com/compute/shielded-vm/docs/modifying-shielded-vm (stop it first)."""
        record = self.settled(call, "TERMINATED", words=STOPPED)
        new = record.body.get("shieldedInstanceConfig", {}) | call.body
        return self.update(call, "updateShieldedInstanceConfig", record, shieldedInstanceConfig=new)

    @mutation("addAccessConfig", "compute.instances.addAccessConfig")
    def add_access_config(self, call: Call) -> Body:
        """One an interface. Source of the words: terraform-google-modules/terraform-google-vm#111."""
        record, name = self.settled(call), call["networkInterface"]
        new = access_config(self.cloud, call.body, call["zone"], "accessConfig")

        def change(body: Body) -> None:
            part = interface_of(body, name)
            if part.get("accessConfigs"):
                raise errors.invalid("At most one access config currently supported.")
            part["accessConfigs"] = [new]
            if body["status"] == "RUNNING":
                go_online(self.cloud, body)

        return self.alter(call, "addAccessConfig", record, change)

    @mutation("deleteAccessConfig", "compute.instances.deleteAccessConfig")
    def delete_access_config(self, call: Call) -> Body:
        record, name, wanted = self.settled(call), call["networkInterface"], call["accessConfig"]

        def change(body: Body) -> None:
            part = interface_of(body, name)
            kept = [each for each in part.get("accessConfigs", []) if each["name"] != wanted]
            if len(kept) == len(part.get("accessConfigs", [])):
                raise errors.invalid(f"Invalid value for field 'accessConfig': '{wanted}'. Not found.")
            part["accessConfigs"] = kept

        return self.alter(call, "deleteAccessConfig", record, change)


def interface_of(body: Body, name: str) -> Body:
    """no source for the words"""
    found: list[Body] = [each for each in body["networkInterfaces"] if each["name"] == name]
    if not found:
        raise errors.invalid(f"Invalid value for field 'networkInterface': '{name}'. Not found.")
    return found[0]


def tags(given: Body, field: str) -> Body:
    """Tags as they are kept, with their fingerprint."""
    items = given.get("items", [])
    for number, each in enumerate(items):
        if not re.fullmatch(NAME, each):
            words = f"Must be a match of regex '{NAME}'"
            raise errors.invalid(f"Invalid value for field '{field}.items[{number}]': '{each}'. {words}")
    if len(items) > MOST_TAGS:
        raise errors.invalid(f"Invalid value for field '{field}.items': ''. Too many tags, at most {MOST_TAGS}.")
    kept: dict[str, Any] = {"fingerprint": fingerprint(items)}
    return kept | ({"items": sorted(set(items))} if items else {})


def scheduling(given: Body, field: str) -> Body:
    """With Google's defaults, which are others for what may be preempted.

    Source: https://cloud.google.com/compute/docs/instances/setting-vm-host-options, .../create-use-preemptible; the
    words are those that public Terraform modules quote.
    """
    spot = given.get("preemptible") or given.get("provisioningModel") == "SPOT"
    defaults = {
        "onHostMaintenance": "TERMINATE" if spot else "MIGRATE",
        "automaticRestart": not spot,
        "preemptible": bool(spot),
        "provisioningModel": "SPOT" if spot else "STANDARD",
    }
    for name in ("nodeAffinities", "minNodeCpus", "maxRunDuration", "terminationTime", "gracefulShutdown"):
        if given.get(name):
            raise errors.not_emulated(f"{field}.{name}")
    new = defaults | given
    wrong = []
    if spot and new["automaticRestart"]:
        wrong.append("Scheduling must have preemptible be false when AutomaticRestart is true.")
    if spot and new["onHostMaintenance"] != "TERMINATE":
        wrong.append("Scheduling must have preemptible be false when OnHostMaintenance isn't TERMINATE.")
    if wrong:
        raise errors.invalid(f"Invalid value for field '{field}.preemptible': 'true'. {' '.join(wrong)}")
    return new
