"""Starting, stopping and resetting instances. Suspending them is not emulated.

Source: https://cloud.google.com/compute/docs/instances/instance-lifecycle,
https://cloud.google.com/compute/docs/instances/stop-start-instance
"""

from __future__ import annotations

from tests.emulator import errors
from tests.emulator.kind import Body, Call
from tests.emulator.services.compute import serial
from tests.emulator.services.compute.base import mutation
from tests.emulator.services.compute.instance_kind import InstanceKind
from tests.emulator.services.compute.instance_network import go_offline, go_online
from tests.emulator.world import Record, relative


class InstanceLife(InstanceKind):
    """What moves an instance between its states; each method is idempotent, as at Google."""

    @mutation("start", "compute.instances.start")
    def start_instance(self, call: Call) -> Body:
        record = self.settled(call)
        if record.body["status"] == "RUNNING":
            return self.begin(call, "start", record, lambda: None, act=_nothing)
        self.provision(record, "start")
        go_online(self.cloud, record.body)
        stopped = {"status": "TERMINATED"}
        return self.begin(call, "start", record, lambda: self.up(record), undo=lambda: record.body.update(stopped))

    @mutation("stop", "compute.instances.stop")
    def stop_instance(self, call: Call) -> Body:
        record = self.settled(call)
        if record.body["status"] == "TERMINATED":
            return self.begin(call, "stop", record, lambda: None, act=_nothing)
        record.body["status"] = "STOPPING"
        running = {"status": "RUNNING"}
        return self.begin(call, "stop", record, lambda: self.down(record), undo=lambda: record.body.update(running))

    @mutation("reset", "compute.instances.reset")
    def reset(self, call: Call) -> Body:
        """It stays RUNNING. Source: https://cloud.google.com/compute/docs/instances/suspend-stop-reset-instances"""
        record = self.settled(call, "RUNNING")
        return self.begin(call, "reset", record, lambda: serial.booted(record))

    def up(self, record: Record) -> None:
        record.body |= {"status": "RUNNING", "lastStartTimestamp": self.now}
        serial.booted(record)

    def down(self, record: Record) -> None:
        record.body |= {"status": "TERMINATED", "lastStopTimestamp": self.now}
        go_offline(self.cloud, record.body)

    def leaving(self, record: Record) -> None:
        """Source of the words: hashicorp/terraform-provider-google#1211."""
        if record.body["deletionProtection"]:
            words = "Invalid resource usage: 'Resource cannot be deleted if it's protected against deletion.'."
            raise errors.invalid(words, reason="invalidResourceUsage")

    def gone(self, record: Record) -> None:
        """Disks that are to go with it go; of an insert that failed, all that it made, and the real part."""
        self.cloud.world.drop(record.name)
        if "made" in record.hidden:
            self.cloud.backings.run(self.collection, lambda part: part.remove(record.name))
            doomed = record.hidden["made"]
        else:
            doomed = [f"compute/{relative(each['source'])}" for each in record.body["disks"] if each["autoDelete"]]
        for name in doomed:
            self.cloud.world.drop(name)


def _nothing(_: object) -> None:
    """What the real part does where nothing changes."""
