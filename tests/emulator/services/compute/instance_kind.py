"""What all methods of instances share: names, states, the real part behind one.

Source: https://cloud.google.com/compute/docs/instances/instance-lifecycle
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

from tests.emulator import errors
from tests.emulator.backing import Backing
from tests.emulator.kind import Body, Call
from tests.emulator.services.compute.base import ComputeKind, check_ready
from tests.emulator.world import Record

UP = frozenset({"PROVISIONING", "STAGING", "RUNNING", "STOPPING"})
"""States in which there is a machine that can ask for its metadata."""


class InstanceKind(ComputeKind):
    """Instances; the methods are in the subclasses, by theme."""

    collection = "compute.instances"
    singular = "instance"
    scope = "zone"
    labelled = True
    marked = True
    referred = ("networkInterfaces[].network", "networkInterfaces[].subnetwork", "disks[].source")

    def shown(self, record: Record) -> Body:
        """With the state as it is at this moment of an operation."""
        return record.body | {"status": self.status(record)}

    def status(self, record: Record) -> str:
        """PROVISIONING becomes STAGING halfway (no source for the share); what is on its way out is STOPPING."""
        if record.busy == "delete":
            return "STOPPING"
        status = str(record.body["status"])
        staging = status == "PROVISIONING" and self.cloud.world.clock.now() >= record.hidden["staging"]
        return "STAGING" if staging else status

    def provision(self, record: Record, verb: str) -> None:
        """The machine is on its way up."""
        record.body["status"] = "PROVISIONING"
        half = self.cloud.operations.latency(f"compute.instances.{verb}") / 2
        record.hidden["staging"] = self.cloud.world.clock.now() + half

    def settled(self, call: Call, *states: str, words: str = "") -> Record:
        """The instance of a call in one of these states; 400 in another.

        Source of the words: terraform-google-modules/terraform-google-network#365 (resourceNotReady).
        """
        record = self.existing(call)
        check_ready(record)
        if record.body["status"] in (states or ("RUNNING", "TERMINATED")):
            return record
        if words:
            raise errors.invalid(words, reason="invalidResourceUsage")
        raise errors.invalid(f"The resource '{record.name[8:]}' is not ready", reason="resourceNotReady")

    def part(self, verb: str, record: Record) -> Callable[[Backing], None] | None:
        """Started, stopped and removed with the instance."""
        if record.hidden.get("refused"):
            return None
        name, body = record.name, copy.deepcopy(record.body)
        acts: dict[str, Callable[[Backing], None]] = {
            "insert": lambda part: part.start(name, body),
            "start": lambda part: part.start(name, body),
            "stop": lambda part: part.stop(name, body),
            "reset": partial(_restart, name, body),
            "delete": lambda part: part.remove(name),
        }
        return acts.get(verb)

    def update(self, call: Call, verb: str, record: Record, **fields: Any) -> Body:
        """Begin a change of these fields of the body."""
        return self.alter(call, verb, record, lambda body: body.update(fields))

    def alter(self, call: Call, verb: str, record: Record, change: Callable[[Body], object]) -> Body:
        """Begin a change of the body, tried on a copy first: what it refuses is refused now, or ends the operation."""
        name, body = record.name, copy.deepcopy(record.body)
        change(body)
        running = body["status"] == "RUNNING"

        def effect() -> None:
            change(record.body)
            self.mark(record)

        act = (lambda part: part.change(name, body)) if running else None
        return self.begin(call, verb, record, effect, act=act)


def _restart(name: str, body: Body, part: Backing) -> None:
    part.stop(name, body)
    part.start(name, body)
