"""The stack's machine at Compute Engine: a small Debian without an address outside its network.

What is on it is not the stack's record: it is made anew from the bucket where it was lost.

Source: https://cloud.google.com/compute/docs/reference/rest/v1/instances, CIS Google Cloud 4.1 to 4.4, 4.6, 4.8, 4.9.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from google.api_core import exceptions
from google.cloud import compute_v1

from blocks.errors import Blocked, Conflict, NotReady
from blocks.gcp.compute import ComputeResource, Kind
from blocks.gcp.google import SCOPE, Google
from blocks.gcp.marks import LABEL
from blocks.gcp.pruned import LINK, pruned
from blocks.gcp_spec import GcpHost
from blocks.resource import Attributes, Change

INSTANCE = Kind("Instances", "instance", compute_v1.Instance, "zone")
IMAGE = "projects/debian-cloud/global/images/family/debian-12"
"""The newest of its family when the machine is made; what comes after is Debian's unattended upgrades."""
SHIELDED = {"enable_secure_boot": True, "enable_vtpm": True, "enable_integrity_monitoring": True}
CLOSED = {"enable-oslogin": "TRUE", "block-project-ssh-keys": "TRUE", "serial-port-enable": "FALSE"}
"""Metadata by which nobody gets in but whom IAM lets."""
SCRIPT = "startup-script"
UP = ("PROVISIONING", "STAGING", "RUNNING")
STALE_SECONDS = 60.0
"""Time in which metadata that others change at the same moment is read and written again."""


