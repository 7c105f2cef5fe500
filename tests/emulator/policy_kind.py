"""The three methods about the IAM policy of a single resource, which most services have alike.

Source: https://cloud.google.com/iam/docs/reference/rest/v1/projects.serviceAccounts/getIamPolicy and its siblings in
the references of other services.
"""

from __future__ import annotations

from tests.emulator.kind import Body, Call, Kind, on
from tests.emulator.organization import check_members
from tests.emulator.patches import camel, paths


class PolicyKind(Kind):
    """A kind whose resources have policies of their own; permissions are called by the kind's name."""

    def policy_name(self, call: Call) -> str:
        """What the policy of a call's resource is kept under, the same as in `guards`; 404 without the resource."""
        raise NotImplementedError

    @on("getIamPolicy", "{service}.{kind}.getIamPolicy")
    def get_policy(self, call: Call) -> Body:
        asked = call.body.get("options", {}).get("requestedPolicyVersion", 0)
        version = call.get("options.requestedPolicyVersion") or call.get("optionsRequestedPolicyVersion") or asked
        return self.cloud.access.policy(self.policy_name(call), int(version))

    @on("setIamPolicy", "{service}.{kind}.setIamPolicy")
    def set_policy(self, call: Call) -> Body:
        mask = [camel(each) for each in paths(call.body.get("updateMask", ""))]
        name, policy = self.policy_name(call), call.body.get("policy", {})
        check_members(self.cloud.world, call.project(self.guards(call)[-1]), policy)
        return self.cloud.access.set_policy(name, policy, mask)

    @on("testIamPermissions", "")
    def test_permissions(self, call: Call) -> Body:
        """Those of the permissions asked for that the caller has."""
        self.policy_name(call)
        return self.held(call, self.guards(call))
