"""IAM policies of single resources of Compute Engine.

Source: https://cloud.google.com/compute/docs/reference/rest/v1/subnetworks/setIamPolicy and its siblings
"""

from __future__ import annotations

from tests.emulator.kind import Body, Call, Kind, on
from tests.emulator.world import Record


class PolicyKind(Kind):
    """getIamPolicy, setIamPolicy and testIamPermissions, for the kinds whose document has them."""

    def existing(self, call: Call, name: str = "") -> Record:
        """The record of a call; 404 without one."""
        raise NotImplementedError

    @on("getIamPolicy", "{collection}.getIamPolicy")
    def get_policy(self, call: Call) -> Body:
        return self.cloud.access.policy(policy_name(self.existing(call)))

    @on("setIamPolicy", "{collection}.setIamPolicy")
    def set_policy(self, call: Call) -> Body:
        """`policy`, or the older flattened `bindings` and `etag`."""
        older = {key: call.body[key] for key in ("bindings", "etag") if key in call.body}
        return self.cloud.access.set_policy(policy_name(self.existing(call)), call.body.get("policy", older))

    @on("testIamPermissions", "")
    def test_permissions(self, call: Call) -> Body:
        """Those of the permissions asked for that the caller has."""
        self.existing(call)
        asked = call.body.get("permissions", [])
        held = [each for each in asked if self.cloud.access.may(call.caller, each, self.guards(call))]
        return {"permissions": held} if held else {}


def policy_name(record: Record) -> str:
    """What policies of this resource are kept under, the same as in `guards`."""
    return record.name.removeprefix("compute/")