class Instance(ComputeResource):
    """One machine, with a fixed address in its subnetwork.

    Args:
        subnetwork: Path of the subnetwork.
        address: In that subnetwork.
        account: Address of the service account it runs as.
        script: What gives the text that it runs at its first start; asked when it is needed.
    """

    def __init__(
        self,
        google: Google,
        stack: str,
        zone: str,
        subnetwork: str,
        address: str,
        account: str,
        script: Callable[[], str],
        wanted: GcpHost | None = None,
        needs: tuple[str, ...] = (),
    ) -> None:
        super().__init__(google, stack, INSTANCE, "machine", f"{stack}-host", {}, place=zone, needs=needs)
        self.zone, self._subnetwork, self._address, self._account = zone, subnetwork, address, account
        self._script, self._host = script, wanted or GcpHost()

    def find(self) -> Attributes | None:
        found = self._get()
        if found is None:
            return None
        (network,) = found.network_interfaces
        seen = {
            "stack": found.labels.get(LABEL, ""),
            "machine type": found.machine_type.rpartition("/")[2],
            "disk GB": self._disk(found).size_gb,
            "subnetwork": network.subnetwork.removeprefix(LINK),
            "address": network.network_i_p,
            "addresses outside": [each.name for each in network.access_configs],
            "accounts": [{"email": each.email, "scopes": list(each.scopes)} for each in found.service_accounts],
            "shielded": compute_v1.ShieldedInstanceConfig.to_dict(found.shielded_instance_config),
            "metadata": _by_key(found.metadata),
            "protected": found.deletion_protection,
            "running": found.status in UP,
        }
        if found.status.startswith("SUSPEND"):
            raise Blocked(f"the machine {self._id} is suspended", f"gcloud compute instances resume {self._place()}")
        wanted = self.want()
        return {**seen, **{key: pruned(seen[key], wanted[key]) for key in ("shielded", "metadata")}}

    def want(self) -> dict[str, Any]:
        return {
            "stack": self._stack,
            "machine type": self._host.machine_type,
            "disk GB": self._host.disk_gb,
            **self._network(),
            "addresses outside": [],
            "accounts": [{"email": self._account, "scopes": [SCOPE]}],
            "shielded": SHIELDED,
            "metadata": {**CLOSED, SCRIPT: self._script()},
            "protected": self._host.protection,
            "running": True,
        }

    def _network(self) -> dict[str, str]:
        return {"subnetwork": self._subnetwork, "address": self._address}

    def require_ours(self, actual: Attributes) -> None:
        if actual["stack"] != self._stack:
            what = f"there is a machine {self._id} in {self.zone}, and it is not this stack's"
            raise Blocked(what, "another stack name gives another machine")

    def check(self, actual: Attributes) -> None:
        for field, wanted in {**self._network(), "disk GB": self._host.disk_gb}.items():
            now = actual[field]
            can_grow = isinstance(now, int) and isinstance(wanted, int) and now < wanted
            if now != wanted and not can_grow:
                what = f"the {field} of the machine {self._id} is {now}, and cannot become {wanted} in place"
                removal = f"gcloud compute instances delete {self._place()}"
                raise Blocked(what, f"write it in the spec as it is, or remove the machine: {removal}")

    def interrupts(self, change: Change) -> str:
        fields = [each for each in CHANGED_WHILE_STOPPED if each in change.fields]
        if change.action != "update" or not fields:
            return ""
        told = " and ".join(fields)
        return f"the machine is stopped, its {told} changed, and it is started: server and workers are away meanwhile"

    def apply(self, actual: Attributes | None, change: Change) -> None:
        if actual is None:
            body = compute_v1.Instance(name=self._id, **self._new())
            self._carry_out("making", "insert_unary", {self._resource: body})
            return
        in_place = [change_it for field, change_it in CHANGED.items() if field in change.fields]
        while_stopped = [change_it for field, change_it in CHANGED_WHILE_STOPPED.items() if field in change.fields]
        if while_stopped:
            self.stop()
        for change_it in (*in_place, *while_stopped):
            change_it(self)
        if while_stopped or not actual["running"]:
            self.start()

    def delete(self) -> None:
        try:
            super().delete()
        except exceptions.BadRequest as error:
            hint = "write in the spec that it is not protected, selfhost bootstrap, then again"
            raise Blocked(f"the machine {self._id}: {error.message}", hint) from error

    def start(self) -> None:
        """Start it, or do nothing where it runs; returns when it has begun to boot."""
        self._carry_out("starting", "start_unary", self._named)

    def stop(self) -> None:
        """Shut it down, or do nothing where it is; returns when it is off."""
        self._carry_out("stopping", "stop_unary", self._named)

    def is_running(self) -> bool | None:
        """Whether it is on, or on its way up; None where there is none."""
        found = self._get()
        return None if found is None else found.status in UP

    def serial_output(self, lines: int) -> list[str]:
        """The last lines that it wrote to its serial port; none where there is no machine."""
        request = {**self._scope, **self._named, "port": 1}
        try:
            with self._explained("reading the serial port of"):
                answer = self._client.get_serial_port_output(request=request)
        except exceptions.NotFound:
            return []
        written: list[str] = answer.contents.splitlines()
        return written[-lines:] if lines else []

    def console(self) -> str:
        """The command that shows what it writes to its serial port."""
        return f"gcloud compute instances get-serial-port-output {self._place()}"

    def _place(self) -> str:
        return f"{self._id} --zone {self.zone} --project {self._google.project}"

    def _disk(self, found: Any) -> Any:
        """The disk it boots from, as it is now: what the machine tells of it may be from its making."""
        name = next(each.source.rpartition("/")[2] for each in found.disks if each.boot)
        with self._explained("reading the disk of"):
            return self._google.compute("Disks").get(**self._scope, disk=name)

    def _new(self) -> dict[str, Any]:
        """The body of a machine that is made."""
        wanted, place = self.want(), f"projects/{self._google.project}/zones/{self.zone}"
        labels = {LABEL: self._stack}
        disk = {"source_image": IMAGE, "disk_type": f"{place}/diskTypes/pd-balanced", "labels": labels}
        return {
            "machine_type": f"{place}/machineTypes/{self._host.machine_type}",
            "disks": [
                {"boot": True, "auto_delete": True, "initialize_params": {**disk, "disk_size_gb": self._host.disk_gb}}
            ],
            "network_interfaces": [{"subnetwork": self._subnetwork, "network_i_p": self._address}],
            "service_accounts": wanted["accounts"],
            "shielded_instance_config": SHIELDED,
            "metadata": {"items": _items(wanted["metadata"])},
            "labels": labels,
            "deletion_protection": self._host.protection,
            "can_ip_forward": False,
        }

    def _set_metadata(self) -> None:
        """Ours alone: what somebody else has put there stays."""

        def written() -> None:
            there = self._get().metadata
            items = _items({**_by_key(there), **self.want()["metadata"]})
            body = compute_v1.Metadata(items=items, fingerprint=there.fingerprint)
            self._change("set_metadata_unary", metadata_resource=body)

        self._as_it_is_now(written)

    def _as_it_is_now(self, write: Callable[[], None]) -> None:
        """Write what was read a moment ago, and again where somebody has changed it meanwhile."""

        def attempt() -> bool:
            try:
                write()
            except exceptions.PreconditionFailed as error:
                raise NotReady(str(error.message)) from error
            return True

        what = f"changing the machine {self._id}"
        try:
            self._google.wait(attempt, what, seconds=STALE_SECONDS)
        except NotReady as error:
            raise Conflict(error.what, "somebody else changes it all the time: run the same command again") from error

    def _set_protection(self) -> None:
        wanted = {"resource": self._id, "deletion_protection": self._host.protection}
        self._carry_out("changing", "set_deletion_protection_unary", wanted)

    def _close(self) -> None:
        """Take the addresses outside its network from it, which somebody has given it."""
        for network in self._get().network_interfaces:
            for each in network.access_configs:
                self._change("delete_access_config_unary", network_interface=network.name, access_config=each.name)

    def _set_machine_type(self) -> None:
        body = {"machine_type": self._new()["machine_type"]}
        self._change("set_machine_type_unary", instances_set_machine_type_request_resource=body)

    def _enlarge(self) -> None:
        """Its file system grows into the disk at the next start."""
        body = {"disk": self._disk(self._get()).name, "disks_resize_request_resource": {"size_gb": self._host.disk_gb}}
        self._carry_out("enlarging the disk of", "resize_unary", body, self._google.compute("Disks"))

    def _set_account(self) -> None:
        (body,) = self.want()["accounts"]
        self._change("set_service_account_unary", instances_set_service_account_request_resource=body)

    def _set_shielded(self) -> None:
        self._change("update_shielded_instance_config_unary", shielded_instance_config_resource=SHIELDED)

    def _change(self, method: str, **body: Any) -> None:
        self._carry_out("changing", method, {**self._named, **body})


CHANGED: Mapping[str, Callable[[Instance], None]] = {
    "metadata": Instance._set_metadata,
    "protected": Instance._set_protection,
    "addresses outside": Instance._close,
}
"""How a field is changed of a machine, whether it runs or not."""
CHANGED_WHILE_STOPPED: Mapping[str, Callable[[Instance], None]] = {
    "machine type": Instance._set_machine_type,
    "disk GB": Instance._enlarge,
    "accounts": Instance._set_account,
    "shielded": Instance._set_shielded,
}
"""How a field is changed that a running machine keeps."""


def _by_key(metadata: Any) -> dict[str, str]:
    return {each.key: each.value for each in metadata.items}


def _items(metadata: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in metadata.items()]
